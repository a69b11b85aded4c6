//! StableHLO operators that LiteRT runs: ADD, MULTIPLY, MAXIMUM, MINIMUM, AND, SHIFT_LEFT elementwise, PAD, REDUCE_WINDOW.
//!
//! Operands of elementwise ones have one shape. Sources: the StableHLO specification; TFLite `kernels/stablehlo_*.cc`.

use crate::error::{CompileError, Unsupported};
use crate::ir::DType::{BFloat16, Bool, Float16, Float32, Float64, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64};
use crate::ir::{AttrValue, DType, Node, OpKind};
use crate::ops::call::{Call, Inferred, MAX_RANK};
use crate::ops::control::target;
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::pointwise::infer_binary;
use crate::ops::shapes::{Walk, strides};
use crate::ops::storage::{over_operands, storage_of};
use tflc_templates::expr::{Binary, Compare, Expr, Id, Node as ExprNode};

/// The elementwise ones.
pub(super) const BINARY: Operator = Operator::new(infer, Eval::Pointwise(build));
/// STABLEHLO_PAD.
pub(super) const PAD: Operator = Operator::new(infer_pad, Eval::Direct(pad));
/// STABLEHLO_REDUCE_WINDOW, with one of the operators of [`reducer`] as its body.
pub(super) const REDUCE_WINDOW: Operator = Operator::new(infer_window, Eval::Direct(window));

const NUMBERS: &[DType] = &[Float32, Float64, Float16, BFloat16, Int8, UInt8, Int16, UInt16, Int32, UInt32, Int64, UInt64, Bool];

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    let types: &[DType] = match call.op {
        OpKind::StablehloAnd => &[Bool, Int8, UInt8, Int16, UInt16, Int32, UInt32, Int64, UInt64],
        OpKind::StablehloShiftLeft => &[Int8, UInt8, Int16, UInt16, Int32, UInt32, Int64],
        _ => NUMBERS,
    };
    call.dtype_among(0, types)?;
    if call.input(0)?.shape != call.input(1)?.shape {
        return Err(call.invalid(format!("shapes {:?} and {:?}", call.input(0)?.shape, call.input(1)?.shape)));
    }
    infer_binary(call)
}

fn build(call: &Call<'_>) -> Result<Expr, CompileError> {
    let mut b = over_operands(call)?;
    let (x, y) = (b.input(0), b.input(1));
    let truth = call.input(0)?.dtype == Bool;
    if call.input(0)?.dtype == UInt64 && matches!(call.op, OpKind::StablehloMaximum | OpKind::StablehloMinimum) {
        // The order of unsigned integers is that of signed ones with the top bit turned over.
        let top = b.i64(i64::MIN);
        let (u, v) = (b.binary(Binary::Xor, x, top), b.binary(Binary::Xor, y, top));
        let op = if call.op == OpKind::StablehloMaximum { Compare::Gt } else { Compare::Lt };
        let first = b.compare(op, u, v);
        let r = b.select(first, x, y);
        return Ok(b.finish(r, storage_of(call, call.input(0)?)?));
    }
    let op = match call.op {
        OpKind::StablehloMultiply | OpKind::StablehloMinimum if truth => Binary::And,
        OpKind::StablehloAdd | OpKind::StablehloMaximum if truth => Binary::Or,
        OpKind::StablehloMultiply => Binary::Mul,
        OpKind::StablehloMaximum => Binary::Max,
        OpKind::StablehloMinimum => Binary::Min,
        OpKind::StablehloAnd => Binary::And,
        OpKind::StablehloShiftLeft => Binary::Shl,
        _ => Binary::Add,
    };
    let r = b.binary(op, x, y);
    Ok(b.finish(r, storage_of(call, call.input(0)?)?))
}

/// Integers of an attribute, `rank` of them; all `default` where it is absent.
fn numbers(call: &Call<'_>, name: &str, rank: usize, default: Option<i64>) -> Result<Vec<i64>, CompileError> {
    match (call.attrs.get(name), default) {
        (Some(AttrValue::Ints(v)), _) if v.len() == rank && v.iter().all(|v| v.abs() <= 1 << 31) => Ok(v.clone()),
        (Some(AttrValue::Ints(v)), Some(d)) if v.is_empty() => Ok(vec![d; rank]),
        (None, Some(d)) => Ok(vec![d; rank]),
        (v, _) => Err(call.invalid(format!("{name} = {v:?} for {rank} dimensions"))),
    }
}

/// Low and high padding and gaps of each axis.
pub(crate) fn pad_attrs(call: &Call<'_>) -> Result<Vec<(i64, i64, i64)>, CompileError> {
    let rank = call.input(0)?.shape.len();
    let (low, high, gap) = (
        numbers(call, "edge_padding_low", rank, None)?,
        numbers(call, "edge_padding_high", rank, None)?,
        numbers(call, "interior_padding", rank, None)?,
    );
    if rank > MAX_RANK || gap.iter().any(|g| *g < 0) {
        return Err(call.invalid(format!("gaps {gap:?}")));
    }
    Ok(low.into_iter().zip(high).zip(gap).map(|((l, h), g)| (l, h, g)).collect())
}

