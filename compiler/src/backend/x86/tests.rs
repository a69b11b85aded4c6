//! Tests of the x86 backend: every operator on every type, random kernels, allocation, disassembly; all against the interpreter of kir.
//!
//! Levels that this processor lacks are compiled but not run, with one exception: what AVX-VNNI adds to AVX2 can be written in AVX2.

mod fuzz;
mod ops;
mod run;
mod shape;
mod tiles;
mod vnni;
