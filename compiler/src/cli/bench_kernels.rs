//! `tflc bench --kernels`: every row of the kernel table against the peak measured in the same run.

use crate::cli::args::CpuChoice;
use crate::jit::measure::measure;
use crate::jit::{host_target, runs_here};
use crate::target::Target;
use anyhow::{Result, bail};
use serde_json::json;
use tflc_templates::cpu::table::ROWS;

/// Measures the rows whose names contain `filter`, for about `seconds` each.
///
/// # Errors
/// Where no row has such a name, or a kernel cannot be compiled or run.
pub fn run(cpu: CpuChoice, filter: &str, seconds: f64, as_json: bool) -> Result<()> {
    let target = match cpu {
        CpuChoice::Native => host_target(),
        CpuChoice::Named(cpu) => Target::new(cpu),
    };
    if !runs_here(&target) {
        bail!("this machine cannot run code for {}; it is {}", target.cpu, host_target().cpu);
    }
    let rows: Vec<_> = ROWS.iter().filter(|r| r.name().contains(filter)).collect();
    if rows.is_empty() {
        bail!("no kernel row has {filter:?} in its name; there are {}", ROWS.iter().map(|r| r.name()).collect::<Vec<_>>().join(", "));
    }
    let mut report = vec![];
    if !as_json {
        say!(
            "{} (share of the multiply-add or dot-product peak of one core's vectors, which tiles exceed; medians of interleaved runs)",
            target.cpu
        );
        say!("{:34} {:>24} {:>10} {:>9} {:>7} {:>8} {:>7} {:>9}", "row", "kernel", "us", "GMAC/s", "peak %", "GB/s", "bytes", "compile us");
    }
    for row in rows {
        let m = measure(row, &target, seconds)?;
        if as_json {
            report.push(json!({
                "row": row.name(), "kernel": m.kernel, "cpu": target.cpu.to_string(), "median_us": m.seconds * 1e6,
                "gmac_per_s": m.macs_per_second * 1e-9, "peak_share": m.share, "gb_per_s": m.bytes_per_second * 1e-9,
                "code_bytes": m.code_bytes, "compile_us": m.compile_seconds * 1e6, "needed_share": row.need,
            }));
        } else {
            say!(
                "{:34} {:>24} {:>10.1} {:>9.1} {:>7.1} {:>8.2} {:>7} {:>9.0}{}",
                row.name(),
                m.kernel,
                m.seconds * 1e6,
                m.macs_per_second * 1e-9,
                m.share * 100.0,
                m.bytes_per_second * 1e-9,
                m.code_bytes,
                m.compile_seconds * 1e6,
                if m.share < row.need { format!("  below the {:.0} % it should reach", row.need * 100.0) } else { String::new() }
            );
        }
    }
    if as_json {
        say!("{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(())
}