fn infer_pad(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    call.same_dtype(0, 1)?;
    let x = call.input(0)?;
    if x.dtype.bits() < 8 || call.input(1)?.elements() != 1 {
        return Err(call.unsupported(Unsupported::Types(x.dtype.to_string())));
    }
    let size = |(n, (l, h, g)): (&usize, (i64, i64, i64))| {
        let n = *n as i128;
        let inner = n + if n > 0 { (n - 1) * g as i128 } else { 0 };
        usize::try_from(inner + l as i128 + h as i128).map_err(|_| call.invalid("a negative size"))
    };
    let shape = x.shape.iter().zip(pad_attrs(call)?).map(size).collect::<Result<Vec<_>, _>>()?;
    Ok(vec![call.result(0, x.dtype, shape)?])
}

fn pad(args: &Args<'_>) -> Results {
    let (x, width) = (args.value(0)?, args.width(0)?);
    let mut out = args.value(1)?.bytes().repeat(args.ty().elements());
    let (mut from, mut to) = (Walk::dense(&x.ty.shape), Walk::dense(&args.ty().shape));
    for (d, (low, _, gap)) in pad_attrs(args.call)?.into_iter().enumerate() {
        // Element i goes to low + i * step; those that fall outside are cut off.
        let (step, n, m) = (gap + 1, x.ty.shape[d] as i64, args.ty().shape[d] as i64);
        let first = if low < 0 { (-low + step - 1) / step } else { 0 }.min(n);
        let last = if m > low { ((m - low + step - 1) / step).clamp(first, n) } else { first };
        from.offset += from.dims[d].1 * first as isize;
        from.dims[d].0 = (last - first) as usize;
        to.offset += to.dims[d].1 * (low + first * step).max(0) as isize;
        to.dims[d] = ((last - first) as usize, to.dims[d].1 * step as isize);
    }
    let mut part = vec![0; from.elements() * width];
    from.gather(x.bytes(), &mut part, width);
    to.scatter(&part, &mut out, width);
    args.result(out)
}

/// The one operator of a reduction's body: ADD, MULTIPLY, MAXIMUM or MINIMUM, of StableHLO or TFLite.
pub(crate) fn reducer(call: &Call<'_>, name: &str) -> Result<Binary, CompileError> {
    let op = stated_reducer(call, name)?;
    // Of truth values the greater one is the disjunction.
    Ok(match op {
        Binary::Add | Binary::Max if call.input(0)?.dtype == Bool => Binary::Or,
        Binary::Mul | Binary::Min if call.input(0)?.dtype == Bool => Binary::And,
        op => op,
    })
}

fn stated_reducer(call: &Call<'_>, name: &str) -> Result<Binary, CompileError> {
    let graph = target(call, name)?;
    match (&graph.nodes[..], &graph.inputs[..]) {
        ([node], [_, _]) if node.tail.is_none() => match node.op {
            OpKind::StablehloAdd | OpKind::Add => Ok(Binary::Add),
            OpKind::StablehloMultiply | OpKind::Mul => Ok(Binary::Mul),
            OpKind::StablehloMaximum | OpKind::Maximum => Ok(Binary::Max),
            OpKind::StablehloMinimum | OpKind::Minimum => Ok(Binary::Min),
            OpKind::StablehloAnd | OpKind::LogicalAnd => Ok(Binary::And),
            // Passes have turned the body's operator into an expression.
            OpKind::Pointwise => {
                both_inputs(node).ok_or_else(|| call.unsupported(Unsupported::Option(name.into(), "an expression".into())))
            }
            op => Err(call.unsupported(Unsupported::Option(name.into(), op.name().into()))),
        },
        _ => Err(call.unsupported(Unsupported::Option(name.into(), "a graph of several operators".into()))),
    }
}

/// The operator of an expression that combines its two inputs.
fn both_inputs(node: &Node) -> Option<Binary> {
    let Some(AttrValue::Expr(expr)) = node.attrs.get("expr") else { return None };
    let at = |id: Id| &expr.nodes[id.0 as usize];
    match at(expr.result) {
        ExprNode::Binary(op @ (Binary::Add | Binary::Mul | Binary::Max | Binary::Min | Binary::And | Binary::Or), a, b) => {
            let inputs = [at(*a), at(*b)];
            let both = inputs.contains(&&ExprNode::Input(0)) && inputs.contains(&&ExprNode::Input(1)) && node.inputs.len() == 2;
            both.then_some(*op)
        }
        _ => None,
    }
}

