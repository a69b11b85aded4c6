//! Resizing of NHWC images by one or four taps: nearest neighbour and bilinear.
//!
//! Which input rows and columns a tap reads, and with which weight, is a table made at compile time ([`TapTable`]), so every
//! coordinate convention and rounding is data. Lanes are channels; work units are output rows (batch × height).

use super::units::for_pairs;
use crate::expr::emit::{emit, lanes, load_storage, store_storage};
use crate::expr::{Expr, Ty};
use tflc_kir::{Addr, Builder, Caps, Kernel, Mem, Narrow, Type, Value};

/// Specification of a resize. Sizes are in elements.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ResampleSpec {
    /// Images.
    pub batch: usize,
    /// Input height and width.
    pub input: [usize; 2],
    /// Output height and width.
    pub output: [usize; 2],
    /// Channels.
    pub channels: usize,
    /// One input for one tap; six for four: top left, top right, bottom left, bottom right, horizontal weight, vertical
    /// weight (weights of type F32 or I32).
    pub expr: Expr,
}

/// Taps along one axis: for each output index the two input indices and the weight of the second (bits of an f32 or an i32).
pub type Taps = Vec<(usize, usize, u32)>;

/// Bytes of a table entry: two byte offsets (i64) and the weight.
pub const ENTRY_BYTES: usize = 24;
const ENTRY: i64 = ENTRY_BYTES as i64;

/// The table of one axis as bytes; `stride` is the distance of neighbouring input indices in bytes.
pub fn tap_table(taps: &Taps, stride: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(taps.len() * ENTRY as usize);
    for &(lo, hi, weight) in taps {
        out.extend(((lo * stride) as u64).to_le_bytes());
        out.extend(((hi * stride) as u64).to_le_bytes());
        out.extend(u64::from(weight).to_le_bytes());
    }
    out
}

impl ResampleSpec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        (self.batch * self.output[0]) as u64
    }

    fn four_taps(&self) -> bool {
        self.expr.inputs.len() > 1
    }

    /// Builds the kernel: parameters are input, table of rows, table of columns, output.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new(if self.four_taps() { "resize_bilinear" } else { "resize_nearest" });
        let x = b.ptr_param("x");
        let rows = b.ptr_param("rows");
        let columns = b.ptr_param("columns");
        let y = b.ptr_param("y");
        let pixel_in = (self.channels * self.expr.inputs[0].bytes()) as i64;
        let pixel_out = (self.channels * self.expr.output.bytes()) as i64;
        let image_bytes = (self.input[0] * self.input[1]) as i64 * pixel_in;
        let ow = self.output[1] as i64;
        for_pairs(&mut b, self.output[0], &[], |b, [image, oy, u], _| {
            let from = b.mul_const(image, image_bytes);
            let image = b.ptr_add(x, from);
            let (top, bottom, wy) = self.taps(b, rows, oy);
            let (top, bottom) = (b.ptr_add(image, top), b.ptr_add(image, bottom));
            let to = b.mul_const(u, ow * pixel_out);
            let line = b.ptr_add(y, to);
            b.for_const(0, ow, 1, &[], |b, ox, _| {
                let (left, right, wx) = self.taps(b, columns, ox);
                let to = b.mul_const(ox, pixel_out);
                let out = b.ptr_add(line, to);
                self.pixel(b, caps, [top, bottom], [left, right], [wx, wy], out);
                vec![]
            });
            vec![]
        });
        b.finish()
    }

    fn taps(&self, b: &mut Builder, table: Value, i: Value) -> (Value, Value, Value) {
        let at = b.mul_const(i, ENTRY);
        let p = b.ptr_add(table, at);
        let lo = b.load(Type::I64, Mem::I64, Addr::new(p));
        let hi = b.load(Type::I64, Mem::I64, Addr::new(p).offset(8));
        let float = self.four_taps() && self.expr.inputs[4].ty() == Ty::F32;
        let weight = Addr::new(p).offset(16);
        let w = if float { b.load(Type::F32, Mem::F32, weight) } else { b.load(Type::I32, Mem::S32, weight) };
        (lo, hi, w)
    }

    fn pixel(&self, b: &mut Builder, caps: &Caps, lines: [Value; 2], at: [Value; 2], weights: [Value; 2], out: Value) {
        let lanes = lanes(caps, &self.expr);
        let c = self.channels;
        let whole = c - c % usize::from(lanes);
        let corners: Vec<Value> = if self.four_taps() {
            lines.iter().flat_map(|&l| at.map(|a| (l, a))).map(|(l, a)| b.ptr_add(l, a)).collect()
        } else {
            vec![b.ptr_add(lines[0], at[0])]
        };
        let weights = weights.map(|w| if lanes == 1 { w } else { b.splat(w, lanes) });
        b.for_const(0, whole as i64, i64::from(lanes), &[], |b, i, _| {
            self.block(b, caps, &corners, weights, out, i, lanes);
            vec![]
        });
        if whole < c {
            let i = b.i64(whole as i64);
            self.block(b, caps, &corners, weights, out, i, (c - whole) as u16);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn block(&self, b: &mut Builder, caps: &Caps, corners: &[Value], weights: [Value; 2], out: Value, i: Value, active: u16) {
        let lanes = lanes(caps, &self.expr);
        let storage = self.expr.inputs[0];
        let di = b.mul_const(i, storage.bytes() as i64);
        let mut values = vec![];
        for &p in corners {
            values.push(load_storage(b, storage, lanes, Addr::new(p).index(di, 1), active));
        }
        if self.four_taps() {
            values.extend(weights);
        }
        let v = emit(b, caps, &self.expr, lanes, &values);
        let di = b.mul_const(i, self.expr.output.bytes() as i64);
        store_storage(b, self.expr.output, Narrow::Wrap, Addr::new(out).index(di, 1), v, active);
    }
}
