//! Compiles the digit classifier with its defaults.

fn main() {
    tflc_build::compile_model!("../../tests/models/digits/digits_int8.tflite");
}
