//! Custom operators of the caller: Rust functions that compiled code calls.

use tflc::error::{CompileError, Unsupported};
use tflc::ir::{Model, TensorType, parse};
use tflc::jit::{CustomInput, CustomOperator, CustomOutput, JitError, Options};

/// The rows of an operand several times; the first byte of the options says how often.
struct Repeat;

impl CustomOperator for Repeat {
    fn infer(&self, inputs: &[TensorType], options: &[u8]) -> Result<Vec<TensorType>, String> {
        let [x] = inputs else { return Err(format!("{} operands", inputs.len())) };
        let mut ty = x.clone();
        *ty.shape.first_mut().ok_or("a scalar")? *= usize::from(*options.first().ok_or("no options")?);
        Ok(vec![ty])
    }

    fn run(&self, inputs: &[CustomInput<'_>], outputs: &mut [CustomOutput<'_>], options: &[u8]) -> Result<(), String> {
        if inputs[0].bytes.iter().all(|b| *b == 0) {
            return Err("nothing but zeros".to_string());
        }
        if inputs[0].bytes[0] == 255 {
            panic!("a panic stays inside");
        }
        for part in outputs[0].bytes.chunks_exact_mut(inputs[0].bytes.len()) {
            part.copy_from_slice(inputs[0].bytes);
        }
        assert_eq!(outputs[0].ty.shape[0], inputs[0].ty.shape[0] * usize::from(options[0]));
        Ok(())
    }
}

/// The file's idea of the result's shape is wrong; inference puts it right, here and behind.
fn model() -> Model {
    let text = "graph @0 (%x) -> (%y) {
      %x: int32[2,3]
      %a: int32[2,3] = NEG(%x) at 0:0
      %b: int32[1,3] = CUSTOM(%a) {custom_code = \"Repeat\", custom_options = hex \"03\"} at 0:1
      %c: int32[1,3] = CUSTOM(%b) {custom_code = \"Repeat\", custom_options = hex \"02\"} at 0:2
      %y: int32[1,3] = NEG(%c) at 0:3
    }";
    parse(text).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn registered_functions_are_called_and_shape_what_follows() {
    let mut compiled = Options::new().custom("Repeat", Repeat).compile(model()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(compiled.outputs()[0].ty.shape, [12, 3]);
    let x: Vec<u8> = (2..=7).flat_map(i32::to_le_bytes).collect();
    let mut y = vec![0; 144];
    compiled.run(&[&x], &mut [&mut y]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(y, x.repeat(6));
    // Another instance shares code and function.
    let mut other = compiled.instance().unwrap_or_else(|e| panic!("{e}"));
    let mut z = vec![0; 144];
    other.run(&[&x], &mut [&mut z]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(y, z);
}

fn words(v: i32) -> Vec<u8> {
    [v; 6].into_iter().flat_map(i32::to_le_bytes).collect()
}

#[test]
fn errors_and_panics_of_a_function_end_the_run() {
    let mut compiled = Options::new().custom("Repeat", Repeat).compile(model()).unwrap_or_else(|e| panic!("{e}"));
    let mut y = vec![0; 144];
    let error = compiled.run(&[&words(0)], &mut [&mut y]);
    assert!(matches!(&error, Err(JitError::Custom { name, reason }) if name == "Repeat" && reason == "nothing but zeros"), "{error:?}");
    let error = compiled.run(&[&words(1)], &mut [&mut y]);
    assert!(matches!(&error, Err(JitError::Custom { reason, .. }) if reason == "it panicked"), "{error:?}");
    compiled.run(&[&words(2)], &mut [&mut y]).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_function_that_nobody_registered_is_named() {
    let error = Options::new().compile(model()).err();
    let Some(JitError::Compile(CompileError::Unsupported(list))) = &error else { panic!("{error:?}") };
    assert!(list.iter().all(|(_, u)| *u == Unsupported::CustomOperator("Repeat".into())) && list.len() == 2, "{list:?}");
}
