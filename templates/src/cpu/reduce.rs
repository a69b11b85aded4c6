//! Reductions over any set of axes: sum, product, minimum, maximum, and what is made of them.
//!
//! The input's dimensions are kept or reduced; neighbours of one kind are merged. Where the innermost one is kept, each lane is an output;
//! where it is reduced, lanes are partial results that are combined at the end of a row. An element expression is applied before
//! (squares, differences from a zero point), an epilogue after (mean, requantisation). Work units are indices of the outermost kept
//! dimension, or groups of vectors where only the innermost is kept.

use crate::expr::emit::{self, emit, load_storage, store_storage};
use crate::expr::{Expr, Storage, Ty};
use tflc_kir::{Addr, BinOp, Builder, Caps, CmpOp, Elem, Kernel, Narrow, ReduceOp, Type, Value};

/// How elements are combined.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Combine {
    /// Sum.
    Sum,
    /// Product.
    Product,
    /// Minimum.
    Min,
    /// Maximum.
    Max,
    /// Logical or, of integers that are 0 or 1.
    Any,
    /// Logical and, of integers that are 0 or 1.
    All,
}

/// Specification of a reduction.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ReduceSpec {
    /// Dimensions of the input, outermost first, and whether each is reduced; neighbours differ.
    pub dims: Vec<(usize, bool)>,
    /// Combination.
    pub combine: Combine,
    /// Applied to each element: one input; the result type is that of the accumulator (F32, I32 or I64), whatever its storage.
    pub element: Expr,
    /// Applied to each accumulator: its one input has the accumulator's type.
    pub epilogue: Expr,
}

/// The identity of a combination, as a constant of `ty`.
fn identity(b: &mut Builder, combine: Combine, ty: Type) -> Value {
    let float = ty.elem.is_float();
    let int_bounds = |min: bool| match (ty.elem, min) {
        (Elem::I64, true) => i64::MAX,
        (Elem::I64, false) => i64::MIN,
        (_, true) => i64::from(i32::MAX),
        (_, false) => i64::from(i32::MIN),
    };
    match combine {
        Combine::Sum if float => b.float(ty, 0.0),
        Combine::Product if float => b.float(ty, 1.0),
        Combine::Min if float => b.float(ty, f64::INFINITY),
        Combine::Max if float => b.float(ty, f64::NEG_INFINITY),
        Combine::Sum | Combine::Any => b.int(ty, 0),
        Combine::Product | Combine::All => b.int(ty, 1),
        Combine::Min => b.int(ty, int_bounds(true)),
        Combine::Max => b.int(ty, int_bounds(false)),
    }
}

impl Combine {
    fn op(self) -> BinOp {
        match self {
            Combine::Sum => BinOp::Add,
            Combine::Product => BinOp::Mul,
            Combine::Min => BinOp::Min,
            Combine::Max => BinOp::Max,
            Combine::Any => BinOp::Or,
            Combine::All => BinOp::And,
        }
    }

    /// Combines all lanes of `v`.
    fn lanes(self, b: &mut Builder, v: Value) -> Value {
        let op = match self {
            Combine::Sum => ReduceOp::Add,
            Combine::Min => ReduceOp::Min,
            Combine::Max => ReduceOp::Max,
            Combine::Any => ReduceOp::Or,
            Combine::All => ReduceOp::And,
            Combine::Product => {
                let n = b.ty(v).lanes;
                let mut acc = b.extract_lane(v, 0);
                for i in 1..n {
                    let x = b.extract_lane(v, i);
                    acc = b.mul(acc, x);
                }
                return acc;
            }
        };
        b.reduce(op, v)
    }
}

impl ReduceSpec {
    /// A reduction of `shape` over the axes marked in `reduced`, with merged dimensions.
    pub fn new(shape: &[usize], reduced: &[bool], combine: Combine, element: Expr, epilogue: Expr) -> ReduceSpec {
        let mut dims: Vec<(usize, bool)> = vec![];
        for (&n, &r) in shape.iter().zip(reduced) {
            match dims.last_mut() {
                _ if n == 1 => {}
                Some((m, last)) if *last == r => *m *= n,
                _ => dims.push((n, r)),
            }
        }
        if dims.is_empty() {
            dims.push((1, true));
        }
        ReduceSpec { dims, combine, element, epilogue }
    }

