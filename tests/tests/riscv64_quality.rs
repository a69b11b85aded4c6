//! What the inner loops of RISC-V without vectors consist of: multiply-adds, loads, and little else; no spills.

use tflc::backend::cranelift::vcode_text;
use tflc::target::{Cpu, RiscvLevel, Target};
use tflc_templates::cpu::table::{Dtype, ROWS, Row, Shape};

/// Instructions of the block with the most of an operator.
fn hottest(text: &str, operator: &str) -> Vec<String> {
    let mut blocks: Vec<Vec<&str>> = vec![vec![]];
    for line in text.lines() {
        match line.strip_prefix("  ") {
            Some(instruction) => blocks.last_mut().expect("one at least").push(instruction.trim()),
            None => blocks.push(vec![]),
        }
    }
    let count = |b: &[&str]| b.iter().filter(|i| i.split_whitespace().next() == Some(operator)).count();
    let best = blocks.iter().max_by_key(|b| count(b)).expect("one at least");
    best.iter().map(ToString::to_string).collect()
}

fn gemm(row: &&Row) -> bool {
    matches!(row.shape, Shape::Gemm(m, _, k) if m > 1 && k >= 64)
}

/// Of the inner loop of each matrix product: name, multiply-adds, loads, accesses to the stack, all instructions.
fn loops(dtype: Dtype, operator: &str) -> Vec<(String, usize, usize, usize, usize)> {
    let target = Target::new(Cpu::Riscv64(RiscvLevel::Baseline));
    let mut all = vec![];
    for row in ROWS.iter().filter(|r| r.dtype == dtype).filter(gemm) {
        let mut kernel = row.kernel(&target.caps());
        tflc_kir::optimize(&mut kernel);
        let body = hottest(&vcode_text(&kernel, &target).unwrap_or_else(|e| panic!("{e}")), operator);
        let of = |names: &[&str]| body.iter().filter(|i| i.split_whitespace().next().is_some_and(|m| names.contains(&m))).count();
        let (multiplies, loads) = (of(&[operator]), of(&["flw", "lw", "lb", "lbu", "lh"]));
        let stack = body.iter().filter(|i| i.contains("(sp)") || i.contains("(slot)")).count();
        println!("{} {:?}: {multiplies} {operator}, {loads} loads, {stack} of the stack, {} in all", kernel.name, row.shape, body.len());
        all.push((kernel.name.clone(), multiplies, loads, stack, body.len()));
    }
    assert!(!all.is_empty());
    all
}

#[test]
fn f32_gemm_loops_are_multiply_adds() {
    for (name, multiplies, loads, stack, all) in loops(Dtype::F32, "fmadd.s") {
        assert!(stack == 0, "{name}: {stack} accesses to the stack");
        assert!(2 * loads <= multiplies, "{name}: {loads} loads for {multiplies} multiply-adds");
        assert!(all <= multiplies + loads + 8, "{name}: {all} instructions");
    }
}

/// A product of bytes is a multiplication and an addition; general registers also hold addresses.
#[test]
fn int8_gemm_loops_are_mostly_multiplications_and_additions() {
    for (name, multiplies, loads, stack, all) in loops(Dtype::Qs8, "mulw") {
        assert!(10 * stack <= 3 * multiplies, "{name}: {stack} accesses to the stack for {multiplies} products");
        assert!(2 * loads <= multiplies && all <= 4 * multiplies, "{name}: {loads} loads, {all} instructions for {multiplies} products");
    }
}
