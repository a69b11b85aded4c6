//! Pointwise expressions: what is computed for each element from the elements of some inputs.
//!
//! One data type serves the evaluator (which interprets it), the CPU kernels (which emit it as kir in loops and epilogues) and the
//! GPU templates (which write it as WGSL). An expression is a list of nodes in SSA order over the compute types [`Ty`]; inputs
//! are loaded from, and the result is stored to, a [`Storage`] type. Quantised operators become integer arithmetic
//! and explicit roundings here, so an expression says exactly which bits come out.

mod bytes;
pub mod emit;
pub mod interpret;
pub mod math;
pub(crate) mod math_f64;
pub mod parse;
pub mod print;
mod range;
pub mod verify;

use std::sync::Arc;

/// Type of a value inside an expression.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ty {
    /// binary32.
    F32,
    /// binary64: sums, products, comparisons and conversions, one lane at a time.
    F64,
    /// Signed 32-bit integer, wrapping.
    I32,
    /// Signed 64-bit integer, wrapping.
    I64,
    /// Truth value.
    Bool,
}

/// Element type in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Storage {
    /// binary32, computed as `F32`.
    F32,
    /// binary64, computed as `F64`.
    F64,
    /// binary16, computed as `F32`.
    F16,
    /// bfloat16, computed as `F32`.
    BF16,
    /// Signed byte, computed as `I32`.
    I8,
    /// Unsigned byte, computed as `I32`.
    U8,
    /// Signed 16 bits, computed as `I32`.
    I16,
    /// Unsigned 16 bits, computed as `I32`.
    U16,
    /// Signed 32 bits, computed as `I32`.
    I32,
    /// Unsigned 32 bits, computed as `I64`.
    U32,
    /// Signed 64 bits, computed as `I64`.
    I64,
    /// One byte, 0 or 1, computed as `Bool`.
    Bool,
}

impl Storage {
    /// The type that elements have inside an expression.
    pub const fn ty(self) -> Ty {
        match self {
            Storage::F32 | Storage::F16 | Storage::BF16 => Ty::F32,
            Storage::F64 => Ty::F64,
            Storage::I8 | Storage::U8 | Storage::I16 | Storage::U16 | Storage::I32 => Ty::I32,
            Storage::U32 | Storage::I64 => Ty::I64,
            Storage::Bool => Ty::Bool,
        }
    }

    /// Size in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Storage::I8 | Storage::U8 | Storage::Bool => 1,
            Storage::F16 | Storage::BF16 | Storage::I16 | Storage::U16 => 2,
            Storage::F32 | Storage::I32 | Storage::U32 => 4,
            Storage::I64 | Storage::F64 => 8,
        }
    }
}

/// A value of an expression: position of the node that computes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Id(pub u32);

/// Constant, compared and hashed by bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Const {
    /// Bits of a binary32.
    F32(u32),
    /// Bits of a binary64.
    F64(u64),
    /// 32-bit integer.
    I32(i32),
    /// 64-bit integer.
    I64(i64),
    /// Truth value.
    Bool(bool),
}

/// Unary operators.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unary {
    /// Negation (wrapping for integers).
    Neg,
    /// Absolute value.
    Abs,
    /// Complement of integers or truth values.
    Not,
    /// Square root (F32).
    Sqrt,
    /// Nearest integer, ties to even (F32).
    RoundEven,
    /// Towards minus infinity (F32).
    Floor,
    /// Towards plus infinity (F32).
    Ceil,
    /// Towards zero (F32).
    Trunc,
    /// e^x (F32).
    Exp,
    /// e^x - 1 (F32).
    Expm1,
    /// Natural logarithm (F32).
    Log,
    /// Hyperbolic tangent (F32).
    Tanh,
    /// 1 / (1 + e^-x) (F32).
    Logistic,
    /// Sine (F32).
    Sin,
    /// Cosine (F32).
    Cos,
    /// Error function (F32).
    Erf,
}

/// Binary operators; both operands and the result have one type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Binary {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient; integers truncate towards zero; x / 0 and the smallest integer by -1 give 0.
    Div,
    /// Remainder of integers with the sign of the dividend, 0 where the divisor is 0; of floats as C's fmod.
    Rem,
    /// `if a < b { a } else { b }`.
    Min,
    /// `if a > b { a } else { b }`.
    Max,
    /// Power (F32), as C's powf.
    Pow,
    /// Arc tangent of a / b (F32), as C's atan2f.
    Atan2,
    /// Bitwise or logical and.
    And,
    /// Bitwise or logical or.
    Or,
    /// Bitwise or logical exclusive or.
    Xor,
    /// Left shift of integers; amounts in [0, width).
    Shl,
    /// Arithmetic right shift of integers; amounts in [0, width).
    Shr,
    /// `(2*a*b + 2^31) >> 32`, saturated, of I32: the rounding doubling high product.
    MulRoundHi,
}

