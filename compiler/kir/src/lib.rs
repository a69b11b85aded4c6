//! kir, the kernel language of tflc: SSA values, structured control flow, vectors of any lane count.
//!
//! A template builds a [`Kernel`] with the [`Builder`]; [`verify()`] checks it, [`interp`] runs it without any CPU feature,
//! [`print()`] and [`parse()`] are inverse to each other. The backends that turn kernels into machine code live in crate
//! `tflc`. This crate knows nothing of tensors, models or processors other than the data in [`Caps`].

#![forbid(unsafe_code)]

mod builder;
mod caps;
#[cfg(test)]
mod docs;
pub mod generate;
pub mod interp;
mod kernel;
mod mixer;
mod op;
pub mod opt;
pub mod parse;
pub mod print;
mod scalarize;
mod tile;
mod types;
pub mod verify;

pub use builder::{Addr, Builder};
pub use caps::{Caps, Dot4, legal};
pub use kernel::{Block, Inst, Kernel, Param, Value};
pub use mixer::Mixer;
pub use op::{Active, AddrMode, BinOp, CmpOp, ConvertOp, DotSigns, Locality, Mem, MemOp, Narrow, Op, ReduceOp, UnOp};
pub use opt::{optimize, optimize_unswept};
pub use parse::{ParseError, parse};
pub use print::print;
pub use scalarize::scalarize;
pub use tile::{TILE_ROW_BYTES, TILE_ROWS, TILES, TileOp, TileProduct, TileShape};
pub use types::{Elem, Type};
pub use verify::{VerifyCause, VerifyError, verify};
