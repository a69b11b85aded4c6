//! Static quality of AArch64 code: what the innermost loops of the kernel table consist of, and how fast `llvm-mca` thinks they are.
//!
//! Loops are found in the disassembly of the finished machine code. `cargo test -p tflc-tests --test aarch64_quality -- --nocapture` prints the table that
//! `compiler/docs/perf.md` quotes.

use anyhow::{Context, Result, bail, ensure};
use std::path::PathBuf;
use std::process::Command;
use tflc::backend::compile_kernel;
use tflc::target::{ArmLevel, Cpu, Precision, Target};
use tflc_templates::cpu::table::{Dtype, ROWS, Row, Shape};

/// An instruction as it is disassembled.
#[derive(Clone, Debug)]
struct Instruction {
    address: u64,
    mnemonic: String,
    operands: String,
}

impl Instruction {
    /// Where a branch goes.
    fn target(&self) -> Option<u64> {
        let branches = self.mnemonic.starts_with("b.") || ["b", "cbz", "cbnz", "tbz", "tbnz"].contains(&&*self.mnemonic);
        let last = self.operands.split([',', ' ']).rfind(|s| s.starts_with("0x"))?;
        branches.then(|| u64::from_str_radix(&last[2..], 16).ok())?
    }

    fn is_multiply(&self) -> bool {
        ["fmla", "sdot", "udot", "sudot", "usdot", "smmla", "usmmla"].contains(&&*self.mnemonic)
    }

    fn is_load(&self) -> bool {
        self.mnemonic.starts_with("ld")
    }

    fn touches_stack(&self) -> bool {
        self.operands.contains("[sp") || (self.mnemonic == "mov" && self.operands.starts_with('v'))
    }
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("tflc-quality-{}-{name}", std::process::id()))
}