/// Comparisons; float comparisons with NaN are false but for `Ne`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Compare {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
}

/// Conversions between compute types.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cast {
    /// Integer to float, F64 to F32, to nearest even; I32 to I64 by sign; I64 to I32 by truncation; Bool to 0 or 1; anything to Bool by `!= 0`.
    /// Float to an integer towards zero, saturating, NaN gives 0.
    Value,
    /// F32 to I32, to nearest even; the operand lies in the range of I32 and is not NaN.
    RoundEven,
    /// The same bits: F32 and I32.
    Bits,
}

/// One node of an expression.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Node {
    /// The element of input `i`, in that input's compute type.
    Input(u32),
    /// A constant.
    Const(Const),
    /// Unary operator.
    Unary(Unary, Id),
    /// Binary operator.
    Binary(Binary, Id, Id),
    /// `a * b + c` of F32, rounded once where the target can, else twice.
    MulAdd(Id, Id, Id),
    /// Comparison; gives Bool.
    Compare(Compare, Id, Id),
    /// `cond ? a : b`.
    Select(Id, Id, Id),
    /// Conversion to a type.
    Cast(Cast, Ty, Id),
    /// Look-up of an I32 in [-128, 127] (`signed`) or [0, 255] in 256 bytes, indexed by the low 8 bits; the byte is
    /// sign-extended where `signed_result`.
    Table {
        /// 256 entries.
        table: Arc<Vec<u8>>,
        /// Whether entries are signed.
        signed_result: bool,
        /// Index.
        index: Id,
    },
}

/// A pointwise expression.
///
/// The result is stored to `output`: integers must already be in its range (clamp first; storing wraps), floats are rounded to nearest even.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Expr {
    /// Memory types of the inputs.
    pub inputs: Vec<Storage>,
    /// Nodes; operands come before their users.
    pub nodes: Vec<Node>,
    /// The node whose value is the result.
    pub result: Id,
    /// Memory type of the result.
    pub output: Storage,
}

/// Builds an expression node by node, sharing equal nodes.
#[derive(Clone, Debug, Default)]
pub struct ExprBuilder {
    inputs: Vec<Storage>,
    nodes: Vec<Node>,
    types: Vec<Ty>,
}

impl ExprBuilder {
    /// Starts an expression over these inputs.
    pub fn new(inputs: impl Into<Vec<Storage>>) -> ExprBuilder {
        ExprBuilder { inputs: inputs.into(), nodes: vec![], types: vec![] }
    }

    /// Type of a value.
    pub fn ty(&self, id: Id) -> Ty {
        self.types[id.0 as usize]
    }

    /// Adds a node of type `ty`, or finds the equal one.
    fn push(&mut self, node: Node, ty: Ty) -> Id {
        if let Some(i) = self.nodes.iter().position(|n| *n == node) {
            return Id(i as u32);
        }
        self.nodes.push(node);
        self.types.push(ty);
        Id(self.nodes.len() as u32 - 1)
    }

    /// Element of input `i`.
    pub fn input(&mut self, i: usize) -> Id {
        let ty = self.inputs[i].ty();
        self.push(Node::Input(i as u32), ty)
    }

    /// F32 constant.
    pub fn f32(&mut self, v: f32) -> Id {
        self.push(Node::Const(Const::F32(v.to_bits())), Ty::F32)
    }

    /// F64 constant.
    pub fn f64(&mut self, v: f64) -> Id {
        self.push(Node::Const(Const::F64(v.to_bits())), Ty::F64)
    }

    /// I32 constant.
    pub fn i32(&mut self, v: i32) -> Id {
        self.push(Node::Const(Const::I32(v)), Ty::I32)
    }

    /// I64 constant.
    pub fn i64(&mut self, v: i64) -> Id {
        self.push(Node::Const(Const::I64(v)), Ty::I64)
    }

    /// Bool constant.
    pub fn bool(&mut self, v: bool) -> Id {
        self.push(Node::Const(Const::Bool(v)), Ty::Bool)
    }

    /// Unary operator.
    pub fn unary(&mut self, op: Unary, a: Id) -> Id {
        let ty = self.ty(a);
        self.push(Node::Unary(op, a), ty)
    }

    /// Binary operator.
    pub fn binary(&mut self, op: Binary, a: Id, b: Id) -> Id {
        debug_assert_eq!(self.ty(a), self.ty(b), "{op:?}");
        let ty = self.ty(a);
        self.push(Node::Binary(op, a, b), ty)
    }

    /// `a + b`.
    pub fn add(&mut self, a: Id, b: Id) -> Id {
        self.binary(Binary::Add, a, b)
    }

    /// `a - b`.
    pub fn sub(&mut self, a: Id, b: Id) -> Id {
        self.binary(Binary::Sub, a, b)
    }

    /// `a * b`.
    pub fn mul(&mut self, a: Id, b: Id) -> Id {
        self.binary(Binary::Mul, a, b)
    }

