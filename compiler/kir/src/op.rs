//! Operators of kir: one enum, with immediates inside and values outside.
//!
//! What each operator takes and gives is said here, checked by the verifier and computed by the interpreter. Arithmetic is
//! lane-wise; both operands have the result's type unless stated.

use crate::tile::TileOp;
use crate::types::Elem;

/// Unary lane-wise arithmetic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UnOp {
    /// Negation; wraps for integers.
    Neg,
    /// Absolute value; wraps for the smallest integer.
    Abs,
    /// Bitwise complement of integers and truth values.
    Not,
    /// Square root of floats, correctly rounded.
    Sqrt,
    /// Round floats to the nearest integer, ties to even.
    RoundEven,
    /// Round floats towards minus infinity.
    Floor,
    /// Round floats towards plus infinity.
    Ceil,
    /// Round floats towards zero.
    Trunc,
    /// Number of leading zero bits of an integer lane; the lane width for zero.
    LeadingZeros,
}

/// Binary lane-wise arithmetic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BinOp {
    /// Sum; integers wrap.
    Add,
    /// Difference; integers wrap.
    Sub,
    /// Product; integers keep the low half.
    Mul,
    /// Quotient of floats, or of scalar signed integers truncated towards zero. Integer division by zero, and the
    /// smallest integer by -1, are undefined: guard them.
    Div,
    /// Remainder of scalar signed integers, with the sign of the dividend; undefined where `Div` is.
    Rem,
    /// `if a < b { a } else { b }`: signed for integers; for floats the second operand where either is NaN.
    Min,
    /// `if a > b { a } else { b }`: signed for integers; for floats the second operand where either is NaN.
    Max,
    /// Unsigned minimum of integers.
    MinU,
    /// Unsigned maximum of integers.
    MaxU,
    /// Bitwise and, of integers and truth values.
    And,
    /// Bitwise or, of integers and truth values.
    Or,
    /// Bitwise exclusive or, of integers and truth values.
    Xor,
    /// Left shift; amounts are unsigned, and those at or above the lane width give 0.
    Shl,
    /// Logical right shift; amounts at or above the lane width give 0.
    ShrU,
    /// Arithmetic right shift; amounts at or above the lane width give the sign.
    ShrS,
    /// Signed saturating sum of `I8` or `I16` lanes.
    AddSatS,
    /// Signed saturating difference of `I8` or `I16` lanes.
    SubSatS,
    /// Unsigned saturating sum of `I8` or `I16` lanes.
    AddSatU,
    /// Unsigned saturating difference of `I8` or `I16` lanes.
    SubSatU,
    /// High half of the signed product of `I16`, `I32` or scalar `I64` lanes.
    MulHiS,
    /// High half of the unsigned product of `I16`, `I32` or scalar `I64` lanes.
    MulHiU,
    /// `(2*a*b + 2^(w-1)) >> w`, saturated, for lane width w = 16 or 32: the rounding doubling high product.
    MulRoundHi,
}

/// Comparison; the result has `Bool` lanes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CmpOp {
    /// Equal; false where a float is NaN.
    Eq,
    /// Not equal; true where a float is NaN.
    Ne,
    /// Less, signed; false where a float is NaN.
    Lt,
    /// Less or equal, signed; false where a float is NaN.
    Le,
    /// Greater, signed; false where a float is NaN.
    Gt,
    /// Greater or equal, signed; false where a float is NaN.
    Ge,
    /// Less, unsigned.
    LtU,
    /// Less or equal, unsigned.
    LeU,
}

