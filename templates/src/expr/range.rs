//! Ranges of integers in expressions: whether a result passes through its memory type unchanged, and what storing it would leave.

use super::{Binary, Const, Expr, ExprBuilder, Id, Node, Storage, Ty};

impl Storage {
    /// The least and the greatest integer of this memory type; `None` for floats.
    pub fn integers(self) -> Option<(i64, i64)> {
        Some(match self {
            Storage::F32 | Storage::F64 | Storage::F16 | Storage::BF16 => return None,
            Storage::I8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
            Storage::U8 => (0, i64::from(u8::MAX)),
            Storage::I16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
            Storage::U16 => (0, i64::from(u16::MAX)),
            Storage::I32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
            Storage::U32 => (0, i64::from(u32::MAX)),
            Storage::I64 => (i64::MIN, i64::MAX),
            Storage::Bool => (0, 1),
        })
    }
}

impl Expr {
    /// Whether every result is one of its memory type, so that storing it changes nothing. Bounds are propagated from operands; where
    /// an operator may wrap, nothing is known of its result.
    pub fn fits_output(&self) -> bool {
        match self.output {
            Storage::F32 | Storage::F64 | Storage::I32 | Storage::I64 | Storage::Bool => return true,
            Storage::F16 | Storage::BF16 => return false,
            _ => {}
        }
        let types = self.types();
        let whole = |ty: Ty| match ty {
            Ty::I32 => Storage::I32.integers(),
            Ty::I64 => Storage::I64.integers(),
            Ty::Bool => Some((0, 1)),
            Ty::F32 | Ty::F64 => None,
        };
        let floats = self.float_bounds();
        let mut ranges: Vec<Option<(i64, i64)>> = vec![];
        for (node, ty) in self.nodes.iter().zip(&types) {
            let at = |id: &Id| ranges[id.0 as usize];
            let both = |a: &Id, b: &Id| at(a).zip(at(b));
            let known = match node {
                Node::Input(i) => self.inputs[*i as usize].integers(),
                Node::Const(Const::I32(v)) => Some((i64::from(*v), i64::from(*v))),
                Node::Const(Const::I64(v)) => Some((*v, *v)),
                Node::Table { signed_result, .. } => if *signed_result { Storage::I8 } else { Storage::U8 }.integers(),
                Node::Select(_, a, b) => both(a, b).map(|(x, y)| (x.0.min(y.0), x.1.max(y.1))),
                Node::Binary(Binary::Min, a, b) => both(a, b).map(|(x, y)| (x.0.min(y.0), x.1.min(y.1))),
                Node::Binary(Binary::Max, a, b) => both(a, b).map(|(x, y)| (x.0.max(y.0), x.1.max(y.1))),
                Node::Binary(Binary::Add, a, b) => both(a, b).and_then(|(x, y)| Some((x.0.checked_add(y.0)?, x.1.checked_add(y.1)?))),
                Node::Binary(Binary::Sub, a, b) => both(a, b).and_then(|(x, y)| Some((x.0.checked_sub(y.1)?, x.1.checked_sub(y.0)?))),
                Node::Cast(_, _, a) if types[a.0 as usize] == Ty::F32 => {
                    let (low, high) = floats[a.0 as usize];
                    (low.abs() < 1e15 && high.abs() < 1e15).then_some((low.floor() as i64, high.ceil() as i64))
                }
                Node::Cast(_, _, a) => at(a),
                _ => None,
            };
            let whole = whole(*ty);
            let inside = |r: &(i64, i64)| whole.is_some_and(|w| r.0 >= w.0 && r.1 <= w.1);
            ranges.push(known.filter(inside).or(whole));
        }
        let result = ranges[self.result.0 as usize];
        result.zip(self.output.integers()).is_some_and(|(r, o)| r.0 >= o.0 && r.1 <= o.1)
    }

    /// Bounds of the floats among the nodes, by their constants, minima and maxima.
    fn float_bounds(&self) -> Vec<(f64, f64)> {
        let mut bounds: Vec<(f64, f64)> = vec![];
        for node in &self.nodes {
            let at = |id: &Id| bounds[id.0 as usize];
            bounds.push(match node {
                Node::Const(Const::F32(v)) if !f32::from_bits(*v).is_nan() => {
                    (f64::from(f32::from_bits(*v)), f64::from(f32::from_bits(*v)))
                }
                Node::Binary(Binary::Min, a, b) => (at(a).0.min(at(b).0), at(a).1.min(at(b).1)),
                Node::Binary(Binary::Max, a, b) => (at(a).0.max(at(b).0), at(a).1.max(at(b).1)),
                _ => (f64::NEG_INFINITY, f64::INFINITY),
            });
        }
        bounds
    }
}

impl ExprBuilder {
    /// What storing an integer as `storage` and loading it leaves: its low bits.
    pub fn wrap(&mut self, v: Id, storage: Storage) -> Id {
        let sign_extended = |b: &mut ExprBuilder, bits: i32| {
            let amount = b.i32(bits);
            let high = b.binary(Binary::Shl, v, amount);
            b.binary(Binary::Shr, high, amount)
        };
        match storage {
            Storage::I8 => sign_extended(self, 24),
            Storage::I16 => sign_extended(self, 16),
            Storage::U8 | Storage::U16 => {
                let mask = self.i32(if storage == Storage::U8 { 0xff } else { 0xffff });
                self.binary(Binary::And, v, mask)
            }
            Storage::U32 => {
                let mask = self.i64(0xffff_ffff);
                self.binary(Binary::And, v, mask)
            }
            _ => v,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cast;
    use super::*;

    #[test]
    fn clamped_results_fit_and_sums_of_narrow_integers_do_not() {
        let mut b = ExprBuilder::new([Storage::I8, Storage::I8]);
        let (x, y) = (b.input(0), b.input(1));
        let sum = b.add(x, y);
        assert!(!b.clone().finish(sum, Storage::I8).fits_output());
        assert!(b.clone().finish(sum, Storage::I16).fits_output());
        let (lo, hi) = (b.i32(-100), b.i32(100));
        let clamped = b.max(sum, lo);
        let clamped = b.min(clamped, hi);
        assert!(b.clone().finish(clamped, Storage::I8).fits_output());
        let product = b.mul(x, y);
        assert!(!b.clone().finish(product, Storage::I16).fits_output());
        let wrapped = b.wrap(product, Storage::U8);
        assert_eq!(b.ty(wrapped), Ty::I32);
    }

    #[test]
    fn floats_between_bounds_fit_when_rounded() {
        let mut b = ExprBuilder::new([Storage::F32]);
        let (x, lo, hi, zero) = (b.input(0), b.f32(-118.0), b.f32(137.0), b.i32(-10));
        let x = b.min(x, hi);
        let x = b.max(x, lo);
        let q = b.cast(Cast::RoundEven, Ty::I32, x);
        let q = b.add(q, zero);
        assert!(b.clone().finish(q, Storage::I8).fits_output());
        assert!(!b.finish(q, Storage::U8).fits_output());
    }

    #[test]
    fn numbers_that_may_wrap_are_not_known() {
        let mut b = ExprBuilder::new([Storage::I32]);
        let (x, most) = (b.input(0), b.i32(i32::MAX));
        let sum = b.add(x, most);
        let low = b.i32(0);
        let high = b.i32(255);
        let bounded = b.min(sum, high);
        assert!(!b.clone().finish(bounded, Storage::U8).fits_output());
        let bounded = b.max(bounded, low);
        assert!(b.finish(bounded, Storage::U8).fits_output());
    }
}