    /// `if a < b { a } else { b }`.
    pub fn min(&mut self, a: Id, b: Id) -> Id {
        self.binary(Binary::Min, a, b)
    }

    /// `if a > b { a } else { b }`.
    pub fn max(&mut self, a: Id, b: Id) -> Id {
        self.binary(Binary::Max, a, b)
    }

    /// `a * b + c`.
    pub fn mul_add(&mut self, a: Id, b: Id, c: Id) -> Id {
        self.push(Node::MulAdd(a, b, c), Ty::F32)
    }

    /// Comparison.
    pub fn compare(&mut self, op: Compare, a: Id, b: Id) -> Id {
        self.push(Node::Compare(op, a, b), Ty::Bool)
    }

    /// `cond ? a : b`.
    pub fn select(&mut self, cond: Id, a: Id, b: Id) -> Id {
        let ty = self.ty(a);
        self.push(Node::Select(cond, a, b), ty)
    }

    /// Conversion; a value conversion to its own type is the value.
    pub fn cast(&mut self, cast: Cast, to: Ty, a: Id) -> Id {
        if cast == Cast::Value && self.ty(a) == to { a } else { self.push(Node::Cast(cast, to, a), to) }
    }

    /// Table look-up.
    pub fn table(&mut self, table: Arc<Vec<u8>>, signed_result: bool, index: Id) -> Id {
        debug_assert_eq!(table.len(), 256);
        self.push(Node::Table { table, signed_result, index }, Ty::I32)
    }

    /// Copies the nodes of `other`, with its input i replaced by `inputs[i]`; gives its result.
    pub fn inline(&mut self, other: &Expr, inputs: &[Id]) -> Id {
        let mut map: Vec<Id> = Vec::with_capacity(other.nodes.len());
        let types = other.types();
        for (node, ty) in other.nodes.iter().zip(types) {
            let at = |id: Id| map[id.0 as usize];
            let new = match node {
                Node::Input(i) => inputs[*i as usize],
                Node::Const(_) => self.push(node.clone(), ty),
                Node::Unary(op, a) => self.push(Node::Unary(*op, at(*a)), ty),
                Node::Binary(op, a, b) => self.push(Node::Binary(*op, at(*a), at(*b)), ty),
                Node::MulAdd(a, b, c) => self.push(Node::MulAdd(at(*a), at(*b), at(*c)), ty),
                Node::Compare(op, a, b) => self.push(Node::Compare(*op, at(*a), at(*b)), ty),
                Node::Select(c, a, b) => self.push(Node::Select(at(*c), at(*a), at(*b)), ty),
                Node::Cast(c, to, a) => self.push(Node::Cast(*c, *to, at(*a)), ty),
                Node::Table { table, signed_result, index } => {
                    self.push(Node::Table { table: table.clone(), signed_result: *signed_result, index: at(*index) }, ty)
                }
            };
            map.push(new);
        }
        map[other.result.0 as usize]
    }

    /// Ends the expression: its result, stored as `output`.
    pub fn finish(self, result: Id, output: Storage) -> Expr {
        debug_assert_eq!(self.ty(result), output.ty());
        Expr { inputs: self.inputs, nodes: self.nodes, result, output }
    }
}

impl Expr {
    /// Type of each node.
    pub fn types(&self) -> Vec<Ty> {
        let mut types: Vec<Ty> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let at = |id: &Id| types[id.0 as usize];
            let ty = match node {
                Node::Input(i) => self.inputs[*i as usize].ty(),
                Node::Const(Const::F32(_)) | Node::MulAdd(..) => Ty::F32,
                Node::Const(Const::F64(_)) => Ty::F64,
                Node::Const(Const::I32(_)) | Node::Table { .. } => Ty::I32,
                Node::Const(Const::I64(_)) => Ty::I64,
                Node::Const(Const::Bool(_)) | Node::Compare(..) => Ty::Bool,
                Node::Unary(_, a) | Node::Binary(_, a, _) | Node::Select(_, a, _) => at(a),
                Node::Cast(_, to, _) => *to,
            };
            types.push(ty);
        }
        types
    }

    /// Whether any value is a binary64, which kernels compute one at a time.
    pub fn has_binary64(&self) -> bool {
        self.inputs.contains(&Storage::F64) || self.types().contains(&Ty::F64)
    }

    /// Whether any value has 64 bits: then a register holds fewer of them than of others.
    pub fn has_64_bits(&self) -> bool {
        let wide = |t: Ty| matches!(t, Ty::I64 | Ty::F64);
        self.inputs.iter().any(|s| wide(s.ty())) || self.types().into_iter().any(wide)
    }

    /// The expression that gives input 0 unchanged.
    pub fn identity(storage: Storage) -> Expr {
        Expr { inputs: vec![storage], nodes: vec![Node::Input(0)], result: Id(0), output: storage }
    }
}
