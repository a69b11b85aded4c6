//! What this machine runs.

use tflc::jit::{host_target, runs_here};
use tflc::target::{Cpu, Target, X86Level};

/// The CPU levels that this machine runs, the least demanding first. `TFLC_LEVEL=x86-64-v3` leaves only that one.
///
/// # Panics
/// Where the environment names a level that this machine does not run.
pub fn levels() -> Vec<Cpu> {
    let host = host_target();
    let mut here: Vec<Cpu> = match host.cpu {
        Cpu::X86(_) => X86Level::ALL.map(Cpu::X86).into_iter().filter(|cpu| runs_here(&Target::on(*cpu, host.os))).collect(),
        cpu => vec![cpu],
    };
    if let Ok(name) = std::env::var("TFLC_LEVEL") {
        here.retain(|cpu| cpu.to_string() == name);
        assert!(!here.is_empty(), "this machine has no level {name}");
    }
    here
}
