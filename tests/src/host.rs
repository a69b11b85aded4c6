//! What this machine runs.

use tflc::jit::host_target;
use tflc::target::{Cpu, X86Level};

/// The CPU levels that this machine runs, the least demanding first. `TFLC_LEVEL=x86-64-v3` leaves only that one.
///
/// # Panics
/// Where the environment names a level that this machine does not run.
pub fn levels() -> Vec<Cpu> {
    let all = [X86Level::Baseline, X86Level::V3, X86Level::V4, X86Level::V4Vnni, X86Level::V4Amx];
    let mut here = match host_target().cpu {
        Cpu::X86(best) => all.into_iter().filter(|l| *l <= best).map(Cpu::X86).collect(),
        cpu => vec![cpu],
    };
    if let Ok(name) = std::env::var("TFLC_LEVEL") {
        here.retain(|cpu| cpu.to_string() == name);
        assert!(!here.is_empty(), "this machine has no level {name}");
    }
    here
}
