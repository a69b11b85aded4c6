//! Data movement.

use super::context::{Cx, Operand};
use tflc_templates::cpu::pointwise::PointwiseSpec;
use tflc_templates::expr::{Expr, Storage};

/// Copies `bytes` bytes.
pub(super) fn copy(cx: &mut Cx<'_, '_>, from: Operand, to: Operand, bytes: usize) {
    let spec = PointwiseSpec::new(&[bytes], vec![vec![1]], vec![1], Expr::identity(Storage::I8));
    let units = spec.units(cx.caps());
    let caps = cx.caps().clone();
    cx.call(format!("{spec:?}"), move || spec.build(&caps), vec![from, to], units, 64);
}
