//! The code cache: where it is, and `tflc cache`.

use crate::jit::Cache;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Arguments of `tflc cache`.
#[derive(Args, Clone, Debug)]
pub struct CacheArgs {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand, Clone, Debug)]
enum Action {
    /// Lists the entries, the most recently used first.
    Ls {
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Removes all entries.
    Clear,
}

/// The user's cache: `TFLC_CACHE_DIR`, or `tflc` in the folder that the XDG specification names. Nothing where `TFLC_CACHE_DIR` is empty, or
/// there is no home.
pub fn user_cache() -> Option<Cache> {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    match std::env::var_os("TFLC_CACHE_DIR") {
        Some(folder) if folder.is_empty() => None,
        Some(folder) => Some(Cache::new(folder)),
        // The specification ignores relative paths.
        None => var("XDG_CACHE_HOME")
            .filter(|p| p.is_absolute())
            .or_else(|| var("LOCALAPPDATA"))
            .or_else(|| var("HOME").map(|h| h.join(".cache")))
            .map(|base| Cache::new(base.join("tflc"))),
    }
}

/// Runs the command.
///
/// # Errors
/// Where there is no cache, or its folder cannot be read or cleared.
pub fn run(args: &CacheArgs) -> Result<()> {
    let cache = user_cache().context("there is no cache: TFLC_CACHE_DIR is empty, or no home folder is known")?;
    let context = || format!("the cache in {}", cache.folder().display());
    match args.command {
        Action::Clear => say!("removed {} entries from {}", cache.clear().with_context(context)?, cache.folder().display()),
        Action::Ls { json } => {
            let mut files = cache.files().with_context(context)?;
            files.sort_by_key(|f| std::cmp::Reverse(f.used));
            let seconds = |f: &crate::jit::CacheFile| f.used.elapsed().map_or(0, |d| d.as_secs());
            if json {
                let rows: Vec<_> =
                    files.iter().map(|f| serde_json::json!({ "file": f.path, "bytes": f.bytes, "used_seconds_ago": seconds(f) })).collect();
                say!("{}", serde_json::to_string_pretty(&serde_json::json!({ "folder": cache.folder(), "entries": rows }))?);
                return Ok(());
            }
            say!("{}", cache.folder().display());
            for f in &files {
                say!("{:>12} bytes, used {:>7} s ago  {}", f.bytes, seconds(f), f.path.file_stem().unwrap_or_default().to_string_lossy());
            }
        }
    }
    Ok(())
}
