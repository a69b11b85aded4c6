//! Text of bindings for interfaces with everything in them.

use super::*;

fn interface() -> Interface {
    let tensor = |name: &str, dtype: &str, shape: &[usize], quantized| Tensor {
        name: name.into(),
        dtype: dtype.into(),
        shape: shape.to_vec(),
        bytes: shape.iter().product::<usize>(),
        quantized,
    };
    Interface {
        name: "digits".into(),
        description: "Handwritten */ digits\nof two lines".into(),
        cpus: vec!["x86-64".into(), "x86-64-v3".into()],
        inputs: vec![tensor("serving_default_image:0", "int8", &[1, 8, 8, 1], Some((0.0039, -128))), tensor("match", "float32", &[], None)],
        outputs: vec![tensor("StatefulPartitionedCall:0", "int8", &[1, 10], Some((0.5, 3)))],
        signatures: vec![Signature {
            key: "serving_default".into(),
            inputs: vec![("match".into(), 1), ("image".into(), 0)],
            outputs: vec![("scores".into(), 0)],
        }],
        arena_bytes: 640,
        state_bytes: 0,
        split_weights: None,
    }
}

#[test]
fn the_header_has_sizes_positions_and_quantisation() {
    let text = header(&interface());
    for line in [
        "#define DIGITS_ARENA_BYTES 640u",
        "#define DIGITS_INPUT_SERVING_DEFAULT_IMAGE_0 0u",
        "#define DIGITS_INPUT_MATCH 1u",
        "#define DIGITS_OUTPUT_0_SCALE 5e-1f",
        "#define DIGITS_OUTPUT_0_ZERO_POINT (3)",
        "const tflc_model *digits_model(void);",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert_eq!(text.matches("*/ digits").count(), 0, "{text}");
}

#[test]
fn the_module_has_types_and_methods_by_signature() {
    let text = module(&interface()).expect("every type is Rust's");
    for line in [
        "pub type Input0 = [[[[i8; 1]; 8]; 8]; 1];",
        "pub type Input1 = f32;",
        "pub type Output0 = [[i8; 10]; 1];",
        "    pub fn run(&mut self, input0: &Input0, input1: &Input1) -> Result<Output0, ::tflc_runtime::Status> {",
        "    pub fn serving_default(&mut self, match_: &Input1, image: &Input0) -> Result<Output0, ::tflc_runtime::Status> {",
        "        self.run_into(image, match_, &mut out0, None)?;",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

#[test]
fn elements_without_a_rust_type_are_refused_by_name() {
    let mut i = interface();
    i.inputs[1].dtype = "int4".into();
    let e = module(&i).expect_err("int4");
    assert!(e.to_string().contains("\"match\"") && e.to_string().contains("int4"), "{e}");
}
