//! Every row of the kernel table compiles for every wide x86 level without allocator edits in innermost loops.

use tflc::backend::x86;
use tflc::target::{Cpu, Target, X86Level};
use tflc_templates::cpu::table::ROWS;

#[test]
fn innermost_loops_hold_no_allocator_edits() {
    let mut bad = vec![];
    for level in [X86Level::V3, X86Level::V3Vnni, X86Level::V4, X86Level::V4Vnni] {
        let caps = Target::new(Cpu::X86(level)).caps();
        for row in ROWS {
            let mut kernel = row.kernel(&caps);
            tflc_kir::optimize(&mut kernel);
            let (_, stats) = x86::compile_with_stats(&kernel, level).unwrap();
            if stats.inner_loop_edits > 0 {
                bad.push(format!("{level:?} {} @{}: {} edits", row.name(), kernel.name, stats.inner_loop_edits));
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
