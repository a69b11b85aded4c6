//! Dynamic quantisation: each row of floats becomes bytes with its own scale and zero point, found at run time.
//!
//! In: rows of f32. Out: bytes, the scale that turns products back into floats, and the zero point, one of each for a row; or the bytes less the zero point
//! as 16-bit integers. A row is read twice: for its range, and to be quantised. NaNs are left out of the range; what they and infinities become is not
//! specified. Work units are rows. Formulas: `compiler/docs/numerics.md`, *Hybrid*.

use super::reduce::fill_tail;
use crate::expr::Storage;
use tflc_kir::{Addr, BinOp, Builder, Caps, CmpOp, ConvertOp, Elem, Kernel, Mem, Narrow, ReduceOp, Type, UnOp, Value};

/// Whose rounding a row gets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rule {
    /// XNNPACK's `qd8`. Source: XNNPACK, `src/xnnpack/quantization.h`, `src/f32-qs8-vcvt`.
    Even,
    /// TFLite's AsymmetricQuantizeFloats: half away from zero, the zero point in binary64. Source: TFLite,
    /// `kernels/internal/optimized/neon_tensor_utils.cc`.
    Away,
    /// TFLite's SymmetricQuantizeFloats: the largest magnitude is 127, the zero point 0; rounds as the other one. Source: as for it.
    Symmetric,
}

/// Specification of a dynamic quantisation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct QuantizeRowsSpec {
    /// Rows.
    pub rows: usize,
    /// Elements of a row.
    pub n: usize,
    /// `I8`, `U8` (every value and zero point 128 higher), or `I16` (less the zero point).
    pub storage: Storage,
    /// Rounding.
    pub rule: Rule,
}

/// Vectors of a row that are examined at a time, so that no minimum waits for the one before.
const UNROLL: usize = 4;

/// What a row is quantised with: multiplier and zero point (of the stored bytes), in every lane.
struct Params {
    multiplier: Value,
    zero: Value,
}

