//! Softmax and its logarithm along the innermost axis, in f32 and on 8-bit tables.
//!
//! Three passes over a row that stays in the first-level cache: maximum, sum of exponentials, scaling. Work units are rows.
//! The 8-bit form looks exponentials up in a table of 256 f32 that the compiler made and adds them in order, as LiteRT does, so that
//! the results have its bits.

use super::reduce::fill_tail;
use crate::expr::emit::{emit, load_storage, store_storage};
use crate::expr::{Expr, Storage, Unary, math, math_f64};
use tflc_kir::{Addr, BinOp, Builder, Caps, ConvertOp, Elem, Kernel, Mem, Narrow, ReduceOp, Type, Value};

/// Softmax of f32 rows: `exp(beta*(x - max)) / sum`, or `beta*(x - max) - log(sum)`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SoftmaxSpec {
    /// Rows.
    pub rows: usize,
    /// Elements of a row.
    pub n: usize,
    /// Bits of beta, an f32.
    pub beta_bits: u32,
    /// Whether the logarithm is wanted.
    pub log: bool,
}

/// Softmax of 8-bit rows by a table `t[k] = exp(-beta * scale * k)`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SoftmaxTableSpec {
    /// Rows.
    pub rows: usize,
    /// Elements of a row.
    pub n: usize,
    /// Type of the input: `I8` or `U8`.
    pub input: Storage,
    /// What comes out.
    pub kind: TableKind,
    /// Inputs: F32 `p = e / (sum * scale)` for `Probability`; element (F32) and offset (F32) for `Log`.
    pub epilogue: Expr,
}

/// What a table softmax gives.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum TableKind {
    /// Probabilities; bits of the output scale, an f32.
    Probability {
        /// Bits of the output scale.
        output_scale_bits: u32,
    },
    /// Logarithms; bits of the input and output scales. The offset is `(scale_in * max + log(sum)) / scale_out`.
    Log {
        /// Bits of the input scale.
        input_scale_bits: u32,
        /// Bits of the output scale.
        output_scale_bits: u32,
    },
}

impl SoftmaxSpec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        self.rows as u64
    }

    /// Builds the kernel: parameters are input and output.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new(if self.log { "f32_log_softmax" } else { "f32_softmax" });
        let x = b.ptr_param("x");
        let y = b.ptr_param("y");
        let (begin, end) = (b.begin(), b.end());
        let bytes = self.n as i64 * 4;
        b.for_loop(begin, end, 1, &[], |b, row, _| {
            let at = b.mul_const(row, bytes);
            let (x, y) = (b.ptr_add(x, at), b.ptr_add(y, at));
            self.row(b, caps, x, y);
            vec![]
        });
        b.finish()
    }

    fn row(&self, b: &mut Builder, caps: &Caps, x: Value, y: Value) {
        let lanes = caps.lanes(Elem::F32);
        let ty = Type::vector(Elem::F32, lanes);
        let lowest = b.float(ty, f64::NEG_INFINITY);
        let load = |b: &mut Builder, i: Value, active: u16| b.load_first(ty, Mem::F32, Addr::new(x).index(i, 4), active);
        let max = self.sweep(b, lanes, lowest, |b, acc, i, active| {
            let v = load(b, i, active);
            let v = fill_tail(b, v, active, lowest);
            b.max(v, acc)
        });
        let max = b.reduce(ReduceOp::Max, max);
        let max = b.splat(max, lanes);
        let beta = b.f32_const(ty, f32::from_bits(self.beta_bits));
        let zero = b.float(ty, 0.0);
        let shifted = |b: &mut Builder, i: Value, active: u16| {
            let v = load(b, i, active);
            let d = b.sub(v, max);
            if f32::from_bits(self.beta_bits) == 1.0 { d } else { b.mul(d, beta) }
        };
        let store = |b: &mut Builder, i: Value, v: Value, active: u16| {
            b.store_first(Mem::F32, Narrow::Wrap, Addr::new(y).index(i, 4), v, active);
        };
        let sum = self.sweep(b, lanes, zero, |b, acc, i, active| {
            let d = shifted(b, i, active);
            // Less than nothing is added only where beta is negative.
            let e =
                if f32::from_bits(self.beta_bits) < 0.0 { math::unary(b, caps, Unary::Exp, d) } else { math::exp_not_positive(b, caps, d) };
            if !self.log {
                store(b, i, e, active);
            }
            let e = fill_tail(b, e, active, zero);
            b.add(acc, e)
        });
        let sum = b.reduce(ReduceOp::Add, sum);
        if self.log {
            let sum = b.splat(sum, lanes);
            let offset = math::unary(b, caps, Unary::Log, sum);
            self.sweep(b, lanes, zero, |b, acc, i, active| {
                let d = shifted(b, i, active);
                let v = b.sub(d, offset);
                store(b, i, v, active);
                acc
            });
        } else {
            let one = b.float(Type::F32, 1.0);
            let inverse = b.bin(BinOp::Div, one, sum);
            let inverse = b.splat(inverse, lanes);
            self.sweep(b, lanes, zero, |b, acc, i, active| {
                let e = b.load_first(ty, Mem::F32, Addr::new(y).index(i, 4), active);
                let v = b.mul(e, inverse);
                store(b, i, v, active);
                acc
            });
        }
    }

    /// Folds `step(acc, index, active lanes)` over a row.
    fn sweep(&self, b: &mut Builder, lanes: u16, init: Value, step: impl Fn(&mut Builder, Value, Value, u16) -> Value) -> Value {
        let n = self.n as i64;
        let whole = n - n % i64::from(lanes);
        let acc = b.for_const(0, whole, i64::from(lanes), &[init], |b, i, c| vec![step(b, c[0], i, lanes)])[0];
        if whole == n {
            return acc;
        }
        let i = b.i64(whole);
        step(b, acc, i, (n - whole) as u16)
    }
}