    fn acc_ty(&self) -> Ty {
        self.epilogue.inputs[0].ty()
    }

    fn lanes(&self, caps: &Caps) -> u16 {
        emit::lanes(caps, &self.element).min(emit::lanes(caps, &self.epilogue))
    }

    fn acc_elem(&self) -> Elem {
        match self.acc_ty() {
            Ty::F32 => Elem::F32,
            Ty::F64 => Elem::F64,
            Ty::I64 => Elem::I64,
            Ty::I32 | Ty::Bool => Elem::I32,
        }
    }

    /// Whether the innermost dimension is kept.
    fn keeps_inner(&self) -> bool {
        self.dims.last().is_some_and(|d| !d.1)
    }

    /// Kept dimensions: size, input stride and output stride in elements, outermost first.
    fn kept(&self) -> Vec<(usize, i64, i64)> {
        let mut out = vec![];
        let (mut input, mut output) = (1, 1);
        for &(n, reduced) in self.dims.iter().rev() {
            if !reduced {
                out.push((n, input, output));
                output *= n as i64;
            }
            input *= n as i64;
        }
        out.reverse();
        out
    }

    /// Reduced dimensions: size and input stride in elements, outermost first.
    fn reduced(&self) -> Vec<(usize, i64)> {
        let mut out = vec![];
        let mut input = 1;
        for &(n, reduced) in self.dims.iter().rev() {
            if reduced {
                out.push((n, input));
            }
            input *= n as i64;
        }
        out.reverse();
        out
    }

    /// Number of work units.
    pub fn units(&self, caps: &Caps) -> u64 {
        let kept = self.kept();
        match kept.len() {
            0 => 1,
            1 if self.keeps_inner() => kept[0].0.div_ceil(usize::from(self.lanes(caps)) * GROUP) as u64,
            _ => kept[0].0 as u64,
        }
    }

    /// Builds the kernel: parameters are the input and the output.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new(format!("reduce_{:?}", self.combine).to_lowercase());
        let x = b.ptr_param("x");
        let y = b.ptr_param("y");
        let r = Reduce { spec: self, caps, lanes: self.lanes(caps) };
        let (begin, end) = (b.begin(), b.end());
        let kept = self.kept();
        match kept.len() {
            0 => r.row(&mut b, x, y),
            1 if self.keeps_inner() => r.split_inner(&mut b, x, y, kept[0].0),
            _ => {
                b.for_loop(begin, end, 1, &[], |b, i, _| {
                    let (x, y) = r.advance(b, x, y, kept[0], i);
                    r.nest(b, x, y, &kept[1..]);
                    vec![]
                });
            }
        }
        b.finish()
    }
}

/// Accumulators in flight: neighbouring vectors of outputs, or of one row.
const GROUP: usize = 4;

struct Reduce<'a> {
    spec: &'a ReduceSpec,
    caps: &'a Caps,
    lanes: u16,
}

