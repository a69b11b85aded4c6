//! A depfile: what files of a build are made of, as make, ninja and CMake read it.
//!
//! One rule in make's syntax, then an empty rule for each prerequisite, so that make does not stop where one has been removed. Which files these
//! are is decided elsewhere.

use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};

/// The text of a depfile by which each of the `targets` is made of all `prerequisites`.
///
/// The escapes are those that GNU make, ninja and CMake agree on: `\ `, `\#` and `$$`. On Windows separators become slashes.
///
/// **Source**: GNU make's manual, "Rule Syntax", and GCC's `-MP`; ninja's manual, "Depfile"; the grammar beside `DEPFILE` in CMake's `add_custom_command`.
///
/// # Errors
/// Where one of them would read a path as something else, which is named.
pub fn depfile(targets: &[PathBuf], prerequisites: &[PathBuf]) -> Result<String> {
    let escape = |paths: &[PathBuf]| paths.iter().map(|p| escaped(p)).collect::<Result<Vec<String>>>();
    let (targets, prerequisites) = (escape(targets)?, escape(prerequisites)?);
    let mut text = format!("{}: {}\n", targets.join(" "), prerequisites.join(" "));
    prerequisites.iter().for_each(|p| text += &format!("\n{p}:\n"));
    Ok(text)
}

fn escaped(path: &Path) -> Result<String> {
    // Where it is not UTF-8, there is a character in it that is in no path.
    let mut text = path.to_string_lossy().into_owned();
    if cfg!(windows) {
        text = text.replace('\\', "/");
    }
    let drive = cfg!(windows) && text.len() > 2 && text.as_bytes()[0].is_ascii_alphabetic() && text.as_bytes()[1] == b':';
    // A pattern, a variable, a recipe, a list of names: without an escape that all programs know.
    let plain = |c: char| match c {
        char::REPLACEMENT_CHARACTER => false,
        _ if c.is_ascii() => c.is_ascii_alphanumeric() || " !#$()+,-./@_{}~".contains(c),
        _ => !c.is_control(),
    };
    let wrong = text.chars().enumerate().find(|&(at, c)| !(plain(c) || drive && at == 1)).map(|(_, c)| c);
    ensure!(
        wrong.is_none(),
        "--emit depfile cannot name the path {path:?}: make or ninja would misread {:?} in it",
        wrong.unwrap_or_default()
    );
    // Somebody's home; a member of an archive; a space that make takes for the end of the name.
    let whole = !text.starts_with('~') && !text.ends_with([')', ' ']);
    ensure!(whole, "--emit depfile cannot name the path {path:?}: make would misread how it begins or ends");
    Ok(text.replace('$', "$$").replace('#', "\\#").replace(' ', "\\ "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(targets: &[&str], prerequisites: &[&str]) -> Result<String> {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        depfile(&paths(targets), &paths(prerequisites))
    }

    #[test]
    fn a_rule_is_followed_by_an_empty_one_for_each_prerequisite() {
        let expected = "out/a.o out/a.h: m.tflite d/w\n\nm.tflite:\n\nd/w:\n";
        assert_eq!(text(&["out/a.o", "out/a.h"], &["m.tflite", "d/w"]).unwrap(), expected);
    }

    #[test]
    fn what_has_an_escape_is_escaped() {
        let expected = "my\\ $$out/a.o: mo\\#del\\ \\ (1).tflite\n\nmo\\#del\\ \\ (1).tflite:\n";
        assert_eq!(text(&["my $out/a.o"], &["mo#del  (1).tflite"]).unwrap(), expected);
        assert_eq!(text(&["ä/a.o"], &["~w/../ü"]).ok(), None);
        assert_eq!(text(&["ä/a.o"], &["w~1/../ü"]).unwrap(), "ä/a.o: w~1/../ü\n\nw~1/../ü:\n");
    }

    #[test]
    fn what_has_no_escape_is_an_error_that_names_the_path() {
        for c in "\n\r\t\0\u{85}\"%&'*:;<=>?[]^`|".chars() {
            let path = format!("ab{c}c");
            for error in [text(&[&path], &["m"]), text(&["o"], &["m", &path])] {
                let message = error.expect_err(&path).to_string();
                assert!(message.contains(&format!("{path:?}")), "{message}");
            }
        }
        for path in ["~root/w", "libw(w)", "w "] {
            assert!(text(&["o"], &[path]).is_err(), "{path}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_backslash_and_bytes_that_are_no_text_are_errors() {
        use std::os::unix::ffi::OsStrExt;
        let bytes = std::ffi::OsStr::from_bytes(b"a\xffb");
        for path in [Path::new("a\\b"), Path::new("a\\ b"), Path::new(bytes)] {
            assert!(depfile(&["o".into()], &[path.into()]).is_err(), "{path:?}");
        }
    }

    #[cfg(windows)]
    #[test]
    fn separators_become_slashes_and_a_drive_keeps_its_colon() {
        assert_eq!(text(&["C:\\out\\a.o"], &["d\\m"]).unwrap(), "C:/out/a.o: d/m\n\nd/m:\n");
        assert!(text(&["C:\\out\\a:b"], &["m"]).is_err());
    }
}
