//! Text of bindings for interfaces with everything in them.

use super::*;

fn interface() -> Interface {
    let tensor = |name: &str, dtype: &str, shape: &[usize], quantized| Tensor {
        name: name.into(),
        dtype: dtype.into(),
        shape: shape.to_vec(),
        bytes: shape.iter().product::<usize>(),
        quantized,
        open_axis: None,
    };
    Interface {
        name: "digits".into(),
        description: "Handwritten */ digits\nof two lines".into(),
        cpus: vec!["x86-64".into(), "x86-64-v3".into()],
        ports: Ports {
            inputs: vec![
                tensor("serving_default_image:0", "int8", &[1, 8, 8, 1], Some((0.0039, -128))),
                tensor("match", "float32", &[], None),
            ],
            outputs: vec![tensor("StatefulPartitionedCall:0", "int8", &[1, 10], Some((0.5, 3)))],
        },
        signatures: vec![
            Signature {
                key: "serving_default".into(),
                inputs: vec![("match".into(), 1), ("image".into(), 0)],
                outputs: vec![("scores".into(), 0)],
                own: None,
            },
            Signature {
                key: "embed it".into(),
                inputs: vec![("word".into(), 0)],
                outputs: vec![("near".into(), 0)],
                own: Some(Ports {
                    inputs: vec![tensor("embed_word:0", "int32", &[1], None)],
                    outputs: vec![Tensor { open_axis: Some(0), ..tensor("places", "float32", &[5, 2], None) }],
                }),
            },
        ],
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
        "#define DIGITS_EMBED_IT \"embed it\"",
        "#define DIGITS_EMBED_IT_INPUT_WORD 0u",
        "#define DIGITS_EMBED_IT_OUTPUT_0_BYTES 10u",
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
        "    pub type Input0 = [i32; 1];",
        "    pub fn embed_it(&mut self, word: &embed_it::Input0) -> Result<embed_it::Output0, ::tflc_runtime::Status> {",
        "        self.embed_it_into(word, &mut out0, None)?;",
        "        let model = descriptor()?.signature(\"embed it\").ok_or(::tflc_runtime::Status::WrongAbi)?;",
        "    pub fn embed_it_output0_shape(&self) -> [usize; 2] {",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

#[test]
fn elements_without_a_rust_type_are_refused_by_name() {
    let mut i = interface();
    i.ports.inputs[1].dtype = "int4".into();
    let e = module(&i).expect_err("int4");
    assert!(e.to_string().contains("\"match\"") && e.to_string().contains("int4"), "{e}");
}
