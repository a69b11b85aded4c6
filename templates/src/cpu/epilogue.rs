//! Epilogues: what happens to an accumulator between the last multiply-add and memory.
//!
//! An [`Epilogue`] is a pointwise expression over the accumulator and further operands (bias, per-channel scale, residual, …). Every kernel
//! family with accumulators takes one, adds one pointer parameter for each operand and each table after its own, and calls
//! [`Output::store`] on each register tile.

mod together;

use crate::expr::{Binary, Cast, Const, Expr, Id, Node, Storage, Ty, emit};
use tflc_kir::{Addr, Builder, Caps, Elem, Narrow, Value};

/// Where the element of an operand that belongs to an output element lies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OperandAccess {
    /// One element for each output column n (channel), contiguous.
    PerColumn,
    /// One element for each output row m (pixel), contiguous.
    PerRow,
    /// One element for each output element, with this distance in bytes between rows.
    Matrix {
        /// Bytes from one row to the next.
        row_stride_bytes: i64,
    },
    /// One element.
    Scalar,
}

/// An expression applied to every accumulator before it is stored.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Epilogue {
    /// Input 0 is the accumulator (`F32` or `I32`), inputs 1.. are `operands`; the result is stored as `expr.output`.
    pub expr: Expr,
    /// How each operand is addressed.
    pub operands: Vec<OperandAccess>,
}

impl Epilogue {
    /// Stores the accumulator as it is.
    pub fn identity(accumulator: Storage) -> Epilogue {
        Epilogue { expr: Expr::identity(accumulator), operands: vec![] }
    }

    /// The 256-byte tables whose addresses are the kernel's last parameters.
    pub fn tables(&self) -> Vec<&[u8]> {
        emit::tables(&self.expr)
    }

    /// Bytes of an output element.
    pub fn out_bytes(&self) -> i64 {
        self.expr.output.bytes() as i64
    }

    /// Panics where the expression does not take an accumulator of type `acc` and the declared operands.
    pub(crate) fn check(&self, acc: Ty) {
        assert_eq!(self.expr.inputs.len(), self.operands.len() + 1, "an epilogue has one expression input per operand and the accumulator");
        assert_eq!(self.expr.inputs[0].ty(), acc, "type of the accumulator");
    }
}

/// Output of a kernel while it is built: parameters of the epilogue and the address of C.
#[derive(Clone, Debug)]
pub(crate) struct Output<'a> {
    epilogue: &'a Epilogue,
    /// The epilogue's expression without what [`Output::start`] and the narrowing store do.
    expr: Expr,
    /// The operand that accumulators start from.
    bias: Option<usize>,
    narrow: Narrow,
    /// The expression up to the addition of a zero point that ends it, where several results are narrowed at once.
    together: Option<(Expr, i32)>,
    caps: &'a Caps,
    c: Value,
    operands: Vec<Value>,
    tables: Vec<Value>,
    /// Distance between output rows (pixels) in bytes.
    row_bytes: i64,
}

/// Place of a register tile in the output.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    /// Index of the tile's first output row (`I64`).
    pub(crate) row: Value,
    /// Distance in rows between consecutive rows of the tile.
    pub(crate) row_step: i64,
    /// Index of the tile's first output column (`I64`).
    pub(crate) col: Value,
    /// Number of rows of the tile.
    pub(crate) rows: usize,
    /// Lanes that exist in each vector of a row.
    pub(crate) vectors: &'a [u16],
}

/// An address `base + index * scale`, folded where the index is known.
pub(crate) fn indexed(b: &Builder, base: Value, index: Value, scale: i64) -> Addr {
    match b.known(index) {
        Some(i) => Addr::new(base).offset(i * scale),
        None => Addr::new(base).index(index, scale as u8),
    }
}

