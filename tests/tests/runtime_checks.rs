//! Values that are wrong only at run time, and custom operators that LiteRT's Python package lacks: compiled code against the evaluator.
//!
//! An index outside its tensor, a slice that does not fit or a divisor of zero ends the run with a status at every CPU level, and the kir interpreter, which
//! checks every access, sees nothing written outside.

use tflc::driver;
use tflc::ir::{GraphId, Model, parse};
use tflc::jit::{JitError, Options};
use tflc::lower::interpret::{InterpretError, Interpreter};
use tflc::lower::lower;
use tflc::ops::{Evaluator, Value};
use tflc::target::{Cpu, Target};
use tflc_runtime::Status;
use tflc_tests::host::levels;

fn model(text: &str) -> Model {
    let mut model = parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    tflc::ops::propagate_types(&mut model).unwrap_or_else(|e| panic!("{e}\n{text}"));
    model
}

/// The outputs of a model at every level, or the status.
fn run(model: &Model, inputs: &[Vec<u8>]) -> Vec<Result<Vec<Vec<u8>>, Status>> {
    let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    let at = |cpu: Cpu| {
        let mut compiled = Options::new().cpu(cpu).compile(model.clone()).unwrap_or_else(|e| panic!("{e}"));
        let mut outputs: Vec<Vec<u8>> = compiled.outputs().iter().map(|p| vec![0; p.ty.bytes()]).collect();
        match compiled.run(&inputs, &mut outputs.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>()) {
            Ok(()) => Ok(outputs),
            Err(JitError::Run(status)) => Err(status),
            Err(e) => panic!("{e}"),
        }
    };
    levels().into_iter().map(at).collect()
}

fn i32s(v: &[i32]) -> Vec<u8> {
    v.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn f32s(v: impl IntoIterator<Item = f32>) -> Vec<u8> {
    v.into_iter().flat_map(f32::to_le_bytes).collect()
}

/// Runs a model of one int32 input with values that are fine and values that are not.
fn refuses(text: &str, good: &[i32], bad: &[&[i32]], status: Status) {
    let m = model(text);
    for got in run(&m, &[i32s(good)]) {
        assert!(got.is_ok(), "{got:?}\n{text}");
    }
    for values in bad {
        for got in run(&m, &[i32s(values)]) {
            assert_eq!(got, Err(status), "{values:?}\n{text}");
        }
        let target = Target::new(levels()[0]);
        let mut optimized = m.clone();
        driver::optimize(&mut optimized, GraphId(0), &target, &mut |_, _| {}).unwrap();
        let program = lower(&optimized, GraphId(0), &target).unwrap();
        match Interpreter::new(&program).run(&[&i32s(values)]) {
            Err(InterpretError::Status(_)) => {}
            other => panic!("{other:?}\n{text}"),
        }
    }
}

#[test]
fn indices_outside_their_tensor_end_the_run() {
    let outside: &[&[i32]] = &[&[0, 5], &[-1, 2], &[i32::MAX, 0], &[i32::MIN, 1]];
    refuses(
        "graph @0 (%i) -> (%y) { %i: int32[2] %x: float32[5,3] = const splat 1.5 %y: float32[2,3] = GATHER(%x, %i) {axis = 0} }",
        &[4, 0],
        outside,
        Status::IndexOutOfRange,
    );
    refuses(
        "graph @0 (%i) -> (%y) { %i: int32[2] %x: float32[5,3] = const splat 1.5 %y: float32[2,3] = EMBEDDING_LOOKUP(%i, %x) }",
        &[4, 0],
        outside,
        Status::IndexOutOfRange,
    );
    refuses(
        "graph @0 (%i) -> (%y) { %i: int32[2,1] %x: int8[5,3] = const splat 3 %y: int8[2,3] = GATHER_ND(%x, %i) }",
        &[4, 0],
        outside,
        Status::IndexOutOfRange,
    );
    refuses(
        "graph @0 (%i) -> (%y) { %i: int32[2,1] %x: float32[2,3] = const splat 2.0 %s: int32[2] = const [5, 3] %y: float32[5,3] = SCATTER_ND(%i, %x, %s) }",
        &[4, 0],
        outside,
        Status::IndexOutOfRange,
    );
    refuses(
        "graph @0 (%i) -> (%y) { %i: int32[2] %s: int32[1] = const [5] %v: float32[] = const [1.0] %d: float32[] = const [0.0] %y: float32[5] = SPARSE_TO_DENSE(%i, %s, %v, %d) }",
        &[4, 0],
        outside,
        Status::IndexOutOfRange,
    );
    refuses(
        "graph @0 (%i) -> (%y) { %i: int32[2] %p: int32[2,1] = const [0, 1] %s: int32[1] = const [2] %w: float32[2] = const splat 1.0 %x: float32[5,3] = const splat 1.5
        %y: float32[2,3] = EMBEDDING_LOOKUP_SPARSE(%i, %p, %s, %w, %x) {combiner = SUM} }",
        &[4, 0],
        outside,
        Status::IndexOutOfRange,
    );
    // Lengths up to that of the dimension.
    refuses(
        "graph @0 (%n) -> (%y) { %n: int32[2] %x: float32[2,5] = const splat 1.5 %y: float32[2,5] = REVERSE_SEQUENCE(%x, %n) {seq_dim = 1, batch_dim = 0} }",
        &[5, 0],
        &[&[0, 6], &[-1, 2], &[i32::MAX, 0], &[i32::MIN, 1]],
        Status::IndexOutOfRange,
    );
    // Negative segments are dropped.
    refuses(
        "graph @0 (%i) -> (%y) { %i: int32[2] %x: float32[2,3] = const splat 2.0 %n: int32[] = const [5] %y: float32[5,3] = UNSORTED_SEGMENT_SUM(%x, %i, %n) }",
        &[4, -1],
        &[&[0, 5], &[i32::MAX, 0]],
        Status::IndexOutOfRange,
    );
}

