//! Compiled models as text: kernels in the kernel language, Cranelift's form, assembly.

use crate::backend;
use crate::lower::program::Program;
use crate::target::Target;
use anyhow::{Context, Result};
use std::fmt::Write as _;

/// The kernels and the calls of a program.
pub fn kernels(program: &Program) -> String {
    let mut text = String::new();
    for (i, recipe) in program.kernels.iter().enumerate() {
        let mut kernel = (recipe.build)();
        tflc_kir::optimize(&mut kernel);
        let _ = writeln!(text, "; kernel {i}: {}\n{kernel}", recipe.key);
    }
    for call in program.calls() {
        let args: Vec<String> = call.args.iter().map(ToString::to_string).collect();
        let _ =
            writeln!(text, "; call kernel {} units {} grain {} ({}) {}", call.kernel, call.units, call.grain, args.join(", "), call.label);
    }
    text
}

/// The kernels in Cranelift's intermediate form.
///
/// # Errors
/// Where Cranelift does not serve the target.
pub fn clif(program: &Program, target: &Target) -> Result<String> {
    let mut text = String::new();
    for (i, recipe) in program.kernels.iter().enumerate() {
        let mut kernel = (recipe.build)();
        tflc_kir::optimize(&mut kernel);
        let body = backend::cranelift::clif_text(&kernel, target)
            .context("this form exists for the targets that Cranelift serves: --cpu x86-64 or aarch64")?;
        let _ = writeln!(text, "; kernel {i} {}\n{body}", kernel.name);
    }
    Ok(text)
}

/// The kernels as assembly.
///
/// # Errors
/// Where a backend fails.
pub fn assembly(program: &Program, target: &Target) -> Result<String> {
    let mut text = String::new();
    for (i, recipe) in program.kernels.iter().enumerate() {
        let mut kernel = (recipe.build)();
        tflc_kir::optimize(&mut kernel);
        let _ = writeln!(text, "; kernel {i} {}\n{}", kernel.name, backend::assembly_text(&kernel, target)?);
    }
    Ok(text)
}
