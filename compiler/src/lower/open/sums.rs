//! SUM and MEAN of integers along open axes: the sum of what is there, then the arithmetic that needs to know how many that were.

use super::with_neutral_tail;
use crate::error::{CompileError, Unsupported};
use crate::ir::{OpKind, TensorId};
use crate::lower::context::{Cx, Operand};
use crate::lower::pointwise::emit;
use crate::lower::reduce::reduce;
use crate::ops::storage::storage;
use tflc_templates::cpu::pointwise::PointwiseSpec;
use tflc_templates::cpu::reduce::{Combine, ReduceSpec};
use tflc_templates::expr::{Binary, Cast, Expr, ExprBuilder, Storage, Ty};

/// Sums `x` along axes and finishes with the number of elements that a sum has.
pub(in crate::lower) fn sum_counted(
    cx: &mut Cx<'_, '_>,
    op: OpKind,
    [x, y]: [TensorId; 2],
    reduced: &[bool],
    number: Operand,
) -> Result<(), CompileError> {
    let (ty, out) = (cx.ty(x), cx.ty(y));
    let from = storage(ty.dtype).ok_or_else(|| cx.unsupported(Unsupported::Types(ty.dtype.to_string())))?;
    let scales = ty.quant.per_tensor().zip(out.quant.per_tensor());
    let quantized = matches!(from, Storage::I8 | Storage::U8);
    let acc = if quantized { Storage::I32 } else { Storage::I64 };
    let mut b = ExprBuilder::new([from]);
    let v = b.input(0);
    let v = b.cast(Cast::Value, acc.ty(), v);
    let spec = ReduceSpec::new(&ty.shape, reduced, Combine::Sum, b.finish(v, acc), Expr::identity(acc));
    let (sums, rows) = (cx.workspace(out.elements() * acc.bytes()), out.elements());
    let source = with_neutral_tail(cx, x, reduced, 0)?;
    reduce(cx, spec, ty.elements(), vec![source, sums]);
    let mut b = ExprBuilder::new([acc, Storage::I64]);
    let (s, n) = (b.input(0), b.input(1));
    let end = match scales.filter(|_| quantized) {
        Some(((si, zi), (so, zo))) => {
            // As with a number that is known: XNNPACK, `src/operators/reduce-nd.c`.
            let n = b.cast(Cast::Value, Ty::I32, n);
            let (count, one) = (b.cast(Cast::Value, Ty::F32, n), b.f32(1.0));
            let mut scale = b.f32(si / so);
            if op == OpKind::Mean {
                let share = b.binary(Binary::Div, one, count);
                scale = b.mul(scale, share);
            }
            let zero = b.i32(zi as i32);
            let zero = b.mul(n, zero);
            let zero = b.cast(Cast::Value, Ty::F32, zero);
            let zero = b.mul(zero, scale);
            let base = b.f32(zo as f32);
            let base = b.sub(base, zero);
            let (lo, hi) = if from == Storage::U8 { (0.0, 255.0) } else { (-128.0, 127.0) };
            let v = b.cast(Cast::Value, Ty::F32, s);
            let v = b.mul(v, scale);
            let v = b.add(v, base);
            let (lo, hi) = (b.f32(lo), b.f32(hi));
            let v = b.max(lo, v);
            let v = b.min(hi, v);
            b.cast(Cast::RoundEven, Ty::I32, v)
        }
        None => {
            // None of them have the mean 0.
            let one = b.i64(1);
            let n = b.max(n, one);
            let v = if op == OpKind::Mean { b.binary(Binary::Div, s, n) } else { s };
            b.cast(Cast::Value, from.ty(), v)
        }
    };
    let to = cx.operand(y)?;
    emit(cx, PointwiseSpec::new(&[rows], vec![vec![1], vec![0]], vec![1], b.finish(end, from)), vec![sums, number, to]);
    Ok(())
}