/// Conversion of each lane to the result's lane kind; lane counts agree unless stated.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ConvertOp {
    /// Sign-extend an integer to a wider one.
    ExtS,
    /// Zero-extend an integer to a wider one; `Bool` gives 0 or 1.
    ExtU,
    /// Keep the low bits of an integer.
    Wrap,
    /// Signed saturating narrowing of an integer.
    SatS,
    /// Narrowing of a signed integer to the unsigned range of the result, saturating.
    SatU,
    /// Signed integer (`I32`, `I64`) to float, rounded to nearest even.
    IntToFloat,
    /// Float to signed integer (`I32`, `I64`), to nearest even; unspecified where NaN or out of range.
    FloatToIntEven,
    /// Float to signed integer (`I32`, `I64`), towards zero; unspecified where NaN or out of range.
    FloatToIntTrunc,
    /// `F32` to `F64` or back (to nearest even).
    FloatToFloat,
    /// Reinterpret bits; only the total width must agree. Between `Ptr` and `I64` too.
    Bitcast,
}

/// Signs of the operands of a four-element dot product or of a matrix product.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DotSigns {
    /// First unsigned, second signed.
    UnsignedSigned,
    /// Both signed.
    Signed,
    /// Both unsigned.
    Unsigned,
}

/// Reduction of all lanes to one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReduceOp {
    /// Sum, by halves: lane i with lane i + n/2 (its second operand), repeated. The lane count of every reduction is a power of two.
    Add,
    /// Signed or float minimum, by halves.
    Min,
    /// Signed or float maximum, by halves.
    Max,
    /// Bitwise or (any), of integers and truth values.
    Or,
    /// Bitwise and (all), of integers and truth values.
    And,
}

impl ReduceOp {
    /// What is done with two lanes.
    pub fn of_two(self) -> BinOp {
        match self {
            ReduceOp::Add => BinOp::Add,
            ReduceOp::Min => BinOp::Min,
            ReduceOp::Max => BinOp::Max,
            ReduceOp::Or => BinOp::Or,
            ReduceOp::And => BinOp::And,
        }
    }
}

/// Element in memory, with the extension or rounding that a load or store applies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mem {
    /// Signed byte.
    S8,
    /// Unsigned byte.
    U8,
    /// Signed 16 bits.
    S16,
    /// Unsigned 16 bits.
    U16,
    /// 32-bit integer, sign-extended where the register lane is `I64`.
    S32,
    /// 32-bit integer, zero-extended where the register lane is `I64`.
    U32,
    /// 64-bit integer or address.
    I64,
    /// IEEE binary16, as `F32` in registers; stores round to nearest even.
    F16,
    /// bfloat16, as `F32` in registers; stores round to nearest even.
    BF16,
    /// IEEE binary32.
    F32,
    /// IEEE binary64.
    F64,
}

impl Mem {
    /// All kinds, in the order of declaration.
    pub const ALL: [Mem; 11] =
        [Mem::S8, Mem::U8, Mem::S16, Mem::U16, Mem::S32, Mem::U32, Mem::I64, Mem::F16, Mem::BF16, Mem::F32, Mem::F64];

    /// Size of one element in bytes.
    pub const fn bytes(self) -> u32 {
        match self {
            Mem::S8 | Mem::U8 => 1,
            Mem::S16 | Mem::U16 | Mem::F16 | Mem::BF16 => 2,
            Mem::S32 | Mem::U32 | Mem::F32 => 4,
            Mem::I64 | Mem::F64 => 8,
        }
    }

    /// Whether a register lane of kind `elem` may be loaded from or stored to this.
    pub const fn fits(self, elem: Elem) -> bool {
        match self {
            Mem::S8 | Mem::U8 => matches!(elem, Elem::I8 | Elem::I16 | Elem::I32 | Elem::I64),
            Mem::S16 | Mem::U16 => matches!(elem, Elem::I16 | Elem::I32 | Elem::I64),
            Mem::S32 | Mem::U32 => matches!(elem, Elem::I32 | Elem::I64),
            Mem::I64 => matches!(elem, Elem::I64 | Elem::Ptr),
            Mem::F16 | Mem::BF16 | Mem::F32 => matches!(elem, Elem::F32),
            Mem::F64 => matches!(elem, Elem::F64),
        }
    }