impl<'a> Output<'a> {
    /// Declares the parameters `c`, operands and tables; `ldc` is the distance between output rows in elements.
    pub(crate) fn declare(b: &mut Builder, caps: &'a Caps, epilogue: &'a Epilogue, ldc: usize) -> Output<'a> {
        let c = b.ptr_param("c");
        let mut expr = epilogue.expr.clone();
        let bias = take_bias(&mut expr, &epilogue.operands);
        if !caps.saturates {
            clamp_floats(&mut expr);
        }
        let narrow = take_saturation(&mut expr);
        let operands = (0..epilogue.operands.len()).map(|i| b.ptr_param(format!("operand{i}"))).collect();
        let tables = (0..epilogue.tables().len()).map(|i| b.ptr_param(format!("table{i}"))).collect();
        let together = (narrow == Narrow::Saturate && caps.vector_bytes >= 32).then(|| together::without_zero_point(&expr)).flatten();
        Output { epilogue, expr, bias, narrow, together, caps, c, operands, tables, row_bytes: ldc as i64 * epilogue.out_bytes() }
    }

    /// Address of C at a row and column.
    pub(crate) fn address(&self, b: &mut Builder, row: Value, col: Value) -> Addr {
        let offset = b.mul_const(row, self.row_bytes);
        let base = b.ptr_add(self.c, offset);
        indexed(b, base, col, self.epilogue.out_bytes())
    }

    /// Distance between output rows in bytes.
    pub(crate) fn row_bytes(&self) -> i64 {
        self.row_bytes
    }

    /// What accumulators of these columns start from, one value for each vector; zero where None.
    pub(crate) fn start(&self, b: &mut Builder, col: Value, vectors: &[u16]) -> Option<Vec<Value>> {
        let i = self.bias?;
        let lanes = self.caps.lanes(Elem::F32);
        let at = indexed(b, self.operands[i], col, 4);
        let storage = self.epilogue.expr.inputs[i + 1];
        let load = |(v, &active): (usize, &u16)| emit::load_storage(b, storage, lanes, at.offset(v as i64 * i64::from(lanes) * 4), active);
        Some(vectors.iter().enumerate().map(load).collect())
    }

    /// Where what [`Output::start`] gives lies in memory, column by column in the accumulator's type.
    pub(crate) fn start_at(&self, b: &mut Builder, col: Value) -> Option<Value> {
        let operand = self.operands[self.bias?];
        let offset = b.mul_const(col, 4);
        Some(b.ptr_add(operand, offset))
    }

    /// Applies the epilogue to a register tile, `acc[r * vectors + v]`, and stores it.
    pub(crate) fn store(&self, b: &mut Builder, place: &Place<'_>, acc: &[Value]) {
        let nv = place.vectors.len();
        debug_assert_eq!(acc.len(), place.rows * nv);
        let lanes = b.ty(acc[0]).lanes;
        let inputs = &self.epilogue.expr.inputs[1..];
        let out = self.epilogue.expr.output;
        let out_row = self.row_bytes * place.row_step;
        let c = self.address(b, place.row, place.col);
        // Base of each operand; a displacement per row and vector follows.
        let bases: Vec<Addr> = std::iter::zip(&self.epilogue.operands, &self.operands)
            .zip(inputs)
            .map(|((access, &p), s)| match access {
                OperandAccess::PerColumn => indexed(b, p, place.col, s.bytes() as i64),
                OperandAccess::PerRow => indexed(b, p, place.row, s.bytes() as i64),
                OperandAccess::Matrix { row_stride_bytes } => {
                    let offset = b.mul_const(place.row, *row_stride_bytes);
                    let base = b.ptr_add(p, offset);
                    indexed(b, base, place.col, s.bytes() as i64)
                }
                OperandAccess::Scalar => Addr::new(p),
            })
            .collect();
        let uniform = |b: &mut Builder, access: OperandAccess| -> Vec<Option<Value>> {
            let load =
                |((a, addr), s): ((&OperandAccess, &Addr), &Storage)| (*a == access).then(|| emit::load_storage_splat(b, *s, lanes, *addr));
            self.epilogue.operands.iter().zip(&bases).zip(inputs).map(load).collect()
        };
        let scalars = uniform(b, OperandAccess::Scalar);
        // What belongs to a column is loaded when the first row needs it.
        let mut columns: Vec<Vec<Option<Value>>> = vec![vec![]; nv];
        let mut result = |b: &mut Builder, expr: &Expr, (r, v): (usize, usize)| {
            let (row, at, active) = (r as i64, i64::from(lanes) * v as i64, place.vectors[v]);
            if columns[v].is_empty() {
                let per_column = |i: usize| self.epilogue.operands[i] == OperandAccess::PerColumn;
                let at = |i: usize| bases[i].offset(at * inputs[i].bytes() as i64);
                columns[v] =
                    (0..bases.len()).map(|i| per_column(i).then(|| emit::load_storage(b, inputs[i], lanes, at(i), active))).collect();
            }
            let mut values = vec![acc[r * nv + v]];
            for (i, s) in inputs.iter().enumerate() {
                let bytes = s.bytes() as i64;
                values.push(match self.epilogue.operands[i] {
                    OperandAccess::PerColumn => columns[v][i].expect("loaded above"),
                    OperandAccess::Scalar => scalars[i].expect("loaded above"),
                    OperandAccess::PerRow => emit::load_storage_splat(b, *s, lanes, bases[i].offset(row * place.row_step * bytes)),
                    OperandAccess::Matrix { row_stride_bytes } => {
                        let at = row * place.row_step * row_stride_bytes + at * bytes;
                        emit::load_storage(b, *s, lanes, bases[i].offset(at), active)
                    }
                });
            }
            values.extend_from_slice(&self.tables);
            emit::emit(b, self.caps, expr, lanes, &values)
        };
        let address = |(r, v): (usize, usize)| c.offset(r as i64 * out_row + i64::from(lanes) * v as i64 * out.bytes() as i64);
        for vectors in self.groups(place, lanes) {
            match (&self.together, &vectors[..]) {
                (Some((expr, zero_point)), [_, _, ..]) => {
                    let values: Vec<Value> = vectors.iter().map(|&at| result(b, expr, at)).collect();
                    let bytes = together::narrowed(b, out, &values, *zero_point);
                    together::store(b, bytes, lanes, &vectors, address);
                }
                _ => {
                    for &at in &vectors {
                        let y = result(b, &self.expr, at);
                        emit::store_storage(b, out, self.narrow, address(at), y, place.vectors[at.1]);
                    }
                }
            }
        }
    }

    /// The vectors of a tile, as rows and positions in them, in the order in which they are stored: those that are narrowed together, and single ones.
    fn groups(&self, place: &Place<'_>, lanes: u16) -> Vec<Vec<(usize, usize)>> {
        let column = |v: usize| (0..place.rows).map(move |r| vec![(r, v)]);
        let columns = 0..place.vectors.len();
        if self.together.is_none() || lanes != self.caps.lanes(Elem::F32) {
            return columns.flat_map(column).collect();
        }
        let (whole, partial): (Vec<usize>, Vec<usize>) = columns.partition(|&v| place.vectors[v] == lanes);
        let mut groups = together::groups(place.rows, &whole, lanes);
        groups.extend(partial.into_iter().flat_map(column));
        groups
    }
}

