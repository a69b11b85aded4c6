//! Calling conventions as data.

use super::machine::{GPR, VEC};
use regalloc2::{PReg, PRegSet};

/// Hardware numbers of general registers.
pub(super) mod gpr {
    pub(in super::super) const RAX: usize = 0;
    pub(in super::super) const RCX: usize = 1;
    pub(in super::super) const RDX: usize = 2;
    pub(in super::super) const RBX: usize = 3;
    pub(in super::super) const RSP: usize = 4;
    pub(in super::super) const RBP: usize = 5;
    pub(in super::super) const RSI: usize = 6;
    pub(in super::super) const RDI: usize = 7;
}

use gpr::*;

/// A calling convention for `fn(args: *const u64, begin: i64, end: i64) -> i32`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Abi {
    /// System V AMD64: Linux, macOS, BSD.
    SystemV,
    /// Windows x64.
    Windows,
}

impl Abi {
    /// General registers of the three arguments. `rax` is never one of them, so the prologue may use it.
    pub(super) fn args(self) -> [PReg; 3] {
        let regs = match self {
            Abi::SystemV => [RDI, RSI, RDX],
            Abi::Windows => [RCX, RDX, 8],
        };
        regs.map(|r| PReg::new(r, GPR))
    }

    /// General registers that a function must preserve; the stack pointer is not among them.
    pub(super) fn saved_gprs(self) -> &'static [usize] {
        match self {
            Abi::SystemV => &[RBX, RBP, 12, 13, 14, 15],
            Abi::Windows => &[RBX, RBP, RSI, RDI, 12, 13, 14, 15],
        }
    }

    /// Vector registers whose low 128 bits a function must preserve.
    pub(super) fn saved_vectors(self) -> &'static [usize] {
        match self {
            Abi::SystemV => &[],
            Abi::Windows => &[6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        }
    }

    /// All registers that a function must preserve.
    pub(super) fn saved(self) -> PRegSet {
        let mut set = PRegSet::empty();
        self.saved_gprs().iter().for_each(|&r| set.add(PReg::new(r, GPR)));
        self.saved_vectors().iter().for_each(|&r| set.add(PReg::new(r, VEC)));
        set
    }
}
