//! Graph operators to kernel calls.

pub mod program;
