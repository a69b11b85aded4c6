//! Models compiled to code or lowered, and the cases by which [`crate::kernel_runner`] calls their `invoke`.

use crate::kernel_runner::{Case, Entry, Outcome, Slot};
use anyhow::{Context, Result};
use tflc::backend::ENTRY;
use tflc::backend::image::Image;
use tflc::driver;
use tflc::error::CompileError;
use tflc::ir::{GraphId, Model, TensorType};
use tflc::lower::lower;
use tflc::lower::program::{ARENA_ALIGN, Program};
use tflc::target::Target;

/// `None` for what the compiler does not support.
///
/// # Errors
/// All others.
pub fn supported<T>(result: Result<T, CompileError>) -> Result<Option<T>, CompileError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(CompileError::Unsupported(_)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Passes and lowering of the primary graph; `None` where the compiler does not support it.
///
/// # Errors
/// All others.
pub fn lowered(model: &mut Model, target: &Target) -> Result<Option<Program>, CompileError> {
    let entry = GraphId(0);
    supported(driver::optimize(model, entry, target, &mut |_, _| {}).and_then(|()| lower(model, entry, target)))
}

/// A call of `invoke` with a buffer for weights, arena, state, each input and each output, in this order.
///
/// # Errors
/// Where the image has no entry point.
pub fn invoke(program: &Program, image: Image, inputs: impl IntoIterator<Item = Vec<u8>>) -> Result<Case> {
    let offset = image.offset_of(ENTRY).context("no entry point")?;
    // Weights, arena and state are aligned behind a guard page and in front of one.
    let aligned = |bytes: usize| vec![0u8; bytes.next_multiple_of(ARENA_ALIGN)];
    let mut weights = aligned(program.weights_bytes);
    program.write_weights(&mut weights[..program.weights_bytes]);
    let mut buffers = vec![weights, aligned(program.arena_bytes), aligned(program.state_bytes)];
    buffers.extend(inputs);
    let inputs = buffers.len() - 3;
    buffers.extend(program.outputs.iter().map(|p| vec![0xEE; p.ty.bytes()]));
    let slots = (0..buffers.len()).map(|i| Slot::Buffer(i, 0)).collect();
    Ok(Case { code: image.bytes, buffers, slots, entry: Entry::Invoke { offset, inputs, pool: false } })
}

/// Outputs that such a call left behind, in the shapes that they have at run time.
pub fn outputs(program: &Program, outcome: &Outcome) -> Vec<(TensorType, Vec<u8>)> {
    let all = &outcome.buffers[3 + program.inputs.len()..];
    all.iter()
        .zip(&program.outputs)
        .enumerate()
        .map(|(i, (data, p))| {
            // The arena says how much there is of an output whose size is known only at run time.
            let ty = TensorType { shape: program.output_shape(i, &outcome.buffers[1]), ..p.ty.clone() };
            let bytes = ty.dtype.bytes(ty.elements()).unwrap_or(data.len());
            (ty, data[..bytes].to_vec())
        })
        .collect()
}