fn disassemble(code: &[u8], name: &str) -> Result<Vec<Instruction>> {
    let path = temporary(name);
    std::fs::write(&path, code)?;
    let out = Command::new("aarch64-linux-gnu-objdump").args(["-D", "-b", "binary", "-m", "aarch64"]).arg(&path).output()?;
    std::fs::remove_file(&path)?;
    ensure!(out.status.success(), "objdump: {}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout)?;
    let parse = |line: &str| {
        let (address, rest) = line.split_once(":\t")?;
        let mut fields = rest.split('\t');
        let (_, mnemonic) = (fields.next()?, fields.next()?);
        let operands = fields.next().unwrap_or_default().split("  //").next().unwrap_or_default();
        let address = u64::from_str_radix(address.trim(), 16).ok()?;
        Some(Instruction { address, mnemonic: mnemonic.trim().to_string(), operands: operands.trim().to_string() })
    };
    Ok(text.lines().filter_map(parse).collect())
}

/// The innermost loop with most multiply-adds.
fn hottest_loop(all: &[Instruction]) -> Option<&[Instruction]> {
    let at = |address: u64| all.iter().position(|i| i.address == address);
    let back = all.iter().enumerate().filter_map(|(end, i)| Some((i.target().filter(|t| *t <= i.address).and_then(at)?, end)));
    let loops: Vec<(usize, usize)> = back.collect();
    let innermost = loops.iter().filter(|l| !loops.iter().any(|m| m != *l && m.0 >= l.0 && m.1 <= l.1));
    innermost.map(|&(start, end)| &all[start..=end]).max_by_key(|l| l.iter().filter(|i| i.is_multiply()).count())
}

/// Cycles that one pass through a loop takes, by `llvm-mca`.
fn cycles(body: &[Instruction], cpu: &str, name: &str) -> Result<f64> {
    let path = temporary(&format!("{name}-{cpu}.s"));
    let line = |i: &Instruction| match i.target() {
        // Where a branch goes does not matter to the model, and labels it does not know.
        Some(_) => format!("{} {}#0", i.mnemonic, i.operands.rsplit_once(' ').map_or(String::new(), |o| format!("{} ", o.0))),
        _ => format!("{} {}", i.mnemonic, i.operands),
    };
    let text: Vec<String> = body.iter().map(line).collect();
    std::fs::write(&path, text.join("\n") + "\n")?;
    let mca = ["llvm-mca-19", "llvm-mca"].into_iter().find(|m| Command::new(m).arg("--version").output().is_ok());
    let mca = mca.context("llvm-mca is not installed")?;
    let out = Command::new(mca)
        .args([
            "-mtriple=aarch64",
            &format!("-mcpu={cpu}"),
            "-mattr=+dotprod,+i8mm,+fullfp16",
            "-iterations=200",
            "-instruction-info=false",
        ])
        .args(["-resource-pressure=false"])
        .arg(&path)
        .output()?;
    let text = String::from_utf8(out.stdout)?;
    ensure!(out.status.success(), "{mca}: {}", String::from_utf8_lossy(&out.stderr));
    std::fs::remove_file(&path)?;
    let total = text.lines().find_map(|l| l.strip_prefix("Total Cycles:")).context("no cycles")?;
    Ok(total.trim().parse::<f64>()? / 200.0)
}

/// What a loop consists of.
struct Quality {
    name: String,
    multiplies: usize,
    loads: usize,
    others: usize,
    per_multiply: f64,
    bound_shares: Vec<(&'static str, f64)>,
}

/// Processors whose models `llvm-mca` has, with their multiply-adds of 128-bit vectors per cycle. Neoverse N1 stands for its sibling, the
/// Cortex-A76: under that name `llvm-mca` uses the model of a much older core.
const MODELS: [(&str, f64); 2] = [("neoverse-n1", 2.0), ("neoverse-v1", 4.0)];

fn measure(row: &Row, target: &Target) -> Result<Quality> {
    let mut kernel = row.kernel(&target.caps());
    tflc_kir::optimize(&mut kernel);
    let name = format!("{} {:?}", kernel.name, row.shape);
    let code = compile_kernel(&kernel, target)?;
    let all = disassemble(&code.bytes, &kernel.name)?;
    let body = hottest_loop(&all).context("no loop")?;
    if let Some(i) = body.iter().find(|i| i.touches_stack()) {
        bail!("{name}: `{} {}` in the inner loop", i.mnemonic, i.operands);
    }
    let multiplies = body.iter().filter(|i| i.is_multiply()).count();
    let loads = body.iter().filter(|i| i.is_load()).count();
    let others = body.len() - multiplies - loads;
    let bound_shares = MODELS
        .iter()
        .map(|(model, per_cycle)| Ok((*model, multiplies as f64 / per_cycle / cycles(body, model, &kernel.name)?)))
        .collect::<Result<_>>()?;
    let per_multiply = (multiplies + others) as f64 / multiplies as f64;
    Ok(Quality { name, multiplies, loads, others, per_multiply, bound_shares })
}

fn table(dtype: Dtype, cpu: Cpu, wanted: impl Fn(&Row) -> bool) -> Vec<Quality> {
    table_of(dtype, &Target::new(cpu), wanted)
}

fn table_of(dtype: Dtype, target: &Target, wanted: impl Fn(&Row) -> bool) -> Vec<Quality> {
    let all: Vec<Quality> =
        ROWS.iter().filter(|r| r.dtype == dtype && wanted(r)).map(|r| measure(r, target).unwrap_or_else(|e| panic!("{e:#}"))).collect();
    for q in &all {
        let shares: Vec<String> = q.bound_shares.iter().map(|(m, s)| format!("{m} {:.0} %", s * 100.0)).collect();
        println!("| {} | {} | {} | {} | {:.2} | {} |", q.name, q.multiplies, q.loads, q.others, q.per_multiply, shares.join(", "));
    }
    all
}

/// Whether the tools are here; a machine that must have them sets `TFLC_REQUIRE_ALL`.
fn tools() -> bool {
    let here = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    let all = here("aarch64-linux-gnu-objdump") && (here("llvm-mca") || here("llvm-mca-19"));
    assert!(all || std::env::var_os("TFLC_REQUIRE_ALL").is_none(), "aarch64-linux-gnu-objdump or llvm-mca is missing");
    if !all {
        eprintln!("not run: aarch64-linux-gnu-objdump or llvm-mca is not installed");
    }
    all
}

/// Matrix products of at least a tile of rows.
fn gemm(row: &Row) -> bool {
    matches!(row.shape, Shape::Gemm(m, _, _) if m > 1)
}

#[test]
fn f32_gemm_loops_are_multiply_adds() {
    if tools() {
        for q in table(Dtype::F32, Cpu::Aarch64(ArmLevel::Baseline), gemm) {
            assert!(q.per_multiply <= 1.15, "{}: {} instructions per fmla beyond loads", q.name, q.per_multiply);
            for (model, share) in q.bound_shares {
                assert!(share >= 0.85, "{}: {share:.2} of the throughput bound on {model}", q.name);
            }
        }
    }
}

/// A multiply-add does the work of two in f32; some of that goes into copying elements of A to all lanes, and into rounding them.
#[test]
fn f16_gemm_loops_are_faster_than_f32() {
    if tools() {
        let target = Target::new(Cpu::Aarch64(ArmLevel::Fp16)).with_precision(Precision::F16).expect("has it");
        for q in table_of(Dtype::F32, &target, gemm) {
            assert!(q.name.starts_with("f16_gemm"), "{}", q.name);
            assert!(q.per_multiply <= 1.4, "{}: {} instructions per fmla beyond loads", q.name, q.per_multiply);
            for (model, share) in q.bound_shares {
                assert!(2.0 * share >= 1.3, "{}: {share:.2} of the throughput bound on {model}", q.name);
            }
        }
    }
}

#[test]
fn int8_gemm_loops_are_dot_products() {
    if tools() {
        // Unsigned activations are made signed, four steps of a row at once.
        for (dtype, most) in [(Dtype::Qs8, 1.1), (Dtype::Qu8, 1.15)] {
            for q in table(dtype, Cpu::Aarch64(ArmLevel::Dotprod), gemm) {
                assert!(q.multiplies >= 64, "{}: {} dot products", q.name, q.multiplies);
                assert!(q.per_multiply <= most, "{}: {} instructions per dot product beyond loads", q.name, q.per_multiply);
                for (model, share) in q.bound_shares {
                    assert!(share >= 0.85, "{}: {share:.2} of the throughput bound on {model}", q.name);
                }
            }
        }
    }
}

#[test]
fn int8_gemm_loops_are_matrix_products() {
    if tools() {
        for dtype in [Dtype::Qs8, Dtype::Qu8] {
            // Where K is short, nothing is left of the loop over it.
            let long = |row: &Row| gemm(row) && matches!(row.shape, Shape::Gemm(_, _, k) if k >= 128);
            for q in table(dtype, Cpu::Aarch64(ArmLevel::I8mm), long) {
                assert!(q.multiplies >= 64, "{}: {} matrix products", q.name, q.multiplies);
                assert!(q.per_multiply <= 1.2, "{}: {} instructions per matrix product beyond loads", q.name, q.per_multiply);
                for (model, share) in q.bound_shares {
                    assert!(share >= 0.85, "{}: {share:.2} of the throughput bound on {model}", q.name);
                }
            }
        }
    }
}
