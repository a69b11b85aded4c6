//! Filetests: text files of a command, inputs and what becomes of them; `compiler/docs/testing.md` describes the form.
//!
//! [`run_all`] finds the files of a folder and runs each; `TFLC_BLESS=1` rewrites what is expected. What commands there are is said in
//! [`commands::COMMANDS`].

pub mod commands;
mod format;

use anyhow::{Context, Result, bail};
use format::File;
use std::path::{Path, PathBuf};

/// One input of a file, with the arguments of its command.
pub struct Case<'a> {
    /// Words behind the command.
    pub args: &'a [&'a str],
    /// Text; its line numbers are those of the file.
    pub input: &'a str,
}

/// A command: what becomes of an input, as text.
pub type Command = fn(&Case<'_>) -> Result<String>;

/// What became of a file.
#[derive(Debug)]
pub struct Outcome {
    /// Path relative to the folder, with `/`.
    pub name: String,
    /// Why it failed.
    pub result: Result<()>,
}

/// Whether expectations are checked or rewritten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// A mismatch fails.
    Check,
    /// The file is rewritten.
    Bless,
}

/// All `.test` files below a folder, sorted.
///
/// # Errors
/// Where a folder cannot be read.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|e| e == "test") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Runs every file below a folder whose name contains one of the filters (any, where there are none).
///
/// # Errors
/// Where the folder cannot be read. What fails inside a file is in its outcome.
pub fn run_all(folder: &Path, filters: &[String], mode: Mode) -> Result<Vec<Outcome>> {
    let mut outcomes = vec![];
    for path in files(folder)? {
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        if filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str())) {
            outcomes.push(Outcome { name, result: run(&path, mode) });
        }
    }
    Ok(outcomes)
}

fn run(path: &Path, mode: Mode) -> Result<()> {
    let text = std::fs::read_to_string(path)?;
    let new = run_text(&text)?;
    if new == text {
        return Ok(());
    }
    match mode {
        Mode::Bless => Ok(std::fs::write(path, new)?),
        Mode::Check => bail!("the result is another (TFLC_BLESS=1 rewrites the file):\n{}", diff(&text, &new)),
    }
}

/// The text of a file with its expectations replaced by what its command gives.
///
/// # Errors
/// Where the file is malformed or its command fails.
pub fn run_text(text: &str) -> Result<String> {
    let mut file = File::parse(text)?;
    let words: Vec<&str> = file.header.split_whitespace().skip(1).collect();
    let Some((name, args)) = words.split_first() else { bail!("the first line is `test COMMAND`") };
    let command = commands::COMMANDS.iter().find(|(n, _)| n == name).map(|(_, c)| c);
    let command = command.with_context(|| format!("there is no command `{name}`; there are {:?}", commands::COMMANDS.map(|(n, _)| n)))?;
    for case in &mut file.cases {
        let got = command(&Case { args, input: &case.input_at_its_line() }).with_context(|| format!("the case at line {}", case.line))?;
        case.expected = got.trim_end().lines().map(str::to_string).collect();
    }
    Ok(file.print())
}

/// Lines removed and added, with some around them.
fn diff(old: &str, new: &str) -> String {
    similar::TextDiff::from_lines(old, new).unified_diff().context_radius(3).to_string()
}
