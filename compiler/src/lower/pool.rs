//! AVERAGE_POOL_2D, MAX_POOL_2D, L2_POOL_2D: one call each; what is computed is said in [`crate::ops::pool_2d`].

use super::context::Cx;
use super::grain::grain;
use super::movement::result;
use super::open::measured;
use crate::error::CompileError;
use crate::ir::{Node, OpKind};
use crate::ops::pool_2d::Pool;
use tflc_kir::Elem;
use tflc_templates::cpu::pool::PoolSpec;
use tflc_templates::cpu::reduce::Combine;

/// Lowers a pool.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let pool = Pool::new(&cx.as_call()?)?;
    let (y, _) = result(cx, node, 0)?;
    let w = pool.window;
    let x = cx.input(node, 0)?;
    let sizes = measured(cx, node, x, &w)?;
    let spec = PoolSpec {
        batch: w.batch,
        input: w.input,
        output: w.output,
        channels: pool.channels,
        window: w.kernel,
        stride: w.stride,
        padding: w.pad,
        measured: sizes.is_some(),
        combine: if node.op == OpKind::MaxPool2d { Combine::Max } else { Combine::Sum },
        element: pool.element,
        epilogue: pool.epilogue,
    };
    let mut args = vec![cx.operand(x)?, cx.operand(y)?];
    args.extend(sizes);
    let caps = cx.caps().clone();
    let vectors = spec.channels.div_ceil(usize::from(caps.lanes(Elem::F32)));
    let taps = spec.output[1] * vectors * (spec.window[0] * spec.window[1] + spec.epilogue.nodes.len());
    let units = spec.units();
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args, units, grain(units, taps as f64 * 0.7));
    Ok(())
}
