//! Max pooling that also tells where in its window each maximum was, and its inverse.
//!
//! Positions count the elements of a window row by row and are stored as floats, as MediaPipe's operators do.

use super::gather::INDEX_OUT_OF_RANGE;
use super::scalar::{both, get, put, s};
use crate::expr::Storage;
use tflc_kir::{Addr, Builder, Caps, CmpOp, ConvertOp, Elem, Kernel, Mem, Narrow, Type, Value};

/// Geometry of windows over `[batch, h, w, c]`; pairs are height and width.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ArgPoolSpec {
    /// Images.
    pub batch: usize,
    /// Sizes of the larger side: what windows look at.
    pub large: [usize; 2],
    /// Numbers of windows.
    pub small: [usize; 2],
    /// Channels.
    pub channels: usize,
    /// Sizes of a window.
    pub filter: [usize; 2],
    /// Steps between windows.
    pub stride: [usize; 2],
    /// Padding in front.
    pub pad: [usize; 2],
}

impl ArgPoolSpec {
    /// Work units of pooling: rows of windows.
    pub fn pool_units(&self) -> u64 {
        (self.batch * self.small[0]) as u64
    }

    /// Builds pooling: parameters are input, maxima, positions.
    pub fn build_pool(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new("max_pool_with_argmax");
        let [x, values, places] = ["x", "values", "places"].map(|n| b.ptr_param(n));
        let (begin, end) = (b.begin(), b.end());
        let lanes = caps.lanes(Elem::F32);
        let whole = self.channels - self.channels % usize::from(lanes);
        b.for_loop(begin, end, 1, &[], |b, u, _| {
            let (image, oy) = (s!(b, u / { self.small[0] }), s!(b, u % { self.small[0] }));
            b.for_const(0, self.small[1] as i64, 1, &[], |b, ox, _| {
                let out = s!(b, ((u * { self.small[1] }) + ox) * { self.channels });
                let window = [image, oy, ox];
                b.for_const(0, whole as i64, i64::from(lanes), &[], |b, c, _| {
                    self.best(b, lanes, lanes, x, [values, places], window, out, c);
                    vec![]
                });
                if whole < self.channels {
                    let c = b.i64(whole as i64);
                    self.best(b, lanes, (self.channels - whole) as u16, x, [values, places], window, out, c);
                }
                vec![]
            });
            vec![]
        });
        b.finish()
    }

    /// Row and column that element `k` (a pair) of a window looks at, and whether they are inside.
    fn meets(&self, b: &mut Builder, window: [Value; 2], k: [Value; 2]) -> ([Value; 2], Value) {
        let mut at = [window[0]; 2];
        let mut inside = b.int(Type::BOOL, 1);
        for d in 0..2 {
            let (o, k) = (window[d], k[d]);
            let from = s!(b, (o * { self.stride[d] }) + k);
            at[d] = b.add_const(from, -(self.pad[d] as i64));
            let size = b.i64(self.large[d] as i64);
            let fits = b.cmp(CmpOp::LtU, at[d], size);
            inside = both(b, inside, fits);
        }
        (at, inside)
    }

    #[allow(clippy::too_many_arguments)]
    fn best(&self, b: &mut Builder, lanes: u16, active: u16, x: Value, to: [Value; 2], window: [Value; 3], out: Value, c: Value) {
        let ty = Type::vector(Elem::F32, lanes);
        let least = b.f32_const(ty, f32::NEG_INFINITY);
        let zero = b.float(ty, 0.0);
        let [image, oy, ox] = window;
        let found = b.for_const(0, self.filter[0] as i64, 1, &[least, zero], |b, ky, found| {
            b.for_const(0, self.filter[1] as i64, 1, found, |b, kx, found| {
                let ([iy, ix], inside) = self.meets(b, [oy, ox], [ky, kx]);
                b.if_else(
                    inside,
                    |b| {
                        let row = s!(b, (image * { self.large[0] }) + iy);
                        let at = s!(b, (((row * { self.large[1] }) + ix) * { self.channels }) + c);
                        let v = b.load_first(ty, Mem::F32, Addr::new(x).index(at, 4), active);
                        let k = s!(b, (ky * { self.filter[1] }) + kx);
                        let k = b.convert(ConvertOp::IntToFloat, Type::F32, k);
                        let k = b.splat(k, lanes);
                        let better = b.cmp(CmpOp::Gt, v, found[0]);
                        vec![b.select(better, v, found[0]), b.select(better, k, found[1])]
                    },
                    |_| found.to_vec(),
                )
            })
        });
        let at = s!(b, out + c);
        for (p, v) in to.into_iter().zip(found) {
            b.store_first(Mem::F32, Narrow::Wrap, Addr::new(p).index(at, 4), v, active);
        }
    }

    /// Work units of unpooling: images.
    pub fn unpool_units(&self) -> u64 {
        self.batch as u64
    }

    /// Builds unpooling: parameters are values, positions, and the zeros that values are put into. A position outside the window makes its status 2.
    pub fn build_unpool(&self) -> Kernel {
        let mut b = Builder::new("max_unpool");
        let [x, places, y] = ["x", "places", "y"].map(|n| b.ptr_param(n));
        let (begin, end) = (b.begin(), b.end());
        let fine = b.i32(0);
        let status = b.for_loop(begin, end, 1, &[fine], |b, image, st| {
            b.for_const(0, self.small[0] as i64, 1, st, |b, oy, st| {
                b.for_const(0, self.small[1] as i64, 1, st, |b, ox, st| {
                    b.for_const(0, self.channels as i64, 1, st, |b, c, st| {
                        let row = s!(b, (image * { self.small[0] }) + oy);
                        let at = s!(b, (((row * { self.small[1] }) + ox) * { self.channels }) + c);
                        let place = get(b, Storage::F32, places, at);
                        let k = b.convert(ConvertOp::FloatToIntTrunc, Type::I64, place);
                        let area = b.i64((self.filter[0] * self.filter[1]) as i64);
                        let valid = b.cmp(CmpOp::LtU, k, area);
                        b.if_then(valid, |b| {
                            let (ky, kx) = (s!(b, k / { self.filter[1] }), s!(b, k % { self.filter[1] }));
                            let ([iy, ix], inside) = self.meets(b, [oy, ox], [ky, kx]);
                            b.if_then(inside, |b| {
                                let v = get(b, Storage::F32, x, at);
                                let row = s!(b, (image * { self.large[0] }) + iy);
                                let to = s!(b, (((row * { self.large[1] }) + ix) * { self.channels }) + c);
                                put(b, Storage::F32, y, to, v);
                            });
                        });
                        let bad = b.i32(INDEX_OUT_OF_RANGE);
                        vec![b.select(valid, st[0], bad)]
                    })
                })
            })
        })[0];
        b.finish_status(status)
    }
}
