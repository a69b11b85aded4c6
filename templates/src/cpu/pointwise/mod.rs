//! Pointwise loops over strided operands: broadcasting arithmetic, and all data movement that is a strided copy.
//!
//! One template serves chains of elementwise operators, slices, transposes, concatenation, padding's interior, tiling and broadcasts:
//! each is an expression over operands with a stride for every output dimension. Dimensions are dropped and merged as far as
//! all operands allow. Work units are indices of the outermost dimension, or blocks of it where only one is left.
//!
//! Three ways through the iteration space: [`rows`] (vectors along the innermost dimension, or scalars where an operand strides over memory
//! there), [`tiles`] (square tiles transposed in registers, where an input is contiguous along another dimension) and [`periodic`] (a
//! short innermost dimension along which an operand repeats: one long loop over several periods).

mod periodic;
mod rows;
mod tiles;

use crate::expr::emit::{self, emit, load_storage, store_storage, tables};
use crate::expr::{Expr, Node, Storage, Ty};
use tflc_kir::{Addr, Builder, Caps, Elem, Kernel, Mem, Narrow, Op, Type, Value};

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
        spec.widen_runs();
        spec
    }

    /// Copies short contiguous runs as single wider elements: four bytes of a pixel are one word.
    fn widen_runs(&mut self) {
        while let Some(bytes @ (1 | 2 | 4)) = self.copied_bytes() {
            let last = self.dims.len() - 1;
            let (Some(from), n) = (self.inputs.first(), self.dims[last]) else { return };
            let even = |s: &Strides| s[last] == 1 && s[..last].iter().all(|v| v % 2 == 0);
            if last == 0 || n * bytes > 8 || n % 2 != 0 || !even(from) || !even(&self.output) {
                return;
            }
            self.expr = Expr::identity(match bytes {
                1 => Storage::I16,
                2 => Storage::I32,
                _ => Storage::I64,
            });
            self.dims[last] /= 2;
            for s in self.inputs.iter_mut().chain([&mut self.output]) {
                s[..last].iter_mut().for_each(|v| *v /= 2);
            }
            self.merge();
        }
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

    /// Whether bytes are looked up as they lie in memory, a full register at once.
    fn looks_up(&self, caps: &Caps) -> bool {
        self.expr.is_table() && !caps.scalars && self.output.last() == Some(&1) && self.inputs[0] == self.output
    }

    /// Size of an element where elements stay as they are in memory until something is computed.
    fn raw_bytes(&self, caps: &Caps) -> Option<usize> {
        self.copied_bytes().or_else(|| self.looks_up(caps).then_some(1))
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

    /// The way through the iteration space for a target.
    fn way(&self, caps: &Caps) -> Way {
        if self.lanes(caps) == 1
            && let Some(tile) = tiles::Tile::of(self)
        {
            Way::Tiles(tile)
        } else if let Some(period) = periodic::Period::of(self, self.lanes(caps)) {
            Way::Periodic(period)
        } else {
            Way::Rows
        }
    }

    /// Number of work units.
    pub fn units(&self, caps: &Caps) -> u64 {
        match self.way(caps) {
            Way::Tiles(tile) => tile.units(self),
            Way::Periodic(period) => period.units(self),
            Way::Rows if self.dims.len() == 1 => self.dims[0].div_ceil(self.block(caps)) as u64,
            Way::Rows => self.dims[0] as u64,
        }
    }

    /// Elements of one work unit, about.
    pub fn unit_elements(&self, caps: &Caps) -> usize {
        self.dims.iter().product::<usize>().div_ceil(self.units(caps).max(1) as usize)
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
        usize::from(self.lanes(caps)).max(1) * rows::UNROLL * 8
    }

    /// Lanes of the inner loop; 1 where an operand strides over memory there.
    fn lanes(&self, caps: &Caps) -> u16 {
        let last = self.dims.len() - 1;
        if self.output[last] != 1 || self.inputs.iter().any(|s| s[last] != 0 && s[last] != 1) {
            return 1;
        }
        match self.raw_bytes(caps) {
            Some(bytes) => (caps.vector_bytes as usize / bytes) as u16,
            None => emit::lanes(caps, &self.expr),
        }
    }

    /// Builds the kernel: parameters are the inputs in order, the output, then the tables of the expression.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let name = if self.copied_bytes().is_some() {
            "copy"
        } else if self.looks_up(caps) {
            "table"
        } else {
            "pointwise"
        };
        let mut b = Builder::new(format!("{name}_{}d", self.dims.len()));
        let mut pointers: Vec<Value> = (0..self.inputs.len()).map(|i| b.ptr_param(format!("x{i}"))).collect();
        pointers.push(b.ptr_param("y"));
        let tables = (0..tables(&self.expr).len()).map(|i| b.ptr_param(format!("table{i}"))).collect();
        let elements = Elements { spec: self, caps, tables };
        match self.way(caps) {
            Way::Rows => rows::Rows { e: elements, lanes: self.lanes(caps) }.emit(&mut b, &pointers),
            Way::Tiles(tile) => tile.emit(&mut b, &elements, &pointers),
            Way::Periodic(period) => period.emit(&mut b, &elements, &pointers),
        }
        b.finish()
    }

    /// Whether some compute type of the expression has 64 bits.
    fn is_wide(&self) -> bool {
        self.expr.types().contains(&Ty::I64) || self.expr.inputs.iter().any(|s| s.ty() == Ty::I64)
    }
}

