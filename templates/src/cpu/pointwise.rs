//! Pointwise loops over strided operands: broadcasting arithmetic, and all data movement that is a strided copy.
//!
//! One template serves chains of elementwise operators, slices, transposes, concatenation, padding's interior, tiling and broadcasts:
//! each is an expression over operands with a stride for every output dimension. Dimensions are dropped and merged as far as
//! all operands allow. Work units are indices of the outermost dimension, or blocks of it where only one is left.

use crate::expr::emit::{self, emit, load_storage, store_storage, tables};
use crate::expr::{Expr, Node, Storage};
use tflc_kir::{Addr, Builder, Caps, Elem, Kernel, Mem, Narrow, Type, Value};

/// Strides of one operand, in elements, one for each dimension of the iteration space; 0 broadcasts.
pub type Strides = Vec<i64>;

/// Specification of a pointwise loop.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PointwiseSpec {
    /// Iteration space, outermost first, after merging.
    pub dims: Vec<usize>,
    /// Strides of each input.
    pub inputs: Vec<Strides>,
    /// Strides of the output.
    pub output: Strides,
    /// What is computed; expression input i is operand i.
    pub expr: Expr,
}

/// Row-major strides of a shape, in elements.
pub fn row_major(shape: &[usize]) -> Strides {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i] as i64;
    }
    strides
}

/// Strides of a row-major operand of `shape` broadcast to `to`, aligned at the last dimension (numpy rules).
///
/// # Panics
/// Where the shapes do not broadcast; shape inference has checked that.
pub fn broadcast(shape: &[usize], to: &[usize]) -> Strides {
    let own = row_major(shape);
    let pad = to.len() - shape.len();
    let stride = |i: usize| {
        if i < pad || shape[i - pad] == 1 && to[i] != 1 {
            0
        } else {
            assert_eq!(shape[i - pad], to[i], "operand of shape {shape:?} broadcast to {to:?}");
            own[i - pad]
        }
    };
    (0..to.len()).map(stride).collect()
}

impl PointwiseSpec {
    /// A loop over `dims` with merged dimensions.
    pub fn new(dims: &[usize], inputs: Vec<Strides>, output: Strides, expr: Expr) -> PointwiseSpec {
        let mut spec = PointwiseSpec { dims: dims.to_vec(), inputs, output, expr };
        spec.widen_copy();
        spec.merge();
        spec
    }

    /// A copy moves bits: elements of one width are alike, and full registers of them move without conversion.
    fn widen_copy(&mut self) {
        let Some(bytes) = self.copied_bytes() else { return };
        let raw = match bytes {
            1 => Storage::I8,
            2 => Storage::I16,
            4 => Storage::I32,
            _ => Storage::I64,
        };
        self.expr = Expr::identity(raw);
    }

    /// Size of an element where the expression only copies.
    pub fn copied_bytes(&self) -> Option<usize> {
        let e = &self.expr;
        (matches!(e.nodes[e.result.0 as usize], Node::Input(0)) && e.inputs[0] == e.output).then(|| e.output.bytes())
    }

    fn merge(&mut self) {
        let operands = |s: &PointwiseSpec, i: usize| -> Vec<i64> { s.inputs.iter().chain([&s.output]).map(|x| x[i]).collect() };
        let remove = |s: &mut PointwiseSpec, i: usize| {
            s.dims.remove(i);
            s.inputs.iter_mut().for_each(|x| {
                x.remove(i);
            });
            s.output.remove(i);
        };
        let mut i = 0;
        while i < self.dims.len() {
            if self.dims[i] == 1 { remove(self, i) } else { i += 1 }
        }
        let mut i = 0;
        while i + 1 < self.dims.len() {
            let (outer, inner) = (operands(self, i), operands(self, i + 1));
            let n = self.dims[i + 1] as i64;
            if outer.iter().zip(&inner).all(|(o, i)| *o == i * n) {
                self.dims[i + 1] *= self.dims[i];
                remove(self, i);
            } else {
                i += 1;
            }
        }
        if self.dims.is_empty() {
            self.dims.push(1);
            self.inputs.iter_mut().for_each(|x| x.push(1));
            self.output.push(1);
        }
    }

    /// Number of work units.
    pub fn units(&self, caps: &Caps) -> u64 {
        if self.dims.len() == 1 { self.dims[0].div_ceil(self.block(caps)) as u64 } else { self.dims[0] as u64 }
    }

    /// Elements of one work unit.
    pub fn unit_elements(&self, caps: &Caps) -> usize {
        if self.dims.len() == 1 { self.block(caps) } else { self.dims[1..].iter().product() }
    }

