//! Bilinear samples of images at coordinates known only at run time; pixels outside are zero.
//!
//! Work units are samples.

use super::scalar::{both, get, s};
use crate::expr::Storage;
use tflc_kir::{Addr, Builder, Caps, CmpOp, ConvertOp, Elem, Kernel, Mem, Narrow, Type, UnOp, Value};

/// Specification of samples at (x, y) in images `[batch, h, w, c]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ResamplerSpec {
    /// Samples of all images.
    pub samples: usize,
    /// Samples of each image.
    pub per_image: usize,
    /// Height and width.
    pub size: [usize; 2],
    /// Channels.
    pub channels: usize,
}

impl ResamplerSpec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        self.samples as u64
    }

    /// Builds the kernel: parameters are images, coordinates, output; all `F32`.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new("resampler");
        let [images, places, y] = ["images", "places", "y"].map(|n| b.ptr_param(n));
        let (begin, end) = (b.begin(), b.end());
        let lanes = caps.lanes(Elem::F32);
        let whole = self.channels - self.channels % usize::from(lanes);
        b.for_loop(begin, end, 1, &[], |b, u, _| {
            let image = s!(b, u / { self.per_image });
            // Column, then row: the pixel before, and how far behind it.
            let at = [0, 1].map(|k| {
                let i = s!(b, (u * 2) + { k });
                let v = get(b, Storage::F32, places, i);
                let whole = b.un(UnOp::Floor, v);
                (b.convert(ConvertOp::FloatToIntTrunc, Type::I64, whole), b.sub(v, whole))
            });
            let b = &mut *b;
            b.for_const(0, whole as i64, i64::from(lanes), &[], |b, c, _| {
                self.sample(b, lanes, lanes, [images, y], [u, image, c], at);
                vec![]
            });
            if whole < self.channels {
                let c = b.i64(whole as i64);
                self.sample(b, lanes, (self.channels - whole) as u16, [images, y], [u, image, c], at);
            }
            vec![]
        });
        b.finish()
    }

    fn sample(
        &self,
        b: &mut Builder,
        lanes: u16,
        active: u16,
        [images, y]: [Value; 2],
        [u, image, c]: [Value; 3],
        at: [(Value, Value); 2],
    ) {
        let ty = Type::vector(Elem::F32, lanes);
        let [h, w] = self.size;
        let pixel = |b: &mut Builder, dy: i64, dx: i64| {
            let (row, column) = (b.add_const(at[1].0, dy), b.add_const(at[0].0, dx));
            let (height, width) = (b.i64(h as i64), b.i64(w as i64));
            let (fits_y, fits_x) = (b.cmp(CmpOp::LtU, row, height), b.cmp(CmpOp::LtU, column, width));
            let inside = both(b, fits_y, fits_x);
            b.if_else(
                inside,
                |b| {
                    let row = s!(b, (image * { h }) + row);
                    let from = s!(b, (((row * { w }) + column) * { self.channels }) + c);
                    vec![b.load_first(ty, Mem::F32, Addr::new(images).index(from, 4), active)]
                },
                |b| vec![b.float(ty, 0.0)],
            )[0]
        };
        let mix = |b: &mut Builder, p: Value, q: Value, share: Value| {
            let one = b.float(Type::F32, 1.0);
            let rest = b.sub(one, share);
            let (rest, share) = (b.splat(rest, lanes), b.splat(share, lanes));
            let (p, q) = (b.mul(p, rest), b.mul(q, share));
            b.add(p, q)
        };
        let rows = [0, 1].map(|dy| {
            let (left, right) = (pixel(b, dy, 0), pixel(b, dy, 1));
            mix(b, left, right, at[0].1)
        });
        let v = mix(b, rows[0], rows[1], at[1].1);
        let to = s!(b, (u * { self.channels }) + c);
        b.store_first(Mem::F32, Narrow::Wrap, Addr::new(y).index(to, 4), v, active);
    }
}