impl SoftmaxTableSpec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        self.rows as u64
    }

    /// Builds the kernel: parameters are input, table (256 f32) and output.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new(format!("{}_softmax_table", if self.input == Storage::U8 { "qu8" } else { "qs8" }));
        let x = b.ptr_param("x");
        let table = b.ptr_param("table");
        let y = b.ptr_param("y");
        let (begin, end) = (b.begin(), b.end());
        b.for_loop(begin, end, 1, &[], |b, row, _| {
            let at = b.mul_const(row, self.n as i64);
            let x = b.ptr_add(x, at);
            let at = b.mul_const(row, (self.n * self.epilogue.output.bytes()) as i64);
            let y = b.ptr_add(y, at);
            self.row(b, caps, x, table, y);
            vec![]
        });
        b.finish()
    }

    fn row(&self, b: &mut Builder, caps: &Caps, x: Value, table: Value, y: Value) {
        let n = self.n as i64;
        let lowest = b.i32(i32::MIN);
        let element = |b: &mut Builder, i: Value| load_storage(b, self.input, 1, Addr::new(x).index(i, 1), 1);
        let max = b.for_const(0, n, 1, &[lowest], |b, i, c| {
            let v = element(b, i);
            vec![b.max(v, c[0])]
        })[0];
        let look_up = |b: &mut Builder, i: Value| {
            let v = element(b, i);
            let k = b.sub(max, v);
            let k = b.convert(ConvertOp::ExtS, Type::I64, k);
            b.load(Type::F32, Mem::F32, Addr::new(table).index(k, 4))
        };
        let zero = b.float(Type::F32, 0.0);
        // In the order of the row: the sum must have LiteRT's bits.
        let sum = b.for_const(0, n, 1, &[zero], |b, i, c| {
            let e = look_up(b, i);
            vec![b.add(c[0], e)]
        })[0];
        match self.kind {
            TableKind::Probability { output_scale_bits } => {
                let scale = b.f32_const(Type::F32, f32::from_bits(output_scale_bits));
                let d = b.mul(sum, scale);
                let one = b.float(Type::F32, 1.0);
                let inverse = b.bin(BinOp::Div, one, d);
                b.for_const(0, n, 1, &[], |b, i, _| {
                    let e = look_up(b, i);
                    let p = b.mul(e, inverse);
                    let v = emit(b, caps, &self.epilogue, 1, &[p]);
                    store_storage(b, self.epilogue.output, Narrow::Wrap, Addr::new(y).index(i, self.epilogue.output.bytes() as u8), v, 1);
                    vec![]
                });
            }
            TableKind::Log { input_scale_bits, output_scale_bits } => {
                let si = b.f32_const(Type::F32, f32::from_bits(input_scale_bits));
                let so = b.f32_const(Type::F32, f32::from_bits(output_scale_bits));
                let l = math_f64::log(b, sum);
                let m = b.convert(ConvertOp::IntToFloat, Type::F32, max);
                let m = b.mul(si, m);
                let t = b.add(m, l);
                let offset = b.bin(BinOp::Div, t, so);
                b.for_const(0, n, 1, &[], |b, i, _| {
                    let q = element(b, i);
                    let q = b.convert(ConvertOp::IntToFloat, Type::F32, q);
                    let v = emit(b, caps, &self.epilogue, 1, &[q, offset]);
                    store_storage(b, self.epilogue.output, Narrow::Wrap, Addr::new(y).index(i, self.epilogue.output.bytes() as u8), v, 1);
                    vec![]
                });
            }
        }
    }
}
