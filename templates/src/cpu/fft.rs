//! Fourier transforms of a power of two of complex numbers: Stockham's form of radix 2, which sorts itself.
//!
//! Real and imaginary parts lie in arrays of their own. A unit transforms `[n, inner]` numbers along n, so that rows (inner is 1) and columns are the same
//! kernel; lanes are neighbours of one stage. Stages go back and forth between the data and a workspace. Source: Van Loan, "Computational
//! Frameworks for the Fast Fourier Transform" (1992), section 1.7.

use tflc_kir::{Addr, Builder, Caps, Elem, Kernel, Mem, Narrow, Type, Value};

/// Specification of a transform `X[k] = sum over j of x[j] exp(-2πi j k / n)`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct FftSpec {
    /// Transforms of `[n, inner]` numbers: the work units.
    pub batch: usize,
    /// Length, a power of two.
    pub n: usize,
    /// Neighbours that are transformed alike.
    pub inner: usize,
}

impl FftSpec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        self.batch as u64
    }

    /// Numbers in each of the four arrays.
    pub fn elements(&self) -> usize {
        self.batch * self.n * self.inner
    }

    /// Whether the result is in the second pair of arrays: after an odd number of stages.
    pub fn lands_in_workspace(&self) -> bool {
        self.n.trailing_zeros() % 2 == 1
    }

    /// The factors exp(-2πi k / n) for k < n/2, cosines then sines, as `F32`.
    pub fn twiddles(&self) -> Vec<f32> {
        let angle = |k: usize| -2.0 * std::f64::consts::PI * k as f64 / self.n as f64;
        let half = self.n / 2;
        (0..half).map(|k| angle(k).cos() as f32).chain((0..half).map(|k| angle(k).sin() as f32)).collect()
    }

    /// Builds the kernel: parameters are real and imaginary parts of the data and of the workspace, then the twiddles.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new("fft");
        let mut pairs = ["data_re", "data_im", "work_re", "work_im"].map(|n| b.ptr_param(n));
        let twiddles = b.ptr_param("twiddles");
        let (begin, end) = (b.begin(), b.end());
        b.for_loop(begin, end, 1, &[], |b, u, _| {
            let at = b.mul_const(u, (self.n * self.inner * 4) as i64);
            pairs = pairs.map(|p| b.ptr_add(p, at));
            let (mut n, mut stride) = (self.n, self.inner);
            let (mut from, mut to) = ([pairs[0], pairs[1]], [pairs[2], pairs[3]]);
            while n > 1 {
                self.stage(b, caps, n, stride, from, to, twiddles);
                (from, to) = (to, from);
                n /= 2;
                stride *= 2;
            }
            vec![]
        });
        b.finish()
    }

    /// `y[q + s(2p)] = a + b`, `y[q + s(2p+1)] = (a - b) w^p` with `a = x[q + sp]`, `b = x[q + s(p + n/2)]`, for p < n/2 and q < s.
    #[allow(clippy::too_many_arguments)]
    fn stage(&self, b: &mut Builder, caps: &Caps, n: usize, stride: usize, from: [Value; 2], to: [Value; 2], twiddles: Value) {
        let m = n / 2;
        let lanes = caps.lanes(Elem::F32);
        let step = (self.n / n) as i64;
        let bytes = (stride * 4) as i64;
        b.for_const(0, m as i64, 1, &[], |b, p, _| {
            let at = b.mul_const(p, step);
            let w = [0, (self.n / 2 * 4) as i64].map(|d| b.load(Type::F32, Mem::F32, Addr::new(twiddles).index(at, 4).offset(d)));
            let at = b.mul_const(p, bytes);
            let a = from.map(|v| b.ptr_add(v, at));
            let far = a.map(|v| b.ptr_add_const(v, m as i64 * bytes));
            let at = b.mul_const(p, 2 * bytes);
            let sum = to.map(|v| b.ptr_add(v, at));
            let difference = sum.map(|v| b.ptr_add_const(v, bytes));
            let ends = [a, far, sum, difference];
            let whole = stride - stride % usize::from(lanes);
            if whole > 0 {
                let wide = w.map(|v| b.splat(v, lanes));
                b.for_const(0, whole as i64, i64::from(lanes), &[], |b, q, _| {
                    butterfly(b, lanes, q, ends, wide);
                    vec![]
                });
            }
            b.for_const(whole as i64, stride as i64, 1, &[], |b, q, _| {
                butterfly(b, 1, q, ends, w);
                vec![]
            });
            vec![]
        });
    }
}

/// One butterfly in each lane; the places are those of both operands, sum and difference.
fn butterfly(b: &mut Builder, lanes: u16, q: Value, [x, y, sum, difference]: [[Value; 2]; 4], w: [Value; 2]) {
    let ty = Type::vector(Elem::F32, lanes);
    let load = |b: &mut Builder, p: [Value; 2]| p.map(|p| b.load(ty, Mem::F32, Addr::new(p).index(q, 4)));
    let (x, y) = (load(b, x), load(b, y));
    let store = |b: &mut Builder, p: Value, v: Value| b.store(Mem::F32, Narrow::Wrap, Addr::new(p).index(q, 4), v);
    for k in 0..2 {
        let v = b.add(x[k], y[k]);
        store(b, sum[k], v);
    }
    let (re, im) = (b.sub(x[0], y[0]), b.sub(x[1], y[1]));
    let (rr, ii) = (b.mul(re, w[0]), b.mul(im, w[1]));
    let v = b.sub(rr, ii);
    store(b, difference[0], v);
    let (ri, ir) = (b.mul(re, w[1]), b.mul(im, w[0]));
    let v = b.add(ri, ir);
    store(b, difference[1], v);
}
