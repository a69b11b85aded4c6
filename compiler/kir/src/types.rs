//! Types of kir values: a lane kind and a lane count.
//!
//! A type with one lane is a scalar. Memory types, which may be narrower than register types, are [`crate::Mem`].

use std::fmt;

/// Kind of one lane.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Elem {
    /// Truth value; with several lanes, a mask.
    Bool,
    /// 8-bit integer, signless: operators carry the sign.
    I8,
    /// 16-bit integer, signless.
    I16,
    /// 32-bit integer, signless.
    I32,
    /// 64-bit integer, signless.
    I64,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
    /// Address; only scalar.
    Ptr,
}

impl Elem {
    /// All kinds, in the order of declaration.
    pub const ALL: [Elem; 8] = [Elem::Bool, Elem::I8, Elem::I16, Elem::I32, Elem::I64, Elem::F32, Elem::F64, Elem::Ptr];

    /// Width of a lane in bits; 1 for `Bool`, 64 for `Ptr`.
    pub const fn bits(self) -> u32 {
        match self {
            Elem::Bool => 1,
            Elem::I8 => 8,
            Elem::I16 => 16,
            Elem::I32 | Elem::F32 => 32,
            Elem::I64 | Elem::F64 | Elem::Ptr => 64,
        }
    }

    /// Whether this is `F32` or `F64`.
    pub const fn is_float(self) -> bool {
        matches!(self, Elem::F32 | Elem::F64)
    }

    /// Whether this is `I8`, `I16`, `I32` or `I64`.
    pub const fn is_int(self) -> bool {
        matches!(self, Elem::I8 | Elem::I16 | Elem::I32 | Elem::I64)
    }

    /// The scalar kind that holds one lane of this kind: `I32` for `I8` and `I16`, else itself.
    pub const fn scalar(self) -> Elem {
        match self {
            Elem::I8 | Elem::I16 => Elem::I32,
            e => e,
        }
    }

    /// Mask of the lane's bits in a zero-extended `u64`.
    pub const fn bit_mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }

    /// Name in the text form.
    pub const fn name(self) -> &'static str {
        match self {
            Elem::Bool => "bool",
            Elem::I8 => "i8",
            Elem::I16 => "i16",
            Elem::I32 => "i32",
            Elem::I64 => "i64",
            Elem::F32 => "f32",
            Elem::F64 => "f64",
            Elem::Ptr => "ptr",
        }
    }
}

/// Type of a value: lane kind and number of lanes, printed as `f32` or `f32x16`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Type {
    /// Kind of each lane.
    pub elem: Elem,
    /// Number of lanes, at least 1.
    pub lanes: u16,
}

impl Type {
    /// Largest lane count of the language; targets support far fewer, see [`crate::legal`].
    pub const MAX_LANES: u16 = 256;

    /// Scalar truth value.
    pub const BOOL: Type = Type::scalar(Elem::Bool);
    /// Scalar 32-bit integer.
    pub const I32: Type = Type::scalar(Elem::I32);
    /// Scalar 64-bit integer.
    pub const I64: Type = Type::scalar(Elem::I64);
    /// Scalar binary32.
    pub const F32: Type = Type::scalar(Elem::F32);
    /// Scalar binary64.
    pub const F64: Type = Type::scalar(Elem::F64);
    /// Address.
    pub const PTR: Type = Type::scalar(Elem::Ptr);

    /// The scalar type of a lane kind.
    pub const fn scalar(elem: Elem) -> Type {
        Type { elem, lanes: 1 }
    }

    /// A vector of `lanes` lanes.
    pub const fn vector(elem: Elem, lanes: u16) -> Type {
        Type { elem, lanes }
    }

    /// The same lane kind with another number of lanes.
    pub const fn with_lanes(self, lanes: u16) -> Type {
        Type { elem: self.elem, lanes }
    }

    /// The same number of lanes with another lane kind.
    pub const fn with_elem(self, elem: Elem) -> Type {
        Type { elem, lanes: self.lanes }
    }

    /// The type of a comparison of two values of this type.
    pub const fn mask(self) -> Type {
        self.with_elem(Elem::Bool)
    }

    /// Whether this has more than one lane.
    pub const fn is_vector(self) -> bool {
        self.lanes > 1
    }

    /// Whether values of this type exist: 1 to [`Type::MAX_LANES`] lanes; addresses only as scalars; 8- and 16-bit integers only
    /// in vectors, since every target widens them in scalar registers.
    pub const fn is_valid(self) -> bool {
        match self.elem {
            Elem::Ptr => self.lanes == 1,
            Elem::I8 | Elem::I16 => self.lanes >= 2 && self.lanes <= Type::MAX_LANES,
            _ => self.lanes >= 1 && self.lanes <= Type::MAX_LANES,
        }
    }

    /// Total width in bits.
    pub const fn bits(self) -> u32 {
        self.elem.bits() * self.lanes as u32
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lanes == 1 { f.write_str(self.elem.name()) } else { write!(f, "{}x{}", self.elem.name(), self.lanes) }
    }
}
