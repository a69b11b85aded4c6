//! Rewrites of graphs: one pass a file. Which passes run, in which order and why, is said in [`crate::driver`].
//!
//! A pass takes a verified graph and gives a verified graph that computes the same outputs; the driver checks both.

pub mod bind_constants;
pub mod fold_constants;
pub mod fold_pad;
pub mod fold_transpose;
pub mod fuse_element;
pub mod fuse_list_update;
pub mod fuse_pointwise;
pub mod fuse_tail;
pub mod inline_calls;
pub mod lower_elementwise;
pub mod remove_dead_code;
pub mod remove_identities;
pub mod spell_out_open;
pub mod split_attention;
pub mod split_rows;
pub mod widen_packed;

use crate::error::CompileError;
use crate::ir::{GraphId, Model};
use crate::target::Target;

/// A pass: rewrites one graph of a model for a target and says how many nodes it changed.
///
/// # Errors
/// `Internal` where a pass breaks, `Unsupported` where it meets what it should lower and cannot.
pub type Pass = fn(&mut Model, GraphId, &Target) -> Result<usize, CompileError>;