/// Boxes that do not fit are moved (gather) or cut (scatter), whatever the numbers are.
#[test]
fn starts_of_boxes_may_be_anything() {
    let gather = "graph @0 (%i) -> (%y) { %i: int32[2,1] %x: int32[4] = const [1, 2, 3, 4]
        %y: int32[2,2] = STABLEHLO_GATHER(%x, %i) {offset_dims = [1], collapsed_slice_dims = [], start_index_map = [0], index_vector_dim = 1, slice_sizes = [2]} }";
    let scatter = "graph @0 (%i) -> (%y) { %i: int32[2,1] %x: int32[4] = const [1, 2, 3, 4] %u: int32[2,2] = const [10, 20, 30, 40]
        %y: int32[4] = STABLEHLO_SCATTER(%x, %i, %u) {update_window_dims = [1], inserted_window_dims = [], scatter_dims_to_operand_dims = [0],
        index_vector_dim = 1, update_computation_subgraph_index = @1} }
        graph @1 (%a, %b) -> (%c) { %a: int32[] %b: int32[] %c: int32[] = STABLEHLO_ADD(%a, %b) }";
    let cases: [(&[i32], &[i32], &[i32]); 3] = [
        (&[1, 2], &[2, 3, 3, 4], &[1, 12, 53, 44]),
        (&[3, -1], &[3, 4, 1, 2], &[41, 2, 3, 14]),
        (&[i32::MAX, i32::MIN], &[3, 4, 1, 2], &[1, 2, 3, 4]),
    ];
    for (starts, boxes, sums) in cases {
        for (text, wanted) in [(gather, boxes), (scatter, sums)] {
            for got in run(&model(text), &[i32s(starts)]) {
                assert_eq!(got, Ok(vec![i32s(wanted)]), "{starts:?}\n{text}");
            }
        }
    }
}

/// What is chosen at run time may be fewer than a later operator asks for.
#[test]
fn indices_beyond_an_open_size_end_the_run() {
    let chosen = "%i: int32[4] %zero: int32[] = const [0] %m: bool[4] = GREATER(%i, %zero) %p: int64[4,1] = WHERE(%m) %x: float32[4] = const [1.5, 2.5, 3.5, 0.5]
        %r: float32[4] = GATHER_ND(%x, %p)";
    let text = format!("graph @0 (%i) -> (%y) {{ {chosen} %k: int32[1] = const [2] %y: float32[1] = GATHER(%r, %k) {{axis = 0}} }}");
    refuses(&text, &[1, 0, 1, 1], &[&[1, 0, 0, 1], &[0, 0, 0, 0]], Status::IndexOutOfRange);
    let text = format!("graph @0 (%i) -> (%v, %j) {{ {chosen} %k: int32[] = const [3] %v: float32[3], %j: int32[3] = TOPK_V2(%r, %k) }}");
    refuses(&text, &[0, 1, 1, 1], &[&[1, 0, 0, 1], &[0, 0, 0, 0]], Status::IndexOutOfRange);
}

#[test]
fn indices_of_slices_outside_their_axis_end_the_run() {
    let text = "graph @0 (%i) -> (%y) { %i: int32[1] %one: int32[1] = const [1] %e: int32[1] = ADD(%i, %one) %x: float32[5,3] = const splat 1.5
        %y: float32[3] = STRIDED_SLICE(%x, %i, %e, %one) {shrink_axis_mask = 1, begin_mask = 0, end_mask = 0, ellipsis_mask = 0, new_axis_mask = 0} }";
    refuses(text, &[4], &[&[5], &[-6], &[i32::MAX], &[i32::MIN]], Status::IndexOutOfRange);
    refuses(text, &[-5], &[&[7]], Status::IndexOutOfRange);
}