/// Takes the first addition of a per-column operand to the accumulator out of `expr`, where that is the accumulator's only use: the
/// accumulators can start from the operand instead.
fn take_bias(expr: &mut Expr, operands: &[OperandAccess]) -> Option<usize> {
    let input = |expr: &Expr, id: Id| match expr.nodes[id.0 as usize] {
        Node::Input(i) => Some(i as usize),
        _ => None,
    };
    let uses = |expr: &Expr| {
        let mut n = usize::from(input(expr, expr.result) == Some(0));
        expr.nodes.iter().flat_map(Node::operands).for_each(|id| n += usize::from(input(expr, id) == Some(0)));
        n
    };
    if uses(expr) != 1 {
        return None;
    }
    for at in 0..expr.nodes.len() {
        let Node::Binary(Binary::Add, x, y) = expr.nodes[at] else { continue };
        let operand = match (input(expr, x), input(expr, y)) {
            (Some(0), Some(i)) | (Some(i), Some(0)) if i > 0 => i - 1,
            _ => continue,
        };
        let full = matches!(expr.inputs[operand + 1], Storage::F32 | Storage::I32);
        if full && operands[operand] == OperandAccess::PerColumn {
            expr.nodes[at] = Node::Input(0);
            return Some(operand);
        }
    }
    None
}

/// Takes a final clamp to exactly the range of the output out of `expr`: a saturating store does the same.
fn take_saturation(expr: &mut Expr) -> Narrow {
    let range = match expr.output {
        Storage::I8 => (-128, 127),
        Storage::U8 => (0, 255),
        Storage::I16 => (-32768, 32767),
        _ => return Narrow::Wrap,
    };
    match clamp(expr) {
        Some((x, bounds)) if bounds == range => {
            expr.result = x;
            Narrow::Saturate
        }
        _ => Narrow::Wrap,
    }
}

/// Clamps a rounded float plus a zero point before it is rounded instead of after the addition, for targets where a store that saturates costs more.
fn clamp_floats(expr: &mut Expr) {
    let Some((sum, (lo, hi))) = clamp(expr) else { return };
    let Node::Binary(Binary::Add, rounded, zero) = expr.nodes[sum.0 as usize] else { return };
    let (Node::Cast(Cast::RoundEven, Ty::I32, x), Some(zero_point)) = (&expr.nodes[rounded.0 as usize], constant(expr, zero)) else {
        return;
    };
    let mut x = *x;
    let mut push = |node: Node| {
        expr.nodes.push(node);
        Id(expr.nodes.len() as u32 - 1)
    };
    for (bound, op) in [(lo, Binary::Max), (hi, Binary::Min)] {
        let bound = push(Node::Const(Const::F32(((bound - zero_point) as f32).to_bits())));
        x = push(Node::Binary(op, x, bound));
    }
    let rounded = push(Node::Cast(Cast::RoundEven, Ty::I32, x));
    expr.result = push(Node::Binary(Binary::Add, rounded, zero));
}

/// The value of a constant I32.
fn constant(expr: &Expr, id: Id) -> Option<i32> {
    match expr.nodes[id.0 as usize] {
        Node::Const(Const::I32(v)) => Some(v),
        _ => None,
    }
}

/// What `expr` clamps last, and the bounds; where they do not cross.
fn clamp(expr: &Expr) -> Option<(Id, (i32, i32))> {
    // Min and max of a constant and another value, in either order.
    let split = |id: Id| match expr.nodes[id.0 as usize] {
        Node::Binary(op @ (Binary::Min | Binary::Max), x, y) => {
            constant(expr, y).map(|c| (op, x, c)).or_else(|| constant(expr, x).map(|c| (op, y, c)))
        }
        _ => None,
    };
    let (outer, inner, c) = split(expr.result)?;
    let (other, x, d) = split(inner)?;
    let bounds = match (outer, other) {
        (Binary::Min, Binary::Max) => (d, c),
        (Binary::Max, Binary::Min) => (c, d),
        _ => return None,
    };
    (bounds.0 <= bounds.1).then_some((x, bounds))
}
