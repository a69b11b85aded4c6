//! Pooling over windows of NHWC images: maximum, average, and root of the mean square.
//!
//! Lanes are channels. The rows and columns of a window that lie inside the image are loop bounds computed for each output pixel, so nothing is
//! padded. The epilogue gets the accumulator and the number of elements in the window. Work units are output rows (batch × height).

use super::reduce::Combine;
use super::units::for_pairs;
use crate::expr::emit::{emit, load_storage, store_storage};
use crate::expr::{Expr, Ty};
use tflc_kir::{Addr, BinOp, Builder, Caps, ConvertOp, Elem, Kernel, Mem, Narrow, Type, Value};

/// Specification of a pooling kernel. Sizes are in elements.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PoolSpec {
    /// Images.
    pub batch: usize,
    /// Input height and width.
    pub input: [usize; 2],
    /// Output height and width.
    pub output: [usize; 2],
    /// Channels.
    pub channels: usize,
    /// Window height and width.
    pub window: [usize; 2],
    /// Stride down and across.
    pub stride: [usize; 2],
    /// Padding above and to the left.
    pub padding: [usize; 2],
    /// Whether memory says height and width, and the padding above and to the left, of images that lie where `input` says.
    pub measured: bool,
    /// Combination: `Sum`, `Max`.
    pub combine: Combine,
    /// Applied to each element; its result is accumulated (F32 or I32).
    pub element: Expr,
    /// Inputs: accumulator, and the number of elements in the window (I32).
    pub epilogue: Expr,
}

impl PoolSpec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        (self.batch * self.output[0]) as u64
    }

    /// Builds the kernel: parameters are input and output, and where images are measured four numbers (`I64`).
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new(format!("pool_{:?}", self.combine).to_lowercase());
        let x = b.ptr_param("x");
        let y = b.ptr_param("y");
        let sizes = self.measured.then(|| b.ptr_param("sizes"));
        let sizes = sizes.map(|p| [0, 8, 16, 24].map(|at| b.load(Type::I64, Mem::I64, Addr::new(p).offset(at))));
        let in_bytes = self.element.inputs[0].bytes() as i64;
        let out_bytes = self.epilogue.output.bytes() as i64;
        let pixel_in = self.channels as i64 * in_bytes;
        let pixel_out = self.channels as i64 * out_bytes;
        let (ih, iw) = (self.input[0] as i64, self.input[1] as i64);
        let ow = self.output[1] as i64;
        // A unit is one output row of one image.
        for_pairs(&mut b, self.output[0], &[], |b, [image, oy, u], _| {
            let (y0, y1) = self.window_range(b, sizes, oy, 0);
            let from = b.mul_const(image, ih * iw * pixel_in);
            let image_in = b.ptr_add(x, from);
            let to = b.mul_const(u, ow * pixel_out);
            let row_out = b.ptr_add(y, to);
            b.for_const(0, ow, 1, &[], |b, ox, _| {
                let (x0, x1) = self.window_range(b, sizes, ox, 1);
                let down = b.sub(y1, y0);
                let across = b.sub(x1, x0);
                let count = b.mul(down, across);
                // Windows behind the images of a run have no elements, and nobody reads what they give.
                let one = b.i64(1);
                let count = if self.measured { b.max(count, one) } else { count };
                let count = b.convert(ConvertOp::Wrap, Type::I32, count);
                let to = b.mul_const(ox, pixel_out);
                let out = b.ptr_add(row_out, to);
                self.channels(b, caps, image_in, out, [y0, y1, x0, x1], count);
                vec![]
            });
            vec![]
        });
        b.finish()
    }

    /// Input indices [lo, hi) that the window at output index `o` covers along `dim`.
    fn window_range(&self, b: &mut Builder, sizes: Option<[Value; 4]>, o: Value, dim: usize) -> (Value, Value) {
        let start = b.mul_const(o, self.stride[dim] as i64);
        let start = match sizes {
            Some(v) => b.sub(start, v[2 + dim]),
            None => b.add_const(start, -(self.padding[dim] as i64)),
        };
        let zero = b.i64(0);
        let lo = b.max(start, zero);
        let stop = b.add_const(start, self.window[dim] as i64);
        let size = b.i64(self.input[dim] as i64);
        let hi = b.min(stop, size);
        (lo, sizes.map_or(hi, |v| b.min(hi, v[dim])))
    }

    fn channels(&self, b: &mut Builder, caps: &Caps, image: Value, out: Value, window: [Value; 4], count: Value) {
        let lanes = caps.lanes(Elem::F32);
        let c = self.channels;
        let whole = c - c % usize::from(lanes);
        b.for_const(0, whole as i64, i64::from(lanes), &[], |b, i, _| {
            self.block(b, caps, image, out, window, count, i, lanes);
            vec![]
        });
        if whole < c {
            let i = b.i64(whole as i64);
            self.block(b, caps, image, out, window, count, i, (c - whole) as u16);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn block(&self, b: &mut Builder, caps: &Caps, image: Value, out: Value, window: [Value; 4], count: Value, i: Value, active: u16) {
        let lanes = caps.lanes(Elem::F32);
        let in_bytes = self.element.inputs[0].bytes() as i64;
        let pixel = self.channels as i64 * in_bytes;
        let row = self.input[1] as i64 * pixel;
        let float = self.epilogue.inputs[0].ty() == Ty::F32;
        let ty = Type::vector(if float { Elem::F32 } else { Elem::I32 }, lanes);
        let init = match (self.combine, float) {
            (Combine::Max, true) => b.float(ty, f64::NEG_INFINITY),
            (Combine::Max, false) => b.int(ty, i64::from(i32::MIN)),
            (_, true) => b.float(ty, 0.0),
            (_, false) => b.int(ty, 0),
        };
        let op = if self.combine == Combine::Max { BinOp::Max } else { BinOp::Add };
        let [y0, y1, x0, x1] = window;
        let di = b.mul_const(i, in_bytes);
        let base = b.ptr_add(image, di);
        let acc = b.for_loop(y0, y1, 1, &[init], |b, iy, c| {
            let dy = b.mul_const(iy, row);
            let line = b.ptr_add(base, dy);
            b.for_loop(x0, x1, 1, &[c[0]], |b, ix, c| {
                let dx = b.mul_const(ix, pixel);
                let v = load_storage(b, self.element.inputs[0], lanes, Addr::new(line).index(dx, 1), active);
                let v = emit(b, caps, &self.element, lanes, &[v]);
                vec![b.bin(op, c[0], v)]
            })
        })[0];
        let count = b.splat(count, lanes);
        let v = emit(b, caps, &self.epilogue, lanes, &[acc, count]);
        let di = b.mul_const(i, self.epilogue.output.bytes() as i64);
        store_storage(b, self.epilogue.output, Narrow::Wrap, Addr::new(out).index(di, 1), v, active);
    }
}