    /// Name in the text form.
    pub const fn name(self) -> &'static str {
        match self {
            Mem::S8 => "s8",
            Mem::U8 => "u8",
            Mem::S16 => "s16",
            Mem::U16 => "u16",
            Mem::S32 => "s32",
            Mem::U32 => "u32",
            Mem::I64 => "i64",
            Mem::F16 => "f16",
            Mem::BF16 => "bf16",
            Mem::F32 => "f32",
            Mem::F64 => "f64",
        }
    }
}

/// How a store narrows integers that are wider in registers than in memory; without effect on others and on floats.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Narrow {
    /// Keep the low bits.
    Wrap,
    /// Saturate to the range of the memory element, from a signed register lane.
    Saturate,
}

/// Which lanes of a memory operation touch memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Active {
    /// All lanes.
    All,
    /// The first `n` lanes (0 < n < lanes); loads give zero in the others.
    First(u16),
    /// The lanes whose mask bit, a further operand, is set; loads give zero in the others.
    Mask,
}

/// Address of a memory operation: `base + index * scale + disp`, where base and index are operands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AddrMode {
    /// 0 where there is no index operand, else 1, 2, 4 or 8.
    pub scale: u8,
    /// Constant offset in bytes.
    pub disp: i32,
}

/// What a load, splat or store does besides addressing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MemOp {
    /// Element in memory.
    pub mem: Mem,
    /// Address form.
    pub addr: AddrMode,
    /// Active lanes.
    pub active: Active,
}

/// Cache level that a prefetch aims at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Locality {
    /// All levels.
    L1,
    /// Second level and beyond.
    L2,
    /// Without polluting: non-temporal.
    NonTemporal,
}

