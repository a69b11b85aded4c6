//! `tflc targets` and `tflc ops`: what can be compiled for, and which operators there are.

use super::ops::{docs, try_all};
use crate::jit::host_target;
use crate::ops::table::{Support, TABLE};
use crate::target::{Platform, Target};
use anyhow::Result;
use clap::Args;

/// Arguments of the listings.
#[derive(Args, Clone, Copy, Debug)]
pub struct ListArgs {
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `tflc targets`.
///
/// # Errors
/// None but those of printing.
pub fn targets(args: &ListArgs) -> Result<()> {
    let host = host_target();
    let levels = |p: Platform| Target::CPU_NAMES.iter().filter(move |row| row.1.arch() == p.arch && row.1.runs_on(p.os));
    if args.json {
        let rows: Vec<_> = Platform::all()
            .map(|p| {
                let cpus: Vec<_> = levels(p)
                    .map(|(n, cpu, doc)| serde_json::json!({ "cpu": n, "description": doc, "native": Target::on(*cpu, p.os) == host }))
                    .collect();
                serde_json::json!({ "target": p.name(), "triple": p.triple(), "object_format": p.os.format().to_string(), "cpus": cpus })
            })
            .collect();
        say!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    for p in Platform::all() {
        say!("{:16} {}, {}{}", p.name(), p.triple(), p.os.format(), if p == host.platform() { "  (this machine)" } else { "" });
        for (name, cpu, doc) in levels(p) {
            say!("    {name:16} {doc}{}", if Target::on(*cpu, p.os) == host { "  (this machine)" } else { "" });
        }
    }
    Ok(())
}

/// Runs `tflc ops`.
///
/// # Errors
/// None but those of printing.
pub fn ops(args: &ListArgs) -> Result<()> {
    if args.json {
        let targets = docs::documented();
        let names: Vec<String> = targets.iter().map(|t| t.cpu.to_string()).collect();
        let tried = try_all(&targets);
        let rows: Vec<_> = TABLE
            .iter()
            .map(|row| match &row.support {
                Support::Supported { dtypes, .. } => {
                    let trials: Vec<_> = tried
                        .iter()
                        .filter(|t| t.op == row.kind)
                        .map(|t| {
                            let compiled: serde_json::Map<String, serde_json::Value> =
                                names.iter().zip(&t.compiled).map(|(n, list)| (n.clone(), serde_json::json!(list))).collect();
                            serde_json::json!({ "weights": t.weights, "evaluated": t.evaluated, "compiled": compiled })
                        })
                        .collect();
                    serde_json::json!({ "op": row.kind.name(), "supported": true, "types": dtypes, "trials": trials })
                }
                Support::Unsupported(why) | Support::Pseudo(why) => {
                    serde_json::json!({ "op": row.kind.name(), "supported": false, "reason": why })
                }
            })
            .collect();
        say!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    say!("{}", docs::ops_markdown());
    Ok(())
}
