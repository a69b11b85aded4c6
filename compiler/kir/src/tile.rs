//! Tiles: small matrices in registers of their own, and products of them (AMX).
//!
//! A kernel has [`TILES`] tiles, which are no values: operators name them by number, and what they hold is state, as memory is. A configuration
//! gives them shapes; each use of a tile needs one that is in force there: earlier in the same block or in a block around it, with nothing
//! in between that may put another one in force. Tiles are the kernel's own and gone when it ends.

use crate::op::DotSigns;
use std::fmt;

/// Number of tiles.
pub const TILES: usize = 8;
/// Rows of a tile, at most.
pub const TILE_ROWS: u8 = 16;
/// Bytes of a row of a tile, at most.
pub const TILE_ROW_BYTES: u8 = 64;

/// Shape of a tile.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TileShape {
    /// Rows, in [1, [`TILE_ROWS`]].
    pub rows: u8,
    /// Bytes of a row, a multiple of 4 in [4, [`TILE_ROW_BYTES`]].
    pub row_bytes: u8,
}

/// Elements of a product of tiles. B holds groups of neighbouring k innermost, so that a group is four bytes: row i, group j of B are the elements
/// `[i * g, (i + 1) * g)` of column j, where g is 4 for bytes and 2 for bfloat16.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TileProduct {
    /// Bytes, accumulated in 32-bit integers: exact, wrapping.
    Bytes(DotSigns),
    /// bfloat16, accumulated in binary32. Products of even and of odd k are summed apart, from zero, each fused with its addition; the sum of both is
    /// added to the accumulator. Subnormals count as zero, before and after each step.
    Bf16,
}

/// An operator on tiles.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum TileOp {
    /// Gives tiles 0, 1, … their shapes and makes them zero; tiles beyond have none. Operands: none.
    Config(Vec<TileShape>),
    /// Makes a tile zero. Operands: none.
    Zero(u8),
    /// Loads a tile; row i lies at `base + disp + i * stride`. Operands: base (ptr), stride (i64).
    Load {
        /// The tile.
        tile: u8,
        /// Constant offset in bytes.
        disp: i32,
    },
    /// Stores a tile as `Load` loads it. Operands: base (ptr), stride (i64).
    Store {
        /// The tile.
        tile: u8,
        /// Constant offset in bytes.
        disp: i32,
    },
    /// `acc += a · b`: acc has the rows of a and the row bytes of b, and b has a row for each four bytes of a's rows. The three differ. Operands: none.
    Dot {
        /// What is multiplied.
        product: TileProduct,
        /// The accumulator.
        acc: u8,
        /// The first factor.
        a: u8,
        /// The second factor.
        b: u8,
    },
}

impl TileProduct {
    /// All of them.
    pub const ALL: &[TileProduct] = &[
        TileProduct::Bytes(DotSigns::UnsignedSigned),
        TileProduct::Bytes(DotSigns::Signed),
        TileProduct::Bytes(DotSigns::Unsigned),
        TileProduct::Bf16,
    ];

    /// Name in the text form.
    pub const fn name(self) -> &'static str {
        match self {
            TileProduct::Bytes(signs) => signs.name(),
            TileProduct::Bf16 => "bf16",
        }
    }
}

impl TileOp {
    /// Number of operands.
    pub const fn operand_count(&self) -> usize {
        match self {
            TileOp::Load { .. } | TileOp::Store { .. } => 2,
            _ => 0,
        }
    }

    /// Whether it writes memory.
    pub const fn writes_memory(&self) -> bool {
        matches!(self, TileOp::Store { .. })
    }

    /// What is wrong with its tiles, where `shapes` are those in force.
    pub(crate) fn check(&self, shapes: &[TileShape]) -> Result<(), &'static str> {
        let shape = |tile: u8| shapes.get(usize::from(tile)).copied().ok_or("a tile that the configuration in force gives a shape");
        match self {
            TileOp::Config(shapes) => {
                let right = |s: &TileShape| {
                    (1..=TILE_ROWS).contains(&s.rows) && (4..=TILE_ROW_BYTES).contains(&s.row_bytes) && s.row_bytes.is_multiple_of(4)
                };
                let count = (1..=TILES).contains(&shapes.len());
                if count && shapes.iter().all(right) { Ok(()) } else { Err("1 to 8 tiles of 1 to 16 rows of 4, 8, … 64 bytes") }
            }
            TileOp::Zero(tile) | TileOp::Load { tile, .. } | TileOp::Store { tile, .. } => shape(*tile).map(|_| ()),
            TileOp::Dot { acc, a, b, .. } => {
                let (c, x, y) = (shape(*acc)?, shape(*a)?, shape(*b)?);
                let fit = c.rows == x.rows && c.row_bytes == y.row_bytes && x.row_bytes == 4 * y.rows;
                let differ = acc != a && acc != b && a != b;
                if fit && differ { Ok(()) } else { Err("three different tiles whose shapes fit together") }
            }
        }
    }
}

/// The operator in the text form, with the names of its operands.
pub(crate) struct Text<'a>(pub(crate) &'a TileOp, pub(crate) &'a [String]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operand = |i: usize| self.1.get(i).map_or("%?", String::as_str);
        match self.0 {
            TileOp::Config(shapes) => {
                let shapes: Vec<String> = shapes.iter().map(|s| format!("{} x {}", s.rows, s.row_bytes)).collect();
                write!(f, "tile_config ({})", shapes.join(", "))
            }
            TileOp::Zero(tile) => write!(f, "tile_zero {tile}"),
            TileOp::Load { tile, disp } => write!(f, "tile_load {tile} [{}{}], {}", operand(0), Offset(*disp), operand(1)),
            TileOp::Store { tile, disp } => write!(f, "tile_store {tile} [{}{}], {}", operand(0), Offset(*disp), operand(1)),
            TileOp::Dot { product, acc, a, b } => write!(f, "tile_dot.{} {acc}, {a}, {b}", product.name()),
        }
    }
}

/// A constant offset behind an address.
pub(crate) struct Offset(pub(crate) i32);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            d if d < 0 => write!(f, " - {}", d.unsigned_abs()),
            d => write!(f, " + {d}"),
        }
    }
}
