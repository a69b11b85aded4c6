//! Clean-up of kernels before code generation: what templates need not care about.
//!
//! In order: simplify (folding, address forms, common subexpressions, loops and branches that are known), hoist (invariant
//! scalar address arithmetic out of loops), sweep (dead code). Each is one or two linear walks; together they are meant to be a small part of the
//! time that register allocation takes. Results are the same to the bit. Nothing here changes the order of loads and stores, and nothing makes
//! a vector live across a loop in which it was computed: templates count registers, and the innermost loops must not spill.

mod hoist;
mod simplify;
mod sweep;

use crate::kernel::Kernel;

/// Optimises a kernel that verifies; it verifies afterwards.
pub fn optimize(kernel: &mut Kernel) {
    optimize_unswept(kernel);
    sweep::sweep(kernel);
}

/// The same but for the last step: dead code stays, for a backend that leaves it out itself.
pub fn optimize_unswept(kernel: &mut Kernel) {
    simplify::simplify(kernel);
    hoist::hoist(kernel);
}

#[cfg(test)]
mod tests;
