//! Standard output that may be full or closed: what cannot be written is remembered, and is the command's error at its end.

use std::fmt::Arguments;
use std::io::{Error, ErrorKind, Write, stdout};
use std::sync::Mutex;

/// The first thing that went wrong.
static PROBLEM: Mutex<Option<Error>> = Mutex::new(None);

/// Prints a line.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::stdout::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// Prints text that ends its lines itself.
macro_rules! say_text {
    ($($text:tt)*) => { $crate::cli::stdout::write(format_args!($($text)*)) };
}

/// Writes to standard output, until that fails.
pub fn write(text: Arguments<'_>) {
    if let Ok(mut problem) = PROBLEM.lock()
        && problem.is_none()
    {
        *problem = stdout().write_fmt(text).err();
    }
}

/// Writes what is still buffered; gives what went wrong since the start. A reader that closed the pipe early is no error of ours.
///
/// # Errors
/// Where something could not be written.
pub fn finish() -> Result<(), Error> {
    let flushed = stdout().flush();
    match PROBLEM.lock().ok().and_then(|mut p| p.take()).map_or(flushed, Err) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