impl Reduce<'_> {
    fn in_bytes(&self) -> i64 {
        self.spec.element.inputs[0].bytes() as i64
    }

    fn out_bytes(&self) -> i64 {
        self.spec.epilogue.output.bytes() as i64
    }

    fn advance(&self, b: &mut Builder, x: Value, y: Value, dim: (usize, i64, i64), i: Value) -> (Value, Value) {
        let dx = b.mul_const(i, dim.1 * self.in_bytes());
        let dy = b.mul_const(i, dim.2 * self.out_bytes());
        (b.ptr_add(x, dx), b.ptr_add(y, dy))
    }

    /// The remaining kept dimensions.
    fn nest(&self, b: &mut Builder, x: Value, y: Value, kept: &[(usize, i64, i64)]) {
        match kept {
            [] => self.row(b, x, y),
            [inner] if self.spec.keeps_inner() => {
                let n = inner.0;
                let group = usize::from(self.lanes) * GROUP;
                let whole = n - n % group;
                b.for_const(0, whole as i64, group as i64, &[], |b, i, _| {
                    self.columns(b, x, y, i, group);
                    vec![]
                });
                if whole < n {
                    let i = b.i64(whole as i64);
                    self.columns(b, x, y, i, n - whole);
                }
            }
            [dim, rest @ ..] => {
                b.for_const(0, dim.0 as i64, 1, &[], |b, i, _| {
                    let (x, y) = self.advance(b, x, y, *dim, i);
                    self.nest(b, x, y, rest);
                    vec![]
                });
            }
        }
    }

    /// One kept dimension, the innermost: a work unit is a group of vectors of it.
    fn split_inner(&self, b: &mut Builder, x: Value, y: Value, n: usize) {
        let group = usize::from(self.lanes) * GROUP;
        let (begin, end) = (b.begin(), b.end());
        let whole = b.i64((n / group) as i64);
        let stop = b.min(end, whole);
        b.for_loop(begin, stop, 1, &[], |b, u, _| {
            let i = b.mul_const(u, group as i64);
            self.columns(b, x, y, i, group);
            vec![]
        });
        if !n.is_multiple_of(group) {
            let all = b.i64(n.div_ceil(group) as i64);
            let last = b.cmp(CmpOp::Ge, end, all);
            b.if_then(last, |b| {
                let i = b.i64((n - n % group) as i64);
                self.columns(b, x, y, i, n % group);
            });
        }
    }

    fn element(&self, b: &mut Builder, lanes: u16, addr: Addr, active: u16) -> Value {
        let v = load_storage(b, self.spec.element.inputs[0], lanes, addr, active);
        let v = emit(b, self.caps, &self.spec.element, lanes, &[v]);
        self.as_acc(b, v)
    }

    /// Truth values are accumulated as integers.
    fn as_acc(&self, b: &mut Builder, v: Value) -> Value {
        let ty = b.ty(v);
        if ty.elem == Elem::Bool { b.convert(tflc_kir::ConvertOp::ExtU, ty.with_elem(Elem::I32), v) } else { v }
    }

    /// Stores accumulators through the epilogue.
    fn finish(&self, b: &mut Builder, acc: Value, to: Addr, lanes: u16, active: u16) {
        let acc = if self.spec.acc_ty() == Ty::Bool {
            let zero = b.int(b.ty(acc), 0);
            b.cmp(tflc_kir::CmpOp::Ne, acc, zero)
        } else {
            acc
        };
        let v = emit(b, self.caps, &self.spec.epilogue, lanes, &[acc]);
        store_storage(b, self.spec.epilogue.output, Narrow::Wrap, to, v, active);
    }

    /// Outputs in lanes: `count` columns from column `i`, at most a group of vectors.
    fn columns(&self, b: &mut Builder, x: Value, y: Value, i: Value, count: usize) {
        let lanes = usize::from(self.lanes);
        let actives: Vec<u16> = (0..count.div_ceil(lanes)).map(|v| lanes.min(count - v * lanes) as u16).collect();
        let ty = Type::vector(self.spec.acc_elem(), self.lanes);
        let init = identity(b, self.spec.combine, ty);
        let di = b.mul_const(i, self.in_bytes());
        let base = b.ptr_add(x, di);
        let accs = self.over(b, base, &self.spec.reduced(), &vec![init; actives.len()], &actives);
        let di = b.mul_const(i, self.out_bytes());
        let out = b.ptr_add(y, di);
        for (v, (&acc, &active)) in accs.iter().zip(&actives).enumerate() {
            let to = Addr::new(out).offset((v * lanes) as i64 * self.out_bytes());
            self.finish(b, acc, to, self.lanes, active);
        }
    }

    /// Accumulates over reduced dimensions that are all outside the lanes.
    fn over(&self, b: &mut Builder, x: Value, dims: &[(usize, i64)], accs: &[Value], actives: &[u16]) -> Vec<Value> {
        let Some((&(n, stride), rest)) = dims.split_first() else {
            let step = i64::from(self.lanes) * self.in_bytes();
            let mut out = vec![];
            for (v, (&acc, &active)) in accs.iter().zip(actives).enumerate() {
                let e = self.element(b, self.lanes, Addr::new(x).offset(v as i64 * step), active);
                out.push(b.bin(self.spec.combine.op(), acc, e));
            }
            return out;
        };
        let carried: Vec<Value> = accs.iter().copied().chain([x]).collect();
        let mut out = b.for_const(0, n as i64, 1, &carried, |b, _, c| {
            let (&p, accs) = c.split_last().expect("the pointer");
            let mut next = self.over(b, p, rest, accs, actives);
            next.push(b.ptr_add_const(p, stride * self.in_bytes()));
            next
        });
        out.pop();
        out
    }

    /// One output: lanes are partial results along the innermost, reduced dimension.
    fn row(&self, b: &mut Builder, x: Value, y: Value) {
        let dims = self.spec.reduced();
        let (outer, inner) = dims.split_at(dims.len() - 1);
        let n = inner[0].0 as i64;
        let group = if n >= 2 * i64::from(self.lanes) * GROUP as i64 { GROUP } else { 1 };
        let init = identity(b, self.spec.combine, Type::vector(self.spec.acc_elem(), self.lanes));
        let accs = self.rows(b, x, outer, &vec![init; group], n);
        let op = self.spec.combine.op();
        let acc = accs[1..].iter().fold(accs[0], |a, &v| b.bin(op, a, v));
        let acc = if self.lanes > 1 { self.spec.combine.lanes(b, acc) } else { acc };
        self.finish(b, acc, Addr::new(y), 1, 1);
    }

    /// Accumulators over the outer reduced dimensions and the innermost row of `n`.
    fn rows(&self, b: &mut Builder, x: Value, outer: &[(usize, i64)], accs: &[Value], n: i64) -> Vec<Value> {
        if let Some((&(count, stride), rest)) = outer.split_first() {
            let carried: Vec<Value> = accs.iter().copied().chain([x]).collect();
            let mut out = b.for_const(0, count as i64, 1, &carried, |b, _, c| {
                let (&p, accs) = c.split_last().expect("the pointer");
                let mut next = self.rows(b, p, rest, accs, n);
                next.push(b.ptr_add_const(p, stride * self.in_bytes()));
                next
            });
            out.pop();
            return out;
        }
        let (bytes, lanes) = (self.in_bytes(), i64::from(self.lanes));
        let op = self.spec.combine.op();
        let at = |i: Value| Addr::new(x).index(i, bytes as u8);
        let round = lanes * accs.len() as i64;
        let grouped = n - n % round;
        let mut accs = b.for_const(0, grouped, round, accs, |b, i, c| {
            let mut next = vec![];
            for (v, &acc) in c.iter().enumerate() {
                let e = self.element(b, self.lanes, at(i).offset(v as i64 * lanes * bytes), self.lanes);
                next.push(b.bin(op, acc, e));
            }
            next
        });
        let whole = n - n % lanes;
        accs[0] = b.for_const(grouped, whole, lanes, &accs[..1], |b, i, c| {
            let e = self.element(b, self.lanes, at(i), self.lanes);
            vec![b.bin(op, c[0], e)]
        })[0];
        if whole < n {
            let i = b.i64(whole);
            let left = (n - whole) as u16;
            let e = self.element(b, self.lanes, at(i), left);
            let neutral = identity(b, self.spec.combine, b.ty(e));
            let e = fill_tail(b, e, left, neutral);
            accs[0] = b.bin(op, accs[0], e);
        }
        accs
    }
}

/// The lanes of `v` below `active`, `other` in the rest.
pub(super) fn fill_tail(b: &mut Builder, v: Value, active: u16, other: Value) -> Value {
    let ty = b.ty(v);
    if active == ty.lanes {
        return v;
    }
    let ints = ty.with_elem(if ty.elem.bits() == 64 { Elem::I64 } else { Elem::I32 });
    let lane = b.const_vec(ints, (0..u64::from(ty.lanes)).collect());
    let n = b.int(ints, i64::from(active));
    let inside = b.cmp(CmpOp::Lt, lane, n);
    b.select(inside, v, other)
}

/// Storage whose compute type an accumulator has.
pub fn accumulator_storage(ty: Ty) -> Storage {
    match ty {
        Ty::F32 => Storage::F32,
        Ty::F64 => Storage::F64,
        Ty::I64 => Storage::I64,
        Ty::I32 => Storage::I32,
        Ty::Bool => Storage::Bool,
    }
}
