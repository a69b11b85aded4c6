//! What tests that cross crates share.

pub mod rust_source;
