//! Recipes of the custom operators that are built in.

use super::flexbuffer::{Flex, map};
use super::recipes::{plan, raw};
use super::{Generator, Planned};
use tflc::ir::OpKind::Custom;
use tflc::ir::{AttrValue, Attrs, DType, Quantization, TensorId};
use tflc::ops::Value;

/// A plan for some float results.
fn named(name: &str, options: Vec<u8>, inputs: Vec<TensorId>, results: usize) -> Option<Planned> {
    let attrs = Attrs::new().with("custom_code", AttrValue::Str(name.into())).with("custom_options", AttrValue::Bytes(options.into()));
    let one = plan(Custom, inputs, attrs, DType::Float32, Quantization::None)?;
    Some(Planned { results: vec![(DType::Float32, Quantization::None); results], ..one })
}

/// One of the built-in operators.
pub(super) fn custom(g: &mut Generator) -> Option<Planned> {
    let make = *g.rng.choose::<fn(&mut Generator) -> Option<Planned>>(&[detection, max_pool, unpool, resampler, spectrogram, mfcc]);
    make(g)
}

fn detection(g: &mut Generator) -> Option<Planned> {
    let (n, classes) = (1 + g.rng.below(12), 1 + g.rng.below(4));
    let regular = g.rng.one_in(2);
    let mut options = vec![
        ("max_detections", Flex::Int(1 + g.rng.below(6) as i32)),
        ("max_classes_per_detection", Flex::Int(1 + g.rng.below(classes) as i32)),
        ("num_classes", Flex::Int(classes as i32)),
        ("nms_score_threshold", Flex::Float(0.1 * g.rng.below(4) as f32)),
        ("nms_iou_threshold", Flex::Float(0.2 + 0.1 * g.rng.below(6) as f32)),
        ("use_regular_nms", Flex::Int(i32::from(regular))),
    ];
    if regular {
        options[1].1 = Flex::Int(1);
        options.push(("detections_per_class", Flex::Int(1 + g.rng.below(5) as i32)));
    }
    options.extend([("y_scale", 10.0), ("x_scale", 10.0), ("h_scale", 5.0), ("w_scale", 5.0)].map(|(n, v)| (n, Flex::Float(v))));
    let mut list = |shape: &[usize], least: f32, most: f32| {
        let elements = (0..shape.iter().product()).map(|_| least + (most - least) * g.rng.signed_unit().abs()).collect();
        g.input_of(Value::new(raw(DType::Float32, shape), elements))
    };
    let inputs = vec![list(&[1, n, 4], -2.0, 2.0), list(&[1, n, classes + 1], 0.0, 1.0), list(&[n, 4], 0.1, 1.0)];
    named("TFLite_Detection_PostProcess", map(&options), inputs, 4)
}

/// MediaPipe's pooling options: padding, strides and sizes.
fn pool_options(g: &mut Generator) -> (Vec<u8>, [usize; 2]) {
    let (stride, filter) = ([1 + g.rng.below(2), 1 + g.rng.below(2)], [1 + g.rng.below(3), 1 + g.rng.below(3)]);
    let words = [1 + g.rng.below(2), stride[1], stride[0], filter[1], filter[0], 0];
    (words.iter().flat_map(|w| (*w as i32).to_le_bytes()).collect(), filter)
}

fn max_pool(g: &mut Generator) -> Option<Planned> {
    let x = g.precise(&[DType::Float32], |s| s.len() == 4, |g| g.shape_of(4))?;
    let (options, _) = pool_options(g);
    named("MaxPoolingWithArgmax2D", options, vec![x], 2)
}

fn unpool(g: &mut Generator) -> Option<Planned> {
    let x = g.operand(&[DType::Float32], |s| s.len() == 4, |g| g.shape_of(4))?;
    let shape = g.ty(x).shape.clone();
    let (options, filter) = pool_options(g);
    let places: Vec<f32> = (0..shape.iter().product()).map(|_| g.rng.below(filter[0] * filter[1]) as f32).collect();
    let places = g.given(Value::new(raw(DType::Float32, shape), places));
    named("MaxUnpooling2D", options, vec![x, places], 1)
}

/// Samples around an image, some of them outside.
fn resampler(g: &mut Generator) -> Option<Planned> {
    let x = g.operand(&[DType::Float32], |s| s.len() == 4, |g| g.shape_of(4))?;
    let shape = g.ty(x).shape.clone();
    let n = 1 + g.rng.below(6);
    let warp = (0..shape[0] * n * 2).map(|i| (g.rng.signed_unit() + 0.9) * shape[2 - i % 2] as f32 * 0.6).collect();
    let warp = g.input_of(Value::new(raw(DType::Float32, [shape[0], n, 2]), warp));
    named("Resampler", vec![], vec![x, warp], 1)
}

fn spectrogram(g: &mut Generator) -> Option<Planned> {
    let (window, stride) = (2 + g.rng.below(20), 1 + g.rng.below(10));
    let samples = window + g.rng.below(40);
    let channels = 1 + g.rng.below(2);
    let x = g.operand(&[DType::Float32], |s| s.len() == 2 && s[0] >= window, |_| vec![samples, channels])?;
    let options = [
        ("window_size", Flex::Int(window as i32)),
        ("stride", Flex::Int(stride as i32)),
        ("magnitude_squared", Flex::Int(g.rng.below(2) as i32)),
    ];
    named("AudioSpectrogram", map(&options), vec![x], 1)
}

fn mfcc(g: &mut Generator) -> Option<Planned> {
    let shape = [1, 1 + g.rng.below(4), 1 + (1 << (3 + g.rng.below(4)))];
    let power = (0..shape.iter().product()).map(|_| 0.1 + g.rng.signed_unit().abs() * 20.0).collect();
    let x = g.input_of(Value::new(raw(DType::Float32, shape), power));
    let rate = g.constant(Value::new(raw(DType::Int32, [1]), vec![16000]));
    let options = [
        ("upper_frequency_limit", Flex::Float(7000.0)),
        ("lower_frequency_limit", Flex::Float(60.0)),
        ("filterbank_channel_count", Flex::Int(4 + g.rng.below(12) as i32)),
        ("dct_coefficient_count", Flex::Int(1 + g.rng.below(4) as i32)),
    ];
    named("Mfcc", map(&options), vec![x, rate], 1)
}
