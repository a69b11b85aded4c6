//! Custom operators that are built in.

use super::context::Cx;
use super::grain::grain;
use super::movement::{Part, fill, result};
use super::records::custom_call;
use super::{audio, boxes};
use crate::error::{CompileError, Unsupported};
use crate::ir::{AttrValue, Node, TensorId};
use crate::ops::custom::{Pool, REGISTERED, SYMBOL, name, options};
use tflc_templates::cpu::arg_pool::ArgPoolSpec;
use tflc_templates::cpu::resampler::ResamplerSpec;

/// Lowers a custom operator by its name.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    match name(&cx.as_call()?) {
        "TFLite_Detection_PostProcess" => boxes::detection(cx, node),
        "MaxPoolingWithArgmax2D" => max_pool(cx, node),
        "MaxUnpooling2D" => max_unpool(cx, node),
        "Resampler" => resampler(cx, node),
        "AudioSpectrogram" => audio::spectrogram(cx, node),
        "Mfcc" => audio::mfcc(cx, node),
        other if node.attrs.bool(REGISTERED, false) => external(cx, node, other),
        other => Err(cx.unsupported(Unsupported::CustomOperator(other.to_string()))),
    }
}

/// The caller's function: addresses of the operands, then of the results.
fn external(cx: &mut Cx<'_, '_>, node: &Node, name: &str) -> Result<(), CompileError> {
    let mut args = vec![];
    for t in node.inputs.iter().flatten().chain(&node.outputs) {
        args.push(cx.operand(*t)?);
    }
    let ty = |t: &TensorId| cx.ty(*t);
    let (inputs, outputs): (Vec<_>, Vec<_>) = (node.inputs.iter().flatten().map(ty).collect(), node.outputs.iter().map(ty).collect());
    let symbol = match node.attrs.get(SYMBOL) {
        Some(AttrValue::Str(symbol)) => Some(symbol.as_str()),
        _ => None,
    };
    let description = custom_call(name, &inputs, &outputs, options(&cx.as_call()?));
    cx.external(name, symbol, description, args);
    Ok(())
}

/// Geometry of windows between two shapes `[batch, h, w, c]`.
fn windows(cx: &Cx<'_, '_>, large: &[usize], small: &[usize]) -> Result<ArgPoolSpec, CompileError> {
    let pool = Pool::parse(&cx.as_call()?)?;
    let (&[batch, h, w, channels], &[_, oh, ow, _]) = (large, small) else { return Err(cx.internal("tensors of another rank")) };
    let pad = [pool.pad(0, h), pool.pad(1, w)];
    Ok(ArgPoolSpec { batch, large: [h, w], small: [oh, ow], channels, filter: pool.filter, stride: pool.stride, pad })
}

fn max_pool(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let ((values, ty), (places, _)) = (result(cx, node, 0)?, result(cx, node, 1)?);
    let spec = windows(cx, &cx.ty(x).shape, &ty.shape)?;
    let args = vec![cx.operand(x)?, cx.operand(values)?, cx.operand(places)?];
    let caps = cx.caps().clone();
    let units = spec.pool_units();
    let unit_ns = (spec.small[1] * spec.filter[0] * spec.filter[1] * spec.channels.div_ceil(8)) as f64 * 2.0;
    cx.call(format!("pool {spec:?}"), move || spec.build_pool(&caps), args, units, grain(units, unit_ns));
    Ok(())
}

fn max_unpool(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (x, places) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (y, ty) = result(cx, node, 0)?;
    let spec = windows(cx, &ty.shape, &cx.ty(x).shape)?;
    let to = cx.operand(y)?;
    fill(cx, &ty.shape, Part::dense(to, &ty.shape), 4, 0);
    let args = vec![cx.operand(x)?, cx.operand(places)?, to];
    let units = spec.unpool_units();
    let unit_ns = cx.ty(x).elements() as f64 / units.max(1) as f64 * 5.0;
    cx.call(format!("unpool {spec:?}"), move || spec.build_unpool(), args, units, grain(units, unit_ns));
    Ok(())
}

fn resampler(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (x, places) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (y, _) = result(cx, node, 0)?;
    let &[batch, h, w, channels] = &cx.ty(x).shape[..] else { return Err(cx.internal("images of another rank")) };
    let samples = cx.ty(places).elements() / 2;
    let spec = ResamplerSpec { samples, per_image: samples / batch.max(1), size: [h, w], channels };
    let args = vec![cx.operand(x)?, cx.operand(places)?, cx.operand(y)?];
    let caps = cx.caps().clone();
    let units = spec.units();
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args, units, grain(units, 10.0 + channels as f64));
    Ok(())
}