/// A way through the iteration space.
enum Way {
    Rows,
    Tiles(tiles::Tile),
    Periodic(periodic::Period),
}

/// Loads, computes and stores elements of a specification.
struct Elements<'a> {
    spec: &'a PointwiseSpec,
    caps: &'a Caps,
    /// Addresses of the tables that the expression reads.
    tables: Vec<Value>,
}

impl Elements<'_> {
    /// Number of inputs; the output is operand `inputs()`.
    fn inputs(&self) -> usize {
        self.spec.inputs.len()
    }

    /// Size of an element of operand `i`; the output comes last.
    fn bytes(&self, i: usize) -> i64 {
        self.spec.expr.inputs.get(i).unwrap_or(&self.spec.expr.output).bytes() as i64
    }

    fn stride(&self, i: usize, dim: usize) -> i64 {
        self.spec.inputs.get(i).unwrap_or(&self.spec.output)[dim]
    }

    /// Distance in bytes of neighbours of operand `i` along `dim`.
    fn step(&self, i: usize, dim: usize) -> i64 {
        self.stride(i, dim) * self.bytes(i)
    }

    /// Runs `body` for indices `start..end` of dimension `dim` with pointers that advance.
    fn walk(&self, b: &mut Builder, dim: usize, start: Value, end: Value, pointers: &[Value], body: impl FnOnce(&mut Builder, &[Value])) {
        let moving: Vec<usize> = (0..pointers.len()).filter(|&k| self.stride(k, dim) != 0).collect();
        let mut initial = vec![];
        for &k in &moving {
            let offset = b.mul_const(start, self.step(k, dim));
            initial.push(b.ptr_add(pointers[k], offset));
        }
        let run = |b: &mut Builder, carried: &[Value]| {
            let mut now = pointers.to_vec();
            for (&k, &p) in moving.iter().zip(carried) {
                now[k] = p;
            }
            body(b, &now);
        };
        if let (Some(s), Some(e)) = (b.known(start), b.known(end))
            && e - s <= 1
        {
            if e > s {
                run(b, &initial);
            }
            return;
        }
        b.for_loop(start, end, 1, &initial, |b, _, carried| {
            run(b, carried);
            moving.iter().zip(carried).map(|(&k, &p)| b.ptr_add_const(p, self.step(k, dim))).collect()
        });
    }

    fn load(&self, b: &mut Builder, k: usize, addr: Addr, lanes: u16, active: u16) -> Value {
        match self.spec.raw_bytes(self.caps) {
            Some(bytes) => {
                let (elem, mem) = raw(bytes, lanes);
                b.load_first(Type::vector(elem, lanes), mem, addr, active)
            }
            None => load_storage(b, self.spec.expr.inputs[k], lanes, addr, active),
        }
    }

    /// One element of input `k` in every lane.
    fn load_everywhere(&self, b: &mut Builder, k: usize, addr: Addr, lanes: u16) -> Value {
        match self.spec.copied_bytes() {
            Some(bytes) if lanes > 1 => {
                let (elem, mem) = raw(bytes, lanes);
                b.load_splat(Type::vector(elem, lanes), mem, addr)
            }
            Some(_) => self.load(b, k, addr, 1, 1),
            None => emit::load_storage_splat(b, self.spec.expr.inputs[k], lanes, addr),
        }
    }

    /// Computes the result of loaded inputs and stores its first `active` lanes.
    fn finish(&self, b: &mut Builder, mut values: Vec<Value>, to: Addr, lanes: u16, active: u16) {
        match self.spec.copied_bytes() {
            Some(bytes) => {
                let (_, mem) = raw(bytes, lanes);
                b.store_first(mem, Narrow::Wrap, to, values[0], active);
            }
            None if self.spec.looks_up(self.caps) => {
                let (elem, mem) = raw(1, lanes);
                let y = b.inst(Op::Table256, Type::vector(elem, lanes), &[self.tables[0], values[0]]);
                b.store_first(mem, Narrow::Wrap, to, y, active);
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
