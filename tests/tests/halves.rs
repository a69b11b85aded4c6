//! Models of floats whose products are computed in halves (`--precision f16`), run under qemu and compared with LiteRT's answers in f32.
//!
//! The bound is that of random rounding errors (Higham and Mary 2019, "A new approach to probabilistic rounding error analysis"): a sum of K products of numbers
//! rounded to u = 2^-11 of themselves has an error of about `u sqrt(K / 6 + 1)` of its size, where partial sums grow evenly; layers add theirs in squares.
//! Outputs may be four times that far from LiteRT's, in the Euclidean norm: sums cancel, and functions steepen what they are given. What is below the smallest
//! normal half, 2^-14, counts as that much: the logistic function turns small errors of large numbers into large ones of tiny numbers.
//!
//! Models without such a layer must give LiteRT's answers as they do without the option. Of outputs that are not floats, in models that have such layers,
//! nothing is said: the index of the largest value may be another.

use std::path::{Path, PathBuf};
use tflc::backend::compile_program;
use tflc::cli::HostTensor;
use tflc::driver;
use tflc::ir::{DType, Model, OpKind};
use tflc::target::{ArmLevel, Cpu, Precision, Target};
use tflc_tests::compiled::{invoke, lowered, outputs, supported};
use tflc_tests::golden::{Golden, corpus, models, root};
use tflc_tests::kernel_runner::{Case, Machine, Outcome, Runner};

/// Terms of each sum of a layer of floats with constant weights, one entry a layer, of a model after all passes; depthwise convolutions stay in f32.
fn depths(model: &Model) -> Vec<usize> {
    let graph = &model.graphs[0];
    let layers = [OpKind::Conv2d, OpKind::FullyConnected, OpKind::TransposeConv];
    let depth = |node: &tflc::ir::Node| {
        let w = node.inputs.get(1).copied().flatten()?;
        let data = if node.op == OpKind::TransposeConv { node.inputs.get(2) } else { node.inputs.first() }.copied().flatten()?;
        let shape = &graph.ty(w).shape;
        let constant = graph.tensor(w).data.is_some();
        let float = constant && graph.ty(data).dtype == DType::Float32 && matches!(graph.ty(w).dtype, DType::Float32 | DType::Float16);
        (layers.contains(&node.op) && float && shape[0] > 0).then(|| graph.ty(w).elements() / shape[0])
    };
    graph.nodes.iter().filter_map(depth).collect()
}

/// How far outputs may be, as a share of their norm.
fn bound(depths: &[usize]) -> f64 {
    let squares: f64 = depths.iter().map(|&k| k as f64 / 6.0 + 1.0).sum();
    4.0 * squares.sqrt() / 2048.0
}

/// Distance of two arrays of floats as a share of the second one's norm, which is at least that of as many smallest normal halves.
fn share(got: &[u8], want: &[u8]) -> f64 {
    let floats = |b: &[u8]| b.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect::<Vec<_>>();
    let (got, want) = (floats(got), floats(want));
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let apart = norm(&mut got.iter().zip(&want).map(|(g, w)| g - w));
    apart / norm(&mut want.iter().copied()).max(norm(&mut want.iter().map(|_| 2f64.powi(-14))))
}

/// Whether code has a multiply-add of eight halves: `fmla v.8h, v.8h, v.8h`.
fn multiplies_halves(code: &[u8]) -> bool {
    code.as_chunks().0.iter().any(|w| u32::from_le_bytes(*w) & 0xFFE0_FC00 == 0x4E40_0C00)
}

struct Compiled {
    path: PathBuf,
    golden: Golden,
    program: tflc::lower::program::Program,
    case: Case,
    /// How far outputs may be; nothing where no layer computes in halves.
    bound: Option<f64>,
}

/// Compiles a model; `None` where the compiler refuses it.
fn compile(path: &Path, target: &Target) -> Option<Compiled> {
    let mut model = supported(driver::load(path)).expect("loads")?;
    let golden = Golden::read(path, &model).expect("answers");
    let program = lowered(&mut model, target).unwrap_or_else(|e| panic!("{}: {e}", path.display()))?;
    let depths = depths(&model);
    let image = compile_program(&program, target).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(depths.is_empty() || multiplies_halves(&image.bytes), "{}: no arithmetic on halves", path.display());
    let case = invoke(&program, image, golden.inputs.iter().map(|v| v.data.clone())).expect("an entry");
    let bound = (!depths.is_empty()).then(|| bound(&depths));
    Some(Compiled { path: path.to_path_buf(), golden, program, case, bound })
}

