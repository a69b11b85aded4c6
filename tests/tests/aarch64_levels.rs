//! AArch64 libraries of several CPU levels: on each processor the best level that it can run, and right answers from all of them.

use anyhow::Result;
use tflc::artifact::{Library, Name, Weights};
use tflc::cli::HostTensor;
use tflc::driver;
use tflc::ir::GraphId;
use tflc::target::{ArmLevel, Cpu, Target};
use tflc_tests::golden::{Golden, root};
use tflc_tests::model_runner::{Machine, Runner};

/// Runs the shipped int8 model, compiled for these levels, on a processor, and compares with LiteRT; `None` where there is no emulator.
fn judge(levels: &[ArmLevel], processor: &'static str) -> Option<Result<()>> {
    let runner = match Runner::new(Machine::Aarch64(processor)) {
        Ok(runner) => runner,
        Err(e) => {
            assert!(std::env::var_os("TFLC_REQUIRE_ALL").is_none(), "{e:#}");
            eprintln!("not run: {e:#}");
            return None;
        }
    };
    let path = root().join("tests/models/digits/digits_int8.tflite");
    let targets: Vec<Target> = levels.iter().map(|&l| Target::new(Cpu::Aarch64(l))).collect();
    let model = driver::load(&path).expect("is valid");
    let golden = Golden::read(&path, &model).expect("has answers");
    let name = Name::from_stem("digits");
    let library = driver::levels(&model, GraphId(0), &targets).and_then(|l| Library::new(name, &l, Weights::Embedded)).expect("compiles");
    let inputs: Vec<Vec<u8>> = golden.inputs.iter().map(|t| t.data.clone()).collect();
    let answers: Vec<&HostTensor> = golden.outputs.iter().map(|o| &o.0).collect();
    let sizes: Vec<usize> = answers.iter().map(|t| t.data.len()).collect();
    Some(runner.run(&library, &inputs, &sizes, false).and_then(|outputs| {
        let tensors = outputs.into_iter().zip(answers).map(|(data, t)| HostTensor::new(t.dtype, &t.shape, data));
        golden.check(&tensors.collect::<Result<Vec<_>>>()?)
    }))
}

#[test]
fn a_library_of_three_levels_runs_on_every_processor() {
    for processor in ["cortex-a53", "neoverse-n1", "max"] {
        if let Some(Err(e)) = judge(&[ArmLevel::Baseline, ArmLevel::Dotprod, ArmLevel::I8mm], processor) {
            panic!("{processor}: {e:#}");
        }
    }
}

/// The levels are really different: a processor without their instructions stops at the first.
#[test]
fn higher_levels_need_their_processor() {
    for (level, without, with) in [(ArmLevel::Dotprod, "cortex-a53", "neoverse-n1"), (ArmLevel::I8mm, "neoverse-n1", "max")] {
        if let Some(Err(e)) = judge(&[level], with) {
            panic!("{level:?} on {with}: {e:#}");
        }
        assert!(!matches!(judge(&[level], without), Some(Ok(()))), "{level:?} runs on {without}");
    }
}