/// An operator with its immediates. Operand order is stated for each.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// A constant in every lane, as the lane's bits, zero-extended; not of `Ptr`. Operands: none.
    Const(u64),
    /// A constant per lane, as bits. Operands: none.
    ConstVec(Vec<u64>),
    /// Unary arithmetic. Operands: a.
    Un(UnOp),
    /// Binary arithmetic. Operands: a, b.
    Bin(BinOp),
    /// `a * b + c` rounded once, of floats. Operands: a, b, c.
    Fma,
    /// Comparison. Operands: a, b.
    Cmp(CmpOp),
    /// Lane-wise choice. Operands: condition (mask of as many lanes, or scalar `Bool`), value if true, value if false.
    Select,
    /// Conversion. Operands: a.
    Convert(ConvertOp),
    /// Accumulator plus the dot product of each four 8-bit neighbours: i32xN + i8x4N · i8x4N, exact, wrapping. Operands: acc, a, b.
    Dot4(DotSigns),
    /// Accumulator plus the dot product of each two signed 16-bit neighbours: i32xN + i16x2N · i16x2N, wrapping. Operands: acc, a, b.
    Dot2,
    /// In each 128-bit block, a 2×2 matrix plus the product of a 2×8 matrix and the transpose of another, all row by row:
    /// `acc[i][j] + Σ8 a[i][k] · b[j][k]`, exact, wrapping; i32xN and i8x4N. Operands: acc, a, b.
    Mmla(DotSigns),
    /// `a * b + c` rounded once, of halves: `I16` lanes that hold binary16. Operands: a, b, c.
    FmaF16,
    /// The lanes of a, then those of b, as halves, rounded to nearest even: i16x2N of f32xN. Operands: a, b.
    PackF16,
    /// The first half of the lanes, which are halves, as floats: f32xN of i16x2N. Operands: a.
    WidenF16Lo,
    /// As `WidenF16Lo`, of the second half of the lanes. Operands: a.
    WidenF16Hi,
    /// Copies a scalar to every lane; `I8` and `I16` lanes take the low bits of an `I32`. Operands: a.
    Splat,
    /// One lane as a scalar (`I8` and `I16` lanes give `I32`, zero-extended). Operands: a.
    ExtractLane(u16),
    /// A vector with one lane replaced; `I8` and `I16` lanes take the low bits of an `I32`. Operands: vector, scalar.
    InsertLane(u16),
    /// Lanes `[i*n, (i+1)*n)` of a vector of a multiple of n lanes, where n is the result's lane count. Operands: a.
    ExtractPart(u16),
    /// The lanes of a, then those of b. Operands: a, b.
    Concat,
    /// Result lane i is lane `map[i]` of a followed by b. Operands: a, b (of one type).
    Shuffle(Vec<u16>),
    /// In each 128-bit block, interleaves the lanes of the lower halves of a and b. Operands: a, b.
    UnpackLo,
    /// In each 128-bit block, interleaves the lanes of the upper halves of a and b. Operands: a, b.
    UnpackHi,
    /// In each 128-bit block, the lanes of a, then those of b, narrowed to half the width with signed saturation. Operands: a, b.
    PackS,
    /// As `PackS`, saturating signed lanes to the unsigned range. Operands: a, b.
    PackU,
    /// In each 16-byte block of i8 lanes: result lane i is lane `index[i] & 15` of the table, or 0 where bit 7 of the index is set. Operands: table, index.
    Table16,
    /// Looks each 8-bit lane up in the 256 bytes at an address. Operands: table (ptr), index (i8 lanes).
    Table256,
    /// Reduction to a scalar (`I32`, `I64`, `F32`, `F64`, `Bool` lanes). Operands: a.
    Reduce(ReduceOp),
    /// Loads lanes from consecutive elements. Operands: base, index?, mask?.
    Load(MemOp),
    /// Loads one element into every lane; `active` is `All`. Operands: base, index?.
    LoadSplat(MemOp),
    /// Stores lanes to consecutive elements. Operands: base, index?, mask?, data.
    Store(MemOp, Narrow),
    /// Loads an element for each lane from `base + index[lane] * scale + disp`, index of `I32` lanes, signed. Operands: base, index.
    Gather(MemOp),
    /// Hints that an address will be used. Operands: base, index?.
    Prefetch(AddrMode, Locality),
    /// Address plus a signed 64-bit offset in bytes. Operands: ptr, i64.
    PtrAdd,
    /// A buffer of `bytes` bytes local to this call, uninitialised, aligned to `align` (a power of two, at most 64). Each such
    /// instruction is one buffer, which keeps its contents where the instruction runs again in a loop. Operands: none.
    Scratch {
        /// Size in bytes.
        bytes: u32,
        /// Alignment in bytes.
        align: u32,
    },
    /// An operator on tiles, whose operands it says.
    Tile(TileOp),
    /// Runs its block for i = start, start + step, … while i < end; `end + step` must not overflow. Operands: start, end (i64), initial carried values.
    /// Block arguments: i (i64), carried values; it yields the next carried values; results: the last ones.
    For {
        /// Increment of i, positive.
        step: i64,
    },
    /// Runs its first block where the condition holds, else its second. Operands: condition (`Bool`). No block arguments;
    /// both yield the results.
    If,
    /// Runs its first block (condition), which yields `Bool` and values; while that holds, its second block (body) with those
    /// values, which yields the next arguments of the first. Operands: initial values. Results: the values yielded last by the first.
    While,
}

impl Op {
    /// Whether the operator writes memory or has another effect that dead-code elimination must keep.
    pub fn has_effect(&self) -> bool {
        matches!(self, Op::Store(..) | Op::Prefetch(..) | Op::Tile(_))
    }

    /// Whether the result depends on nothing but the operands and there is no effect: equal operators on equal operands can share one
    /// result, and unused ones can go. Integer `Div` and `Rem` are pure, yet must not run where they did not run before.
    pub fn is_pure(&self) -> bool {
        !(self.has_effect() || self.reads_memory() || self.block_count() > 0 || matches!(self, Op::Scratch { .. }))
    }

    /// Whether the operator reads memory.
    pub fn reads_memory(&self) -> bool {
        matches!(self, Op::Load(_) | Op::LoadSplat(_) | Op::Gather(_) | Op::Table256)
    }

    /// Number of nested blocks.
    pub fn block_count(&self) -> usize {
        match self {
            Op::For { .. } => 1,
            Op::If | Op::While => 2,
            _ => 0,
        }
    }
}