/// One axis of a reduction window.
pub(crate) struct Slide {
    /// Elements of a window.
    pub(crate) window: i64,
    /// Steps between windows.
    pub(crate) stride: i64,
    /// Steps between elements of the operand.
    pub(crate) base: i64,
    /// Steps inside a window.
    pub(crate) dilation: i64,
    /// Padding in front.
    pub(crate) low: i64,
    high: i64,
}

/// The axes of a reduction window.
pub(crate) fn slides(call: &Call<'_>) -> Result<Vec<Slide>, CompileError> {
    let rank = call.input(0)?.shape.len();
    let window = numbers(call, "window_dimensions", rank, None)?;
    let stride = numbers(call, "window_strides", rank, Some(1))?;
    let base = numbers(call, "base_dilations", rank, Some(1))?;
    let dilation = numbers(call, "window_dilations", rank, Some(1))?;
    let padding = numbers(call, "padding", 2 * rank, Some(0))?;
    let all = [&window, &stride, &base, &dilation];
    if all.iter().any(|v| v.iter().any(|v| *v <= 0)) || window.iter().product::<i64>() > 1 << 24 {
        return Err(call.invalid(format!("window {window:?}, strides {stride:?}, dilations {base:?} and {dilation:?}")));
    }
    Ok((0..rank)
        .map(|d| Slide {
            window: window[d],
            stride: stride[d],
            base: base[d],
            dilation: dilation[d],
            low: padding[2 * d],
            high: padding[2 * d + 1],
        })
        .collect())
}

fn infer_window(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    call.dtype_among(0, &[Float32, Float64, Int8, Int16, Int32, Int64, UInt8, Bool])?;
    call.same_dtype(0, 1)?;
    reducer(call, "body_subgraph_index")?;
    let x = call.input(0)?;
    if call.input(1)?.elements() != 1 {
        return Err(call.invalid("the initial value is not one element"));
    }
    let size = |(n, s): (&usize, Slide)| {
        let n = *n as i64;
        let padded = (if n > 0 { (n - 1) * s.base + 1 } else { 0 }) + s.low + s.high;
        let spread = (s.window - 1) * s.dilation + 1;
        if padded < spread { 0 } else { ((padded - spread) / s.stride + 1) as usize }
    };
    let shape: Vec<usize> = x.shape.iter().zip(slides(call)?).map(size).collect();
    Ok(vec![call.result(0, x.dtype, shape)?])
}

fn window(args: &Args<'_>) -> Results {
    let x = args.value(0)?;
    let op = reducer(args.call, "body_subgraph_index")?;
    let slides = slides(args.call)?;
    let (shape, out_shape) = (&x.ty.shape, &args.ty().shape);
    let (own, outer) = (strides(shape), strides(out_shape));
    let windows: Vec<i64> = slides.iter().map(|s| s.window).collect();
    let taps: i64 = windows.iter().product();
    // Elements that each window covers, in order.
    let covered = |o: usize| -> Vec<usize> {
        (0..taps)
            .filter_map(|tap| {
                let (mut rest, mut at) = (tap, 0);
                for d in (0..shape.len()).rev() {
                    let (s, k) = (&slides[d], rest % windows[d]);
                    rest /= windows[d];
                    let place = (o / outer[d] % out_shape[d]) as i64 * s.stride + k * s.dilation - s.low;
                    if place < 0 || place % s.base != 0 || place / s.base >= shape[d] as i64 {
                        return None;
                    }
                    at += (place / s.base) as usize * own[d];
                }
                Some(at)
            })
            .collect()
    };
    macro_rules! floats {
        ($t:ty) => {{
            let (v, start) = (args.elements::<$t>(0)?, args.elements::<$t>(1)?[0]);
            let f = move |a: $t, b: $t| match op {
                Binary::Add => a + b,
                Binary::Mul => a * b,
                Binary::Max => a.max(b),
                _ => a.min(b),
            };
            return args.result((0..args.ty().elements()).map(|o| covered(o).into_iter().fold(start, |a, i| f(a, v[i]))).collect());
        }};
    }
    match x.ty.dtype {
        Float32 => floats!(f32),
        Float64 => floats!(f64),
        _ => {}
    }
    let (v, start) = (args.ints(0)?, args.ints(1)?[0]);
    let f = move |a: i64, b: i64| match op {
        Binary::Add => a.wrapping_add(b),
        Binary::Mul => a.wrapping_mul(b),
        Binary::Max => a.max(b),
        Binary::And => a & b,
        Binary::Or => a | b,
        _ => a.min(b),
    };
    let out = (0..args.ty().elements()).map(|o| covered(o).into_iter().fold(start, |a, i| f(a, v[i])));
    match x.ty.dtype {
        Int64 => args.result(out.collect()),
        Int32 => args.result(out.map(|v| v as i32).collect()),
        Int16 => args.result(out.map(|v| v as i16).collect()),
        _ => args.result(out.map(|v| v as u8).collect()),
    }
}