/// Whether a model's answers are near enough; how far they are, in words.
fn judge(model: &Compiled, outcome: &Outcome) -> (bool, String) {
    let got = outputs(&model.program, outcome);
    let Some(bound) = model.bound else {
        let tensors = got.into_iter().map(|(ty, data)| HostTensor::new(ty.dtype, &ty.shape, data)).collect::<Result<Vec<_>, _>>();
        return match tensors.and_then(|t| model.golden.check(&t)) {
            Ok(()) => (true, "as without halves".into()),
            Err(e) => (false, format!("{e:#}")),
        };
    };
    let floats = got.into_iter().zip(&model.golden.outputs).filter(|(got, _)| got.0.dtype == DType::Float32);
    let shares: Vec<f64> = floats.map(|(got, want)| share(&got.1, &want.0.data)).collect();
    let worst = shares.iter().copied().fold(0.0, f64::max);
    let all: Vec<String> = shares.iter().map(|s| format!("{s:.2e}")).collect();
    (worst <= bound, format!("{} of {bound:.2e}", all.join(", ")))
}

fn all_near(folder: &Path, least: usize) {
    if let Some((near, far)) = compare(&models(folder)) {
        assert!(far.is_empty(), "{} too far:\n{}", far.len(), far.join("\n"));
        assert!(near >= least, "only {near} near");
    }
}

/// How many models are near, and those that are not; `None` where there is no emulator.
fn compare(paths: &[PathBuf]) -> Option<(usize, Vec<String>)> {
    let target = Target::new(Cpu::Aarch64(ArmLevel::Fp16)).with_precision(Precision::F16).expect("has it");
    let runner = Runner::find(Machine::Aarch64)?;
    let (mut near, mut far) = (0, vec![]);
    for part in paths.chunks(32) {
        let compiled: Vec<Compiled> = part.iter().filter_map(|p| compile(p, &target)).collect();
        let cases: Vec<Case> = compiled.iter().map(|m| m.case.clone()).collect();
        for (model, outcome) in compiled.iter().zip(runner.run(&cases).unwrap_or_else(|e| panic!("{e:#}"))) {
            assert_eq!(outcome.status, 0, "{}", model.path.display());
            let (is_near, how) = judge(model, &outcome);
            println!("{}: {how}", model.path.display());
            if is_near { near += 1 } else { far.push(format!("{}: {how}", model.path.display())) }
        }
    }
    Some((near, far))
}

#[test]
fn shipped_models_in_halves_are_near() {
    all_near(&root().join("tests/models/digits"), 2);
}

#[test]
fn operator_models_in_halves_are_near() {
    all_near(&root().join("tests/models/ops"), 580);
}

#[test]
fn corpus_models_in_halves_are_near() {
    let Some((paths, whole)) = corpus() else { return };
    if let Some((near, far)) = compare(&paths) {
        assert!(near >= CORPUS_NEAR || !whole, "only {near} near; too far:\n{}", far.join("\n"));
    }
}

/// Models of the corpus that are near, at least. Four are not: they make much of small changes, in f32 too (`compiler/docs/numerics.md`).
const CORPUS_NEAR: usize = 38;

/// The code needs the processor that its level names, and says so where the level is too low.
#[test]
fn a_level_without_halves_refuses_them() {
    for cpu in Target::CPU_NAMES.iter().map(|row| row.1) {
        match Target::new(cpu).with_precision(Precision::F16) {
            Ok(target) => assert!(cpu.has_f16() && target.caps().f16, "{cpu}"),
            Err(e) => {
                assert!(!cpu.has_f16(), "{cpu}");
                let text = e.to_string();
                assert!(text.contains(&cpu.to_string()) && text.contains("aarch64+fp16, aarch64+dotprod, aarch64+i8mm"), "{text}");
            }
        }
        assert!(!Target::new(cpu).caps().f16, "{cpu} without asking");
    }
}
