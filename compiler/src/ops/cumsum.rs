//! CUMSUM: running sums along an axis, from either end, with or without the element itself.

use crate::ir::DType::{Float32, Int32, Int64};
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::shapes::count;

/// CUMSUM.
pub const CUMSUM: Operator = Operator::new(infer, Eval::Direct(eval));

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    let dtype = call.dtype_among(0, &[Float32, Int32, Int64])?;
    let x = call.input(0)?;
    call.axis(call.int(1)?, x.shape.len())?;
    Ok(vec![call.result(0, dtype, x.shape.clone())?])
}

fn eval(args: &Args<'_>) -> Results {
    let x = args.value(0)?;
    let axis = args.call.axis(args.call.int(1)?, x.ty.shape.len())?;
    let (n, inner) = (x.ty.shape[axis], count(&x.ty.shape[axis + 1..]));
    let (exclusive, reverse) = (args.call.attrs.bool("exclusive", false), args.call.attrs.bool("reverse", false));
    macro_rules! sums {
        ($t:ty, $add:expr) => {{
            let x = x.elements::<$t>();
            let mut out = vec![<$t>::default(); x.len()];
            for block in (0..x.len()).step_by((n * inner).max(1)) {
                for i in 0..inner {
                    let mut sum = <$t>::default();
                    for k in 0..n {
                        let at = block + if reverse { n - 1 - k } else { k } * inner + i;
                        let next = $add(sum, x[at]);
                        out[at] = if exclusive { sum } else { next };
                        sum = next;
                    }
                }
            }
            args.result(out)
        }};
    }
    match x.ty.dtype {
        Float32 => sums!(f32, |a: f32, b: f32| a + b),
        Int32 => sums!(i32, i32::wrapping_add),
        _ => sums!(i64, i64::wrapping_add),
    }
}
