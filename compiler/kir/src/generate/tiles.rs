//! Products of tiles in random kernels.

use super::{Generator, OUT};
use crate::tile::{TILE_ROW_BYTES, TILE_ROWS, TileOp, TileProduct, TileShape};
use crate::{Builder, Value};

impl Generator<'_> {
    /// A product of two tiles, added to a third. Floats stay zero: what random bytes are as floats would become NaN, whose payload is open.
    pub(super) fn tiles(&mut self, b: &mut Builder) -> Option<()> {
        let product = self.rng.of(TileProduct::ALL);
        let rows = self.rng.within(1, 6).min(i64::from(TILE_ROWS)) as u8;
        let [columns, groups] = [0; 2].map(|_| self.rng.within(1, 6).min(i64::from(TILE_ROW_BYTES / 4)) as u8);
        let shapes =
            [(rows, columns * 4), (rows, groups * 4), (groups, columns * 4)].map(|(rows, row_bytes)| TileShape { rows, row_bytes });
        // Tiles may stand in any order.
        let first = self.rng.below(3) as usize;
        let tile = |i: usize| ((i + first) % 3) as u8;
        let mut config = shapes.to_vec();
        (0..3).for_each(|i| config[usize::from(tile(i))] = shapes[i]);
        let writable = |buffer: usize| buffer > OUT;
        let (to, stride, disp) = self.tile_rows(b, shapes[0], writable)?;
        let mut from = vec![];
        if product != TileProduct::Bf16 {
            for shape in shapes {
                from.push(self.tile_rows(b, shape, |buffer| buffer != OUT)?);
            }
        }
        b.tile(TileOp::Config(config), &[]);
        for (i, (base, stride, disp)) in from.into_iter().enumerate() {
            b.tile(TileOp::Load { tile: tile(i), disp }, &[base, stride]);
        }
        if self.rng.chance(30) {
            b.tile(TileOp::Zero(tile(0)), &[]);
        }
        b.tile(TileOp::Dot { product, acc: tile(0), a: tile(1), b: tile(2) }, &[]);
        b.tile(TileOp::Store { tile: tile(0), disp }, &[to, stride]);
        Some(())
    }

    /// Where the rows of a tile may lie: base, distance and constant offset.
    fn tile_rows(&mut self, b: &mut Builder, shape: TileShape, buffer_ok: impl Fn(usize) -> bool) -> Option<(Value, Value, i32)> {
        let stride = i64::from(shape.row_bytes) + self.rng.within(0, 3);
        let bytes = i64::from(shape.rows - 1) * stride + i64::from(shape.row_bytes);
        let addr = self.address(b, bytes, buffer_ok)?;
        let base = match addr.index {
            Some((index, scale)) => {
                let offset = b.mul_const(index, i64::from(scale));
                b.ptr_add(addr.base, offset)
            }
            None => addr.base,
        };
        Some((base, b.i64(stride), addr.disp))
    }
}
