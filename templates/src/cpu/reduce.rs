//! Reductions over any set of axes: sum, product, minimum, maximum, and what is made of them.
//!
//! The input's dimensions are kept or reduced; neighbours of one kind are merged. Where the innermost one is kept, each lane is an output;
//! where it is reduced, lanes are partial results that are combined at the end of a row. An element expression is applied before
//! (squares, differences from a zero point), an epilogue after (mean, requantisation). Work units are indices of the kept dimensions
//! without the innermost, or vectors of that.

use crate::expr::emit::{self, emit, load_storage, store_storage};
use crate::expr::{Expr, Storage, Ty};
use tflc_kir::{Addr, BinOp, Builder, Caps, Elem, Kernel, Narrow, ReduceOp, Type, Value};

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
            1 if self.keeps_inner() => kept[0].0.div_ceil(usize::from(self.lanes(caps))) as u64,
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
                let n = inner.0 as i64;
                let lanes = i64::from(self.lanes);
                b.for_const(0, n - n % lanes, lanes, &[], |b, i, _| {
                    self.column(b, x, y, i, self.lanes);
                    vec![]
                });
                if n % lanes != 0 {
                    let i = b.i64(n - n % lanes);
                    self.column(b, x, y, i, (n % lanes) as u16);
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

    /// One kept dimension, the innermost: a work unit is a vector of it.
    fn split_inner(&self, b: &mut Builder, x: Value, y: Value, n: usize) {
        let lanes = usize::from(self.lanes);
        let (begin, end) = (b.begin(), b.end());
        let whole = b.i64((n / lanes) as i64);
        let stop = b.min(end, whole);
        b.for_loop(begin, stop, 1, &[], |b, u, _| {
            let i = b.mul_const(u, lanes as i64);
            self.column(b, x, y, i, self.lanes);
            vec![]
        });
        if n % lanes != 0 {
            let all = b.i64(n.div_ceil(lanes) as i64);
            let last = b.cmp(tflc_kir::CmpOp::Ge, end, all);
            b.if_then(last, |b| {
                let i = b.i64((n - n % lanes) as i64);
                self.column(b, x, y, i, (n % lanes) as u16);
            });
        }
    }

    fn element(&self, b: &mut Builder, x: Value, lanes: u16, addr: Addr, active: u16) -> Value {
        let _ = x;
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

    /// Outputs in lanes: the vector of columns at element `i`.
    fn column(&self, b: &mut Builder, x: Value, y: Value, i: Value, active: u16) {
        let ty = Type::vector(self.spec.acc_elem(), self.lanes);
        let init = identity(b, self.spec.combine, ty);
        let di = b.mul_const(i, self.in_bytes());
        let base = b.ptr_add(x, di);
        let acc = self.over(b, base, &self.spec.reduced(), init, self.lanes, active);
        let di = b.mul_const(i, self.out_bytes());
        self.finish(b, acc, Addr::new(y).index(di, 1), self.lanes, active);
    }

    /// Accumulates over reduced dimensions that are all outside the lanes.
    fn over(&self, b: &mut Builder, x: Value, dims: &[(usize, i64)], acc: Value, lanes: u16, active: u16) -> Value {
        let Some((&(n, stride), rest)) = dims.split_first() else {
            let v = self.element(b, x, lanes, Addr::new(x), active);
            return b.bin(self.spec.combine.op(), acc, v);
        };
        let step = b.i64(stride * self.in_bytes());
        b.for_const(0, n as i64, 1, &[acc, x], |b, _, c| {
            let acc = self.over(b, c[1], rest, c[0], lanes, active);
            vec![acc, b.ptr_add(c[1], step)]
        })[0]
    }

    /// One output: lanes are partial results along the innermost, reduced dimension.
    fn row(&self, b: &mut Builder, x: Value, y: Value) {
        let dims = self.spec.reduced();
        let (outer, inner) = dims.split_at(dims.len() - 1);
        let n = inner[0].0 as i64;
        let lanes = i64::from(self.lanes);
        let elem = self.spec.acc_elem();
        let vector = identity(b, self.spec.combine, Type::vector(elem, self.lanes));
        let scalar = identity(b, self.spec.combine, Type::scalar(elem));
        let whole = n - n % lanes;
        let parts = self.rows(b, x, outer, (vector, scalar), whole, n);
        let mut acc = parts.1;
        if whole > 0 {
            let all = self.spec.combine.lanes(b, parts.0);
            acc = b.bin(self.spec.combine.op(), all, acc);
        }
        self.finish(b, acc, Addr::new(y), 1, 1);
    }

    /// Vector and scalar accumulators over the outer reduced dimensions and the innermost row.
    fn rows(&self, b: &mut Builder, x: Value, outer: &[(usize, i64)], acc: (Value, Value), whole: i64, n: i64) -> (Value, Value) {
        if let Some((&(count, stride), rest)) = outer.split_first() {
            let step = b.i64(stride * self.in_bytes());
            let r = b.for_const(0, count as i64, 1, &[acc.0, acc.1, x], |b, _, c| {
                let inner = self.rows(b, c[2], rest, (c[0], c[1]), whole, n);
                vec![inner.0, inner.1, b.ptr_add(c[2], step)]
            });
            return (r[0], r[1]);
        }
        let bytes = self.in_bytes();
        let lanes = i64::from(self.lanes);
        let op = self.spec.combine.op();
        let vector = b.for_const(0, whole, lanes, &[acc.0], |b, i, c| {
            let v = self.element(b, x, self.lanes, Addr::new(x).index(i, bytes as u8), self.lanes);
            vec![b.bin(op, c[0], v)]
        })[0];
        let scalar = b.for_const(whole, n, 1, &[acc.1], |b, i, c| {
            let v = self.element(b, x, 1, Addr::new(x).index(i, bytes as u8), 1);
            vec![b.bin(op, c[0], v)]
        })[0];
        (vector, scalar)
    }
}

/// Storage whose compute type an accumulator has.
pub fn accumulator_storage(ty: Ty) -> Storage {
    match ty {
        Ty::F32 => Storage::F32,
        Ty::I64 => Storage::I64,
        Ty::I32 => Storage::I32,
        Ty::Bool => Storage::Bool,
    }
}
