//! What to compile for: `--target` and `--cpu`.

use crate::jit::host_target;
use crate::target::{Cpu, Platform, Precision, Target};
use anyhow::{Context, Result, bail};
use clap::Args;

/// The platform and its CPU levels.
#[derive(Args, Clone, Debug)]
pub struct TargetArgs {
    /// Platform: a short name of `tflc targets`, a full triple, or host.
    #[arg(long, default_value = "host", value_name = "TARGET")]
    target: String,
    /// CPU levels, several of them for one artifact that chooses at run time: native, baseline, names of `tflc targets`, or features
    /// such as +dotprod. Without it, native for the host and baseline for other targets.
    #[arg(long, value_delimiter = ',', value_name = "CPU,…")]
    cpu: Vec<String>,
    /// Arithmetic of convolutions and matrix products of floats: f32, or f16 where every level of --cpu has it.
    #[arg(long, default_value = "f32", value_name = "PRECISION", value_parser = Precision::parse)]
    precision: Precision,
}

impl TargetArgs {
    /// The targets, one for each CPU level.
    ///
    /// # Errors
    /// Where the platform, or a level of it, is unknown, or a level lacks the precision: the message lists those that are known, or have it.
    pub fn targets(&self) -> Result<Vec<Target>> {
        let host = host_target();
        let is_host = self.target == "host";
        let platform = if is_host { host.platform() } else { Platform::parse(&self.target).map_err(anyhow::Error::msg)? };
        let default = if is_host { "native" } else { "baseline" };
        let names: Vec<&str> = if self.cpu.is_empty() { vec![default] } else { self.cpu.iter().map(String::as_str).collect() };
        let cpu = |name: &str| -> Result<Cpu> {
            match name {
                "native" if platform == host.platform() => Ok(host.cpu),
                "native" => bail!("--cpu native is for the machine this runs on ({}), not for {}", host.platform().name(), platform.name()),
                name => match Cpu::parse_for(platform.arch, name) {
                    Some(cpu) => Ok(cpu),
                    None => bail!(
                        "unknown CPU {name:?} of {}; known are {}baseline, {}",
                        platform.name(),
                        if platform == host.platform() { "native, " } else { "" },
                        Cpu::names(platform).join(", ")
                    ),
                },
            }
        };
        let mut targets: Vec<Target> = vec![];
        for name in names {
            let target = Target::on(cpu(name)?, platform.os).with_precision(self.precision);
            let target =
                target.with_context(|| format!("cannot compute in {} on {}; choose levels with --cpu", self.precision, platform.name()))?;
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        Ok(targets)
    }
}