    /// Estimated time of one work unit in nanoseconds: what moves through memory, and the expression's arithmetic.
    pub fn unit_cost(&self, caps: &Caps) -> f64 {
        let elements = self.unit_elements(caps) as f64;
        let bytes: usize = self.expr.inputs.iter().map(|s| s.bytes()).sum::<usize>() + self.expr.output.bytes();
        let lanes = f64::from(self.lanes(caps).max(1));
        elements * (bytes as f64 * 0.05 + (1 + self.expr.nodes.len()) as f64 * 0.3 / lanes)
    }

    /// Elements of a block of a one-dimensional loop: a multiple of the vector length.
    fn block(&self, caps: &Caps) -> usize {
        usize::from(self.lanes(caps)).max(1) * UNROLL * 8
    }

    /// Lanes of the inner loop; 1 where an operand strides over memory there.
    fn lanes(&self, caps: &Caps) -> u16 {
        let last = self.dims.len() - 1;
        if self.output[last] != 1 || self.inputs.iter().any(|s| s[last] != 0 && s[last] != 1) {
            return 1;
        }
        match self.copied_bytes() {
            Some(bytes) => (caps.vector_bytes as usize / bytes) as u16,
            None => emit::lanes(caps, &self.expr),
        }
    }

    /// Builds the kernel: parameters are the inputs in order, the output, then the tables of the expression.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let name = if self.copied_bytes().is_some() { "copy" } else { "pointwise" };
        let mut b = Builder::new(format!("{name}_{}d", self.dims.len()));
        let inputs: Vec<Value> = (0..self.inputs.len()).map(|i| b.ptr_param(format!("x{i}"))).collect();
        let output = b.ptr_param("y");
        let tables = (0..tables(&self.expr).len()).map(|i| b.ptr_param(format!("table{i}"))).collect();
        let loops = Loops { spec: self, caps, lanes: self.lanes(caps), tables };
        let (begin, end) = (b.begin(), b.end());
        let mut pointers = inputs;
        pointers.push(output);
        if self.dims.len() == 1 {
            loops.blocks(&mut b, &pointers);
        } else {
            b.for_loop(begin, end, 1, &[], |b, i, _| {
                let inner = loops.advance(b, &pointers, 0, i);
                loops.nest(b, &inner, 1);
                vec![]
            });
        }
        b.finish()
    }
}

/// Vectors in flight in the inner loop.
const UNROLL: usize = 2;

struct Loops<'a> {
    spec: &'a PointwiseSpec,
    caps: &'a Caps,
    lanes: u16,
    /// Addresses of the tables that the expression reads.
    tables: Vec<Value>,
}

