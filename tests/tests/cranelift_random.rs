//! Random kernels through the Cranelift backend, compared with the kir interpreter byte by byte.
//!
//! `TFLC_RANDOM_KERNELS=100000` makes it longer, `TFLC_RANDOM_SEED=7` starts elsewhere.

use tflc::backend::cranelift::Compiler;
use tflc::target::{ArmLevel, Cpu, Target, X86Level};
use tflc_kir::generate::{self, CaseArg, Options};
use tflc_tests::kernel_runner::{Case, Entry, Machine, Runner, Slot};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn check(cpu: Cpu, machine: Machine, count: u64) {
    let target = Target::new(cpu);
    let caps = target.caps();
    let mut compiler = Compiler::new(&target).expect("target");
    let runner = Runner::find(machine);
    let first = setting("TFLC_RANDOM_SEED", 0);
    let seeds: Vec<u64> = (first..first + setting("TFLC_RANDOM_KERNELS", count)).collect();
    for part in seeds.chunks(200) {
        let mut cases = vec![];
        for &seed in part {
            // Small and large kernels in turn.
            let case = generate::generate(seed, &caps, &Options { size: 10 + seed as u32 % 8 * 20, ..Options::default() });
            let code = compiler.compile(&case.kernel).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{}", tflc_kir::print(&case.kernel)));
            let slots = case.args.iter().map(|a| match a {
                CaseArg::Buffer(i) => Slot::Buffer(*i, 0),
                CaseArg::Scalar(v) => Slot::Value(v.slot()),
            });
            let call = Case {
                code: code.bytes,
                buffers: case.buffers.iter().map(|b| b.bytes.clone()).collect(),
                slots: slots.collect(),
                entry: Entry::Kernel(case.begin..case.end),
            };
            cases.push((seed, case, call));
        }
        let Some(runner) = &runner else { continue };
        let calls: Vec<Case> = cases.iter().map(|c| c.2.clone()).collect();
        let outcomes = runner.run(&calls).unwrap_or_else(|e| panic!("seeds from {}: {e:#}", part[0]));
        for ((seed, case, _), got) in cases.iter().zip(outcomes) {
            let (status, buffers) = case.interpret().expect("generated kernels do not trap");
            let same = status == got.status && buffers == got.buffers;
            assert!(same, "seed {seed} on {cpu}: {}\n{}", difference(&buffers, &got.buffers), tflc_kir::print(&case.kernel));
        }
    }
}

fn difference(expected: &[Vec<u8>], got: &[Vec<u8>]) -> String {
    for (i, (e, g)) in expected.iter().zip(got).enumerate() {
        if let Some(at) = e.iter().zip(g).position(|(x, y)| x != y) {
            let end = (at + 16).min(e.len());
            return format!("buffer {i} from byte {at}: {:02x?}, not {:02x?}", &g[at..end], &e[at..end]);
        }
    }
    "the status".into()
}

#[test]
fn random_kernels_on_baseline_x86() {
    check(Cpu::X86(X86Level::Baseline), Machine::Native, 600);
}

#[test]
fn random_kernels_on_aarch64() {
    check(Cpu::Aarch64(ArmLevel::Baseline), Machine::Aarch64, 300);
}

#[test]
fn random_kernels_on_aarch64_with_dotprod() {
    check(Cpu::Aarch64(ArmLevel::Dotprod), Machine::Aarch64, 300);
}

#[test]
fn random_kernels_on_aarch64_with_i8mm() {
    check(Cpu::Aarch64(ArmLevel::I8mm), Machine::Aarch64, 300);
}

#[test]
fn random_kernels_on_riscv64() {
    check(Cpu::Riscv64, Machine::Riscv64, 300);
}
