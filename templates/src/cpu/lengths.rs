//! Arithmetic of lengths that are known only at run time: formulas over integers in memory, checked, then stored.
//!
//! There is one work unit. Where a check fails the status is 2, and zeros are stored: whatever loops over such lengths does nothing.

use super::gather::INDEX_OUT_OF_RANGE;
use super::scalar::{get_int, put_int};
use tflc_kir::{BinOp, Builder, CmpOp, Kernel, Type, Value};

/// A formula; operands are positions of formulas in front of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Formula {
    /// A number.
    Number(i64),
    /// Element `at` of the array in parameter `from`, `wide` where it is of 64 bits (else 32); its absolute value is at most 2^40.
    Read {
        /// The parameter.
        from: usize,
        /// The element.
        at: usize,
        /// Whether elements are 64 bits wide.
        wide: bool,
    },
    /// Sum.
    Add(usize, usize),
    /// Difference.
    Sub(usize, usize),
    /// Product.
    Mul(usize, usize),
    /// Quotient, towards zero; a divisor below 1 counts as 1.
    Div(usize, usize),
    /// The smaller one.
    Min(usize, usize),
    /// The greater one.
    Max(usize, usize),
    /// 1 where the first is below the second, else 0.
    Less(usize, usize),
    /// 1 where both are equal, else 0.
    Equal(usize, usize),
    /// The second where the first is not 0, else the third.
    Choose(usize, usize, usize),
}

/// Specification of formulas that are evaluated together.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct LengthsSpec {
    /// Parameters: arrays that are read or written.
    pub arrays: usize,
    /// The formulas.
    pub formulas: Vec<Formula>,
    /// Formulas that must not be 0.
    pub checks: Vec<usize>,
    /// What is stored: a formula as element of the array of 64-bit integers in a parameter.
    pub stores: Vec<(usize, usize, usize)>,
}

/// The greatest absolute value that is read: products of two do not wrap where one has been checked to be a size.
const MOST: i64 = 1 << 40;

impl LengthsSpec {
    /// Builds the kernel: parameters are the arrays.
    pub fn build(&self) -> Kernel {
        let mut b = Builder::new("lengths");
        let arrays: Vec<Value> = (0..self.arrays).map(|i| b.ptr_param(format!("a{i}"))).collect();
        let mut values: Vec<Value> = vec![];
        for formula in &self.formulas {
            let v = formula.emit(&mut b, &arrays, &values);
            values.push(v);
        }
        let (zero, mut good) = (b.i64(0), b.int(Type::BOOL, 1));
        for check in &self.checks {
            let holds = b.cmp(CmpOp::Ne, values[*check], zero);
            good = b.bin(BinOp::And, good, holds);
        }
        for (formula, array, at) in &self.stores {
            let v = if self.checks.is_empty() { values[*formula] } else { b.select(good, values[*formula], zero) };
            let at = b.i64(*at as i64);
            put_int(&mut b, true, arrays[*array], at, v);
        }
        if self.checks.is_empty() {
            return b.finish();
        }
        let (fine, bad) = (b.i32(0), b.i32(INDEX_OUT_OF_RANGE));
        let status = b.select(good, fine, bad);
        b.finish_status(status)
    }
}

impl Formula {
    fn emit(self, b: &mut Builder, arrays: &[Value], values: &[Value]) -> Value {
        let truth = |b: &mut Builder, op: CmpOp, x: usize, y: usize| {
            let (holds, one, zero) = (b.cmp(op, values[x], values[y]), b.i64(1), b.i64(0));
            b.select(holds, one, zero)
        };
        match self {
            Formula::Number(v) => b.i64(v),
            Formula::Read { from, at, wide } => {
                let at = b.i64(at as i64);
                let v = get_int(b, wide, arrays[from], at);
                if !wide {
                    return v;
                }
                let (least, most) = (b.i64(-MOST), b.i64(MOST));
                let v = b.max(v, least);
                b.min(v, most)
            }
            Formula::Add(x, y) => b.add(values[x], values[y]),
            Formula::Sub(x, y) => b.sub(values[x], values[y]),
            Formula::Mul(x, y) => b.mul(values[x], values[y]),
            Formula::Div(x, y) => {
                let one = b.i64(1);
                let divisor = b.max(values[y], one);
                b.bin(BinOp::Div, values[x], divisor)
            }
            Formula::Min(x, y) => b.min(values[x], values[y]),
            Formula::Max(x, y) => b.max(values[x], values[y]),
            Formula::Less(x, y) => truth(b, CmpOp::Lt, x, y),
            Formula::Equal(x, y) => truth(b, CmpOp::Eq, x, y),
            Formula::Choose(c, x, y) => {
                let zero = b.i64(0);
                let holds = b.cmp(CmpOp::Ne, values[c], zero);
                b.select(holds, values[x], values[y])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tflc_kir::interp::{Arg, Memory, run};

    /// The results of `a[0] - b`, checked to be at most 5, and of its half.
    fn half(a: i64, b: i32) -> (i32, [i64; 2]) {
        let spec = LengthsSpec {
            arrays: 3,
            formulas: vec![
                Formula::Read { from: 0, at: 0, wide: true },
                Formula::Read { from: 1, at: 0, wide: false },
                Formula::Sub(0, 1),
                Formula::Number(6),
                Formula::Less(2, 3),
                Formula::Number(2),
                Formula::Div(2, 5),
            ],
            checks: vec![4],
            stores: vec![(2, 2, 0), (6, 2, 1)],
        };
        let (a, b, mut out) = (a.to_le_bytes(), b.to_le_bytes(), [0xff; 16]);
        let status = {
            let mut memory = Memory::new();
            let args = [Arg::Ptr(memory.add_shared(&a)), Arg::Ptr(memory.add_shared(&b)), Arg::Ptr(memory.add_mut(&mut out))];
            run(&spec.build(), &args, &mut memory, 0, 1).unwrap()
        };
        (status, [0, 8].map(|at| i64::from_le_bytes(out[at..at + 8].try_into().unwrap())))
    }

    #[test]
    fn formulas_are_stored_unless_a_check_fails() {
        assert_eq!(half(7, 2), (0, [5, 2]));
        assert_eq!(half(i64::MIN, 0), (0, [-MOST, -MOST / 2]));
        assert_eq!(half(9, 2), (INDEX_OUT_OF_RANGE, [0, 0]));
    }
}
