//! Tiles and their products.

use super::memory::{Fault, Memory};
use crate::op::DotSigns;
use crate::tile::{TILE_ROW_BYTES, TILE_ROWS, TileOp, TileProduct, TileShape};
use half::bf16;

const ROW: usize = TILE_ROW_BYTES as usize;

/// A tile: its rows one after the other, at a distance of [`TILE_ROW_BYTES`].
type Tile = [u8; ROW * TILE_ROWS as usize];

/// The tiles of a run.
#[derive(Default)]
pub(super) struct Tiles {
    shapes: Vec<TileShape>,
    data: Vec<Tile>,
}

impl Tiles {
    /// Runs an operator of a verified kernel; `base` and `stride` are its operands where it has some.
    pub(super) fn run(&mut self, op: &TileOp, base: u64, stride: u64, memory: &mut Memory<'_>) -> Result<(), Fault> {
        let at = |shape: TileShape, disp: i32| {
            let start = base.wrapping_add(disp as u64);
            (0..u64::from(shape.rows)).map(move |r| start.wrapping_add(stride.wrapping_mul(r)))
        };
        match op {
            TileOp::Config(shapes) => {
                self.shapes.clone_from(shapes);
                self.data = vec![[0; size_of::<Tile>()]; shapes.len()];
            }
            TileOp::Zero(tile) => self.data[usize::from(*tile)].fill(0),
            TileOp::Load { tile, disp } => {
                let tile = usize::from(*tile);
                let shape = self.shapes[tile];
                let bytes = usize::from(shape.row_bytes);
                for (row, address) in self.data[tile].chunks_mut(ROW).zip(at(shape, *disp)) {
                    row[..bytes].copy_from_slice(memory.read(address, bytes)?);
                }
            }
            TileOp::Store { tile, disp } => {
                let tile = usize::from(*tile);
                let shape = self.shapes[tile];
                let bytes = usize::from(shape.row_bytes);
                for (row, address) in self.data[tile].chunks(ROW).zip(at(shape, *disp)) {
                    memory.write(address, bytes)?.copy_from_slice(&row[..bytes]);
                }
            }
            TileOp::Dot { product, acc, a, b } => self.dot(*product, usize::from(*acc), usize::from(*a), usize::from(*b)),
        }
        Ok(())
    }

    fn dot(&mut self, product: TileProduct, acc: usize, a: usize, b: usize) {
        let (shape, groups) = (self.shapes[acc], usize::from(self.shapes[b].rows));
        for r in 0..usize::from(shape.rows) {
            for n in 0..usize::from(shape.row_bytes) / 4 {
                let group = |tile: &Tile, row: usize, i: usize| -> [u8; 4] { std::array::from_fn(|j| tile[row * ROW + i * 4 + j]) };
                let factors = (0..groups).map(|k| (group(&self.data[a], r, k), group(&self.data[b], k, n)));
                let old = u32::from_le_bytes(group(&self.data[acc], r, n));
                let new = match product {
                    TileProduct::Bytes(signs) => {
                        old.wrapping_add(factors.fold(0, |sum, (x, y)| sum.wrapping_add(bytes(signs, x, y) as u32)))
                    }
                    TileProduct::Bf16 => halves(f32::from_bits(old), factors).to_bits(),
                };
                self.data[acc][r * ROW + n * 4..][..4].copy_from_slice(&new.to_le_bytes());
            }
        }
    }
}

/// Dot product of four bytes each.
fn bytes(signs: DotSigns, x: [u8; 4], y: [u8; 4]) -> i32 {
    let widen = |signed: bool, v: u8| if signed { i32::from(v as i8) } else { i32::from(v) };
    x.into_iter().zip(y).map(|(x, y)| widen(signs == DotSigns::Signed, x) * widen(signs != DotSigns::Unsigned, y)).sum()
}

/// An accumulator plus products of pairs of bfloat16.
fn halves(acc: f32, factors: impl Iterator<Item = ([u8; 4], [u8; 4])>) -> f32 {
    let mut sums = [0.0f32; 2];
    for (x, y) in factors {
        for (i, sum) in sums.iter_mut().enumerate() {
            let half = |g: [u8; 4]| flushed(bf16::from_le_bytes([g[2 * i], g[2 * i + 1]]).to_f32());
            *sum = flushed(half(x).mul_add(half(y), *sum));
        }
    }
    flushed(flushed(acc) + flushed(sums[0] + sums[1]))
}

/// A float, zero in place of a subnormal.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0.0f32.copysign(x) } else { x }
}