impl Loops<'_> {
    /// Size of an element of operand `i`; the output comes last.
    fn bytes(&self, i: usize) -> i64 {
        self.spec.expr.inputs.get(i).unwrap_or(&self.spec.expr.output).bytes() as i64
    }

    fn stride(&self, i: usize, dim: usize) -> i64 {
        self.spec.inputs.get(i).unwrap_or(&self.spec.output)[dim]
    }

    /// The pointers at index `i` of dimension `dim`.
    fn advance(&self, b: &mut Builder, pointers: &[Value], dim: usize, i: Value) -> Vec<Value> {
        let mut out = Vec::with_capacity(pointers.len());
        for (k, &p) in pointers.iter().enumerate() {
            let offset = b.mul_const(i, self.stride(k, dim) * self.bytes(k));
            out.push(b.ptr_add(p, offset));
        }
        out
    }

    /// Loops over dimensions `dim` and on.
    fn nest(&self, b: &mut Builder, pointers: &[Value], dim: usize) {
        if dim + 1 == self.spec.dims.len() {
            let n = self.spec.dims[dim] as i64;
            let zero = b.i64(0);
            let whole = n - n % i64::from(self.lanes);
            let end = b.i64(whole);
            self.vectors(b, pointers, zero, end, whole);
            self.rest(b, pointers, n);
            return;
        }
        b.for_const(0, self.spec.dims[dim] as i64, 1, &[], |b, i, _| {
            let inner = self.advance(b, pointers, dim, i);
            self.nest(b, &inner, dim + 1);
            vec![]
        });
    }

    /// One dimension, split into blocks.
    fn blocks(&self, b: &mut Builder, pointers: &[Value]) {
        let n = self.spec.dims[0] as i64;
        let block = self.spec.block(self.caps) as i64;
        let whole = n - n % i64::from(self.lanes);
        let units = self.spec.units(self.caps) as i64;
        let (begin, end) = (b.begin(), b.end());
        let start = b.mul_const(begin, block);
        let stop = b.mul_const(end, block);
        let limit = b.i64(whole);
        let stop = b.min(stop, limit);
        self.vectors(b, pointers, start, stop, block);
        if whole < n {
            let last = b.i64(units);
            let is_last = b.cmp(tflc_kir::CmpOp::Ge, end, last);
            b.if_then(is_last, |b| self.rest(b, pointers, n));
        }
    }

    /// Whole vectors from index `start` to `end`; `span` is a multiple of what is usually covered.
    fn vectors(&self, b: &mut Builder, pointers: &[Value], start: Value, end: Value, span: i64) {
        let lanes = i64::from(self.lanes);
        if b.known(end) == Some(0) {
            return;
        }
        let fixed = self.broadcasts(b, pointers);
        let unrolled = lanes * UNROLL as i64;
        // Two vectors a round while they fit; a loop that covers few of them stays simple.
        let at = if span >= unrolled * 2 {
            let last = b.add_const(end, 1 - unrolled);
            let done = b.for_loop(start, last, unrolled, &[start], |b, i, _| {
                for u in 0..UNROLL as i64 {
                    self.element(b, pointers, &fixed, Some(i), u * lanes, self.lanes);
                }
                vec![b.add_const(i, unrolled)]
            });
            done[0]
        } else {
            start
        };
        b.for_loop(at, end, lanes, &[], |b, i, _| {
            self.element(b, pointers, &fixed, Some(i), 0, self.lanes);
            vec![]
        });
    }

    /// The last elements of a row of `n`.
    fn rest(&self, b: &mut Builder, pointers: &[Value], n: i64) {
        let left = n % i64::from(self.lanes);
        if left > 0 {
            let fixed = self.broadcasts(b, pointers);
            self.element(b, pointers, &fixed, None, n - left, left as u16);
        }
    }

    /// Inputs that do not change along the inner dimension, loaded once.
    fn broadcasts(&self, b: &mut Builder, pointers: &[Value]) -> Vec<Option<Value>> {
        let last = self.spec.dims.len() - 1;
        let mut out = vec![];
        for (k, s) in self.spec.inputs.iter().enumerate() {
            let value = (s[last] == 0).then(|| {
                let v = self.load(b, k, Addr::new(pointers[k]), 1, 1);
                if self.lanes > 1 { b.splat(v, self.lanes) } else { v }
            });
            out.push(value);
        }
        out
    }

    fn load(&self, b: &mut Builder, k: usize, addr: Addr, lanes: u16, active: u16) -> Value {
        match self.spec.copied_bytes() {
            Some(bytes) => {
                let (elem, mem) = raw(bytes, lanes);
                b.load_first(Type::vector(elem, lanes), mem, addr, active)
            }
            None => load_storage(b, self.spec.expr.inputs[k], lanes, addr, active),
        }
    }

    /// Computes the `active` elements at `index + offset` of the inner dimension.
    fn element(&self, b: &mut Builder, pointers: &[Value], fixed: &[Option<Value>], index: Option<Value>, offset: i64, active: u16) {
        let last = self.spec.dims.len() - 1;
        let lanes = self.lanes;
        let address = |b: &mut Builder, k: usize| {
            let step = self.stride(k, last) * self.bytes(k);
            let base = Addr::new(pointers[k]).offset(offset * step);
            match index {
                None => base,
                Some(i) if matches!(step, 1 | 2 | 4 | 8) => base.index(i, step as u8),
                Some(i) => {
                    let bytes = b.mul_const(i, step);
                    base.index(bytes, 1)
                }
            }
        };
        let mut values = vec![];
        for k in 0..self.spec.inputs.len() {
            values.push(match fixed[k] {
                Some(v) => v,
                None => {
                    let addr = address(b, k);
                    self.load(b, k, addr, lanes, active)
                }
            });
        }
        let to = address(b, self.spec.inputs.len());
        match self.spec.copied_bytes() {
            Some(bytes) => {
                let (_, mem) = raw(bytes, lanes);
                b.store_first(mem, Narrow::Wrap, to, values[0], active);
            }
            None => {
                values.extend(&self.tables);
                let y = emit(b, self.caps, &self.spec.expr, lanes, &values);
                store_storage(b, self.spec.expr.output, Narrow::Wrap, to, y, active);
            }
        }
    }
}

/// Register and memory kinds that move elements of `bytes` bytes unchanged.
fn raw(bytes: usize, lanes: u16) -> (Elem, Mem) {
    match (bytes, lanes) {
        (1, 1) => (Elem::I32, Mem::U8),
        (2, 1) => (Elem::I32, Mem::U16),
        (1, _) => (Elem::I8, Mem::U8),
        (2, _) => (Elem::I16, Mem::U16),
        (4, _) => (Elem::I32, Mem::S32),
        _ => (Elem::I64, Mem::I64),
    }
}
