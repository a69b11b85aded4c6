//! Compiles the digit classifier for this program; it picks a CPU level when it runs.

fn main() {
    tflc_build::Builder::new("../../tests/models/digits/digits_int8.tflite")
        .name("digits")
        .cpu("baseline")
        .cpu("x86-64-v3")
        .cpu("+dotprod")
        .compile_or_exit();
}