/// A pooled value's position must lie in its window's image.
#[test]
fn positions_outside_their_image_end_the_run() {
    let options = "01000000 02000000 02000000 02000000 02000000 00000000".replace(' ', "");
    let text = format!(
        "graph @0 (%i) -> (%y) {{ %i: int32[4] %f: float32[4] = CAST(%i) {{in_data_type = INT32, out_data_type = FLOAT32}} %s: int32[4] = const [1, 2, 2, 1]
        %p: float32[1,2,2,1] = RESHAPE(%f, %s) %x: float32[1,2,2,1] = const splat 1.5
        %y: float32[1,4,4,1] = CUSTOM(%x, %p) {{custom_code = \"MaxUnpooling2D\", custom_options = hex \"{options}\"}} }}"
    );
    refuses(&text, &[0, 1, 2, 3], &[&[0, 1, 2, 1000], &[-7, 1, 2, 3], &[0, i32::MAX, 0, 0]], Status::IndexOutOfRange);
}

#[test]
fn sizes_that_do_not_fit_end_the_run() {
    let text = "graph @0 (%n) -> (%y) { %n: int32[1] %x: float32[7] = const splat 1.5 %b: int32[1] = const [2] %y: float32[7] = SLICE(%x, %b, %n) }";
    refuses(text, &[5], &[&[6], &[-2], &[i32::MAX]], Status::IndexOutOfRange);
    let text = "graph @0 (%k) -> (%v, %i) { %k: int32[] %x: float32[4] = const [1.0, 3.0, 2.0, 0.0] %v: float32[4], %i: int32[4] = TOPK_V2(%x, %k) }";
    refuses(text, &[3], &[&[5], &[-1]], Status::IndexOutOfRange);
    let text = "graph @0 (%i) -> (%y) { %i: int32[3] %x: float32[3,2] = const splat 1.5 %y: float32[3,2] = SEGMENT_SUM(%x, %i) }";
    refuses(text, &[0, 1, 1], &[&[0, 2, 2], &[1, 1, 2], &[0, 0, -1]], Status::IndexOutOfRange);
}

#[test]
fn integer_divisors_of_zero_end_the_run() {
    for op in ["DIV", "FLOOR_DIV", "FLOOR_MOD"] {
        let text = format!("graph @0 (%d) -> (%y) {{ %d: int32[3] %x: int32[3] = const [7, -7, 9] %y: int32[3] = {op}(%x, %d) }}");
        refuses(&text, &[2, -3, 1], &[&[1, 0, 1], &[0, 0, 0]], Status::InvalidValue);
    }
}

/// Compiled code at every level against the evaluator.
fn agrees(text: &str, inputs: &[Vec<f32>]) {
    let m = model(text);
    let graph = &m.graphs[0];
    let values: Vec<Value> = inputs.iter().zip(&graph.inputs).map(|(v, t)| Value::new(graph.ty(*t).clone(), v.clone())).collect();
    let wanted = Evaluator::new(&m).run(&values).unwrap();
    let bytes: Vec<Vec<u8>> = inputs.iter().map(|v| f32s(v.iter().copied())).collect();
    for got in run(&m, &bytes) {
        let got = got.unwrap();
        for (g, w) in got.iter().zip(&wanted) {
            let got: Vec<f32> = g.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            let close = got.iter().zip(w.elements::<f32>().iter()).all(|(a, b)| a == b || (a - b).abs() <= 1e-5 * b.abs().max(1.0));
            assert!(close, "{got:?} for {:?}\n{text}", w.elements::<f32>());
        }
    }
}

fn wave(n: usize, step: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * step).sin() * 3.0).collect()
}

#[test]
fn pooling_with_positions_and_back() {
    // SAME (1), strides 2 and 2, filter 3 by 2, no activation.
    let options = "01000000 02000000 02000000 03000000 02000000 00000000".replace(' ', "");
    for channels in [1, 5, 33] {
        let text = format!(
            "graph @0 (%x) -> (%v, %p) {{ %x: float32[2,5,6,{channels}] %v: float32[2,3,3,{channels}], %p: float32[2,3,3,{channels}] =
            CUSTOM(%x) {{custom_code = \"MaxPoolingWithArgmax2D\", custom_options = hex \"{options}\"}} }}"
        );
        agrees(&text, &[wave(60 * channels, 1.7)]);
        let text = format!(
            "graph @0 (%x, %p) -> (%y) {{ %x: float32[2,3,3,{channels}] %p: float32[2,3,3,{channels}] %y: float32[2,6,6,{channels}] =
            CUSTOM(%x, %p) {{custom_code = \"MaxUnpooling2D\", custom_options = hex \"{options}\"}} }}"
        );
        let places = (0..18 * channels).map(|i| (i * 7 % 6) as f32).collect();
        agrees(&text, &[wave(18 * channels, 0.9), places]);
    }
}

#[test]
fn bilinear_samples_inside_and_outside() {
    for channels in [1, 4, 19] {
        let text = format!(
            "graph @0 (%x, %w) -> (%y) {{ %x: float32[2,4,5,{channels}] %w: float32[2,6,2] %y: float32[2,6,{channels}] =
            CUSTOM(%x, %w) {{custom_code = \"Resampler\"}} }}"
        );
        agrees(&text, &[wave(40 * channels, 0.7), wave(24, 2.1).iter().map(|v| v * 2.5).collect()]);
    }
}