impl QuantizeRowsSpec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        self.rows as u64
    }

    /// Builds the kernel: parameters are the rows, the quantised rows, scales (f32) and zero points (i32).
    pub fn build(&self, caps: &Caps) -> Kernel {
        assert!(matches!(self.storage, Storage::I8 | Storage::U8 | Storage::I16), "storage of {self:?}");
        let mut b = Builder::new("f32_quantize_rows");
        let (x, q) = (b.ptr_param("x"), b.ptr_param("q"));
        let (scales, zeros) = (b.ptr_param("scales"), b.ptr_param("zeros"));
        let (begin, end) = (b.begin(), b.end());
        let lanes = caps.lanes(Elem::F32);
        b.for_loop(begin, end, 1, &[], |b, row, _| {
            let at = b.mul_const(row, self.n as i64 * 4);
            let x = b.ptr_add(x, at);
            let at = b.mul_const(row, (self.n * self.storage.bytes()) as i64);
            let q = b.ptr_add(q, at);
            let (lo, hi) = self.range(b, lanes, x);
            let (multiplier, scale, zero) = match self.rule {
                Rule::Even => params_even(b, lo, hi),
                Rule::Away => params_away(b, lo, hi),
                Rule::Symmetric => params_symmetric(b, lo, hi),
            };
            let offset = b.i32(if self.storage == Storage::U8 { 128 } else { 0 });
            let zero = b.add(zero, offset);
            b.store(Mem::F32, Narrow::Wrap, Addr::new(scales).index(row, 4), scale);
            b.store(Mem::S32, Narrow::Wrap, Addr::new(zeros).index(row, 4), zero);
            let params = Params { multiplier: b.splat(multiplier, lanes), zero: b.splat(zero, lanes) };
            self.quantize(b, lanes, x, q, &params);
            vec![]
        });
        b.finish()
    }

    /// Least and greatest element of a row and 0.
    fn range(&self, b: &mut Builder, lanes: u16, x: Value) -> (Value, Value) {
        let ty = Type::vector(Elem::F32, lanes);
        let zero = b.float(ty, 0.0);
        let (n, width) = (self.n as i64, i64::from(lanes));
        let step = width * UNROLL as i64;
        let unrolled = n - n % step;
        // The element comes first: where it is NaN, the second operand is the result.
        let meet = |b: &mut Builder, v: Value, lo: Value, hi: Value| (b.min(v, lo), b.max(v, hi));
        let at = |i: Value, k: usize| Addr::new(x).index(i, 4).offset(k as i64 * width * 4);
        let found = b.for_const(0, unrolled, step, &[zero; 2 * UNROLL], |b, i, c| {
            let pairs: Vec<(Value, Value)> = (0..UNROLL)
                .map(|k| {
                    let v = b.load(ty, Mem::F32, at(i, k));
                    meet(b, v, c[2 * k], c[2 * k + 1])
                })
                .collect();
            pairs.into_iter().flat_map(|(lo, hi)| [lo, hi]).collect()
        });
        let (mut lo, mut hi) = (found[0], found[1]);
        for k in 1..UNROLL {
            (lo, hi) = (b.min(found[2 * k], lo), b.max(found[2 * k + 1], hi));
        }
        let mut done = unrolled;
        while done < n {
            let active = (n - done).min(width) as u16;
            let i = b.i64(done);
            let v = b.load_first(ty, Mem::F32, at(i, 0), active);
            let v = fill_tail(b, v, active, zero);
            (lo, hi) = meet(b, v, lo, hi);
            done += i64::from(active);
        }
        (b.reduce(ReduceOp::Min, lo), b.reduce(ReduceOp::Max, hi))
    }

    fn quantize(&self, b: &mut Builder, lanes: u16, x: Value, q: Value, params: &Params) {
        let (n, width) = (self.n as i64, i64::from(lanes));
        // TFLite rounds whole groups of eight in vectors, what is left one by one.
        let grouped = match self.rule {
            Rule::Even => n,
            Rule::Away | Rule::Symmetric => n - n % 8,
        };
        let whole = grouped - grouped % width;
        b.for_const(0, whole, width, &[], |b, i, _| {
            self.vector(b, lanes, (x, q), i, lanes, params, false);
            vec![]
        });
        let mut done = whole;
        while done < n {
            let limit = if done < grouped { grouped } else { n };
            let active = (limit - done).min(width) as u16;
            let i = b.i64(done);
            self.vector(b, lanes, (x, q), i, active, params, done >= grouped);
            done += i64::from(active);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn vector(&self, b: &mut Builder, lanes: u16, (x, q): (Value, Value), i: Value, active: u16, params: &Params, last: bool) {
        let ty = Type::vector(Elem::F32, lanes);
        let ints = Type::vector(Elem::I32, lanes);
        let v = b.load_first(ty, Mem::F32, Addr::new(x).index(i, 4), active);
        let t = b.mul(v, params.multiplier);
        let (lo, hi) = (b.float(ty, -512.0), b.float(ty, 512.0));
        let t = b.max(t, lo);
        let t = b.min(t, hi);
        let r = match self.rule {
            Rule::Even => b.convert(ConvertOp::FloatToIntEven, ints, t),
            Rule::Away | Rule::Symmetric if last => {
                let r = away(b, t);
                b.convert(ConvertOp::FloatToIntTrunc, ints, r)
            }
            Rule::Away | Rule::Symmetric => {
                let (half, minus, zero) = (b.float(ty, 0.5), b.float(ty, -0.5), b.float(ty, 0.0));
                let negative = b.cmp(CmpOp::Lt, t, zero);
                let half = b.select(negative, minus, half);
                let t = b.add(t, half);
                b.convert(ConvertOp::FloatToIntTrunc, ints, t)
            }
        };
        let r = b.add(r, params.zero);
        let to = Addr::new(q).index(i, self.storage.bytes() as u8);
        match self.storage {
            Storage::U8 => b.store_first(Mem::U8, Narrow::Saturate, to, r, active),
            Storage::I8 => b.store_first(Mem::S8, Narrow::Saturate, to, r, active),
            _ => {
                let (lo, hi) = (b.int(ints, -128), b.int(ints, 127));
                let r = b.max(r, lo);
                let r = b.min(r, hi);
                let r = b.sub(r, params.zero);
                b.store_first(Mem::S16, Narrow::Wrap, to, r, active);
            }
        }
    }
}

/// The nearest integer, half away from zero, as a float.
fn away(b: &mut Builder, t: Value) -> Value {
    let ty = b.ty(t);
    let whole = b.un(UnOp::Trunc, t);
    let rest = b.sub(t, whole);
    let [half, minus_half, one, minus_one, zero] = [0.5, -0.5, 1.0, -1.0, 0.0].map(|v| b.float(ty, v));
    let up = b.cmp(CmpOp::Ge, rest, half);
    let up = b.select(up, one, zero);
    let down = b.cmp(CmpOp::Le, rest, minus_half);
    let step = b.select(down, minus_one, up);
    b.add(whole, step)
}

fn clamp(b: &mut Builder, v: Value, lo: f64, hi: f64) -> Value {
    let ty = b.ty(v);
    let (lo, hi) = (b.float(ty, lo), b.float(ty, hi));
    let v = b.max(v, lo);
    b.min(v, hi)
}

/// XNNPACK's multiplier, its reciprocal and the zero point, of scalars.
fn params_even(b: &mut Builder, lo: Value, hi: Value) -> (Value, Value, Value) {
    let [one, steps, least, most, zero] = [1.0, 255.0, -128.0, 127.0, 0.0].map(|v| b.float(Type::F32, v));
    let largest = b.f32_const(Type::F32, f32::MAX);
    let width = b.sub(hi, lo);
    let k = b.bin(BinOp::Div, steps, width);
    let k = b.min(k, largest);
    let flat = b.cmp(CmpOp::Eq, lo, hi);
    let k = b.select(flat, one, k);
    let scale = b.bin(BinOp::Div, one, k);
    let (low, high) = (b.mul(lo, k), b.mul(hi, k));
    let (below, above) = (b.add(least, low), b.add(most, high));
    let error = b.add(below, above);
    let from_low = b.cmp(CmpOp::Gt, error, zero);
    let (by_low, by_high) = (b.sub(least, low), b.sub(most, high));
    let z = b.select(from_low, by_low, by_high);
    let z = clamp(b, z, -128.0, 127.0);
    (k, scale, b.convert(ConvertOp::FloatToIntEven, Type::I32, z))
}

/// TFLite's multiplier, scale and zero point where that is 0, of scalars.
fn params_symmetric(b: &mut Builder, lo: Value, hi: Value) -> (Value, Value, Value) {
    let [one, steps, zero] = [1.0, 127.0, 0.0].map(|v| b.float(Type::F32, v));
    let below = b.un(UnOp::Neg, lo);
    let most = b.max(below, hi);
    let none = b.cmp(CmpOp::Eq, most, zero);
    let (multiplier, scale) = (b.bin(BinOp::Div, steps, most), b.bin(BinOp::Div, most, steps));
    (b.select(none, one, multiplier), b.select(none, one, scale), b.i32(0))
}

/// TFLite's multiplier, scale and zero point, of scalars.
fn params_away(b: &mut Builder, lo: Value, hi: Value) -> (Value, Value, Value) {
    let wide = |b: &mut Builder, v: Value| b.convert(ConvertOp::FloatToFloat, Type::F64, v);
    let [steps, least, most] = [255.0, -128.0, 127.0].map(|v| b.float(Type::F64, v));
    let [one, none] = [1.0, 0.0].map(|v| b.float(Type::F32, v));
    let flat = b.cmp(CmpOp::Eq, lo, hi);
    let width = b.sub(hi, lo);
    let width = b.select(flat, one, width);
    let width = wide(b, width);
    let step = b.bin(BinOp::Div, width, steps);
    let (low, high) = (wide(b, lo), wide(b, hi));
    let (low, high) = (b.bin(BinOp::Div, low, step), b.bin(BinOp::Div, high, step));
    let (low_size, high_size) = (b.un(UnOp::Abs, low), b.un(UnOp::Abs, high));
    let (at_low, at_high) = (b.sub(low_size, least), b.add(most, high_size));
    let from_low = b.cmp(CmpOp::Lt, at_low, at_high);
    let (by_low, by_high) = (b.sub(least, low), b.sub(most, high));
    let z = b.select(from_low, by_low, by_high);
    let z = clamp(b, z, -1000.0, 1000.0);
    let z = away(b, z);
    let z = clamp(b, z, -128.0, 127.0);
    let z = b.convert(ConvertOp::FloatToIntTrunc, Type::I32, z);
    let scale = b.convert(ConvertOp::FloatToFloat, Type::F32, step);
    let inverse = b.bin(BinOp::Div, one, scale);
    // Rows of zeros alone: every element is the zero point.
    let no_point = b.i32(0);
    (b.select(flat, none, inverse), b.select(flat, one, scale), b.select(flat, no_point, z))
}
