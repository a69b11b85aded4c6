//! Runs every file below `filetests/` and reports each by name, in the form of Rust's own tests.
//!
//! `cargo test -p tflc-tests --test filetests -- fuse-tail` runs those whose name contains the text; `TFLC_BLESS=1` rewrites
//! what they expect.

use std::path::Path;
use std::process::ExitCode;
use tflc_tests::filetest::{Mode, files, run_all};

fn main() -> anyhow::Result<ExitCode> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests");
    let args: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<String> = args.iter().filter(|a| !a.starts_with('-')).cloned().collect();
    if args.iter().any(|a| a == "--list") {
        for path in files(&folder)? {
            println!("{}: test", path.strip_prefix(&folder)?.display());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mode = if std::env::var_os("TFLC_BLESS").is_some_and(|v| v == "1") { Mode::Bless } else { Mode::Check };
    let outcomes = run_all(&folder, &filters, mode)?;
    println!("\nrunning {} tests", outcomes.len());
    for o in &outcomes {
        println!("test filetests/{} ... {}", o.name, if o.result.is_ok() { "ok" } else { "FAILED" });
    }
    let failed: Vec<_> = outcomes.iter().filter_map(|o| o.result.as_ref().err().map(|e| (&o.name, e))).collect();
    for (name, error) in &failed {
        println!("\n---- filetests/{name} ----\n{error:#}");
    }
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!("\ntest result: {verdict}. {} passed; {} failed\n", outcomes.len() - failed.len(), failed.len());
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
