//! Names of a classifier's classes: from a text file with one name a line, or from the label file attached to a model.
//!
//! TensorFlow Lite metadata attaches files to a model by appending a zip archive to it; a label file there is a `.txt`
//! whose name has "label" in it. Nothing is read beyond [`LIMIT_BYTES`].

use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

/// Largest label file that is read.
pub const LIMIT_BYTES: u64 = 1 << 22;

/// Reads a label file.
///
/// # Errors
/// Where it cannot be read, is not text, or is empty or too large.
pub fn load(path: &Path) -> Result<Vec<String>> {
    let read = || lines(File::open(path)?);
    read().with_context(|| format!("cannot read labels from {}", path.display()))
}

/// The labels attached to a model file, if there are any that can be read.
pub fn attached(model: &[u8]) -> Option<Vec<String>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(model)).ok()?;
    let is_label_file = |n: &str| n.ends_with(".txt") && n.to_ascii_lowercase().contains("label");
    let index = archive.file_names().position(|n| n.is_ok_and(|n| is_label_file(&n)))?;
    lines(archive.by_index(index).ok()?).ok()
}

fn lines(source: impl Read) -> Result<Vec<String>> {
    let mut text = String::new();
    source.take(LIMIT_BYTES + 1).read_to_string(&mut text)?;
    ensure!(text.len() as u64 <= LIMIT_BYTES, "it has more than {LIMIT_BYTES} bytes");
    // A line that is empty inside the file still counts: the line number is the class.
    let names: Vec<String> = text.trim_end().lines().map(|l| l.trim().to_string()).collect();
    ensure!(!names.is_empty(), "it has no lines");
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_and_attached_labels_agree() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/digits");
        let names = load(&folder.join("labels.txt")).unwrap();
        assert_eq!((names.len(), names[7].as_str()), (10, "seven"));
        assert_eq!(attached(&std::fs::read(folder.join("digits_f32.tflite")).unwrap()), Some(names));
        assert_eq!(attached(b"TFL3 without an archive"), None);
    }

    #[test]
    fn line_numbers_are_classes() {
        assert_eq!(lines(&b"a\r\n\n c \n\n"[..]).unwrap(), ["a", "", "c"]);
        assert!(lines(&b" \n"[..]).is_err());
        assert!(lines(&b"\xff\xfe"[..]).is_err());
        let error = format!("{:#}", load(Path::new("none.txt")).unwrap_err());
        assert!(error.starts_with("cannot read labels from none.txt: "), "{error}");
    }
}
