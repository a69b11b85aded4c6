//! Files of one command, all of them or none: contents go to temporary files beside their places, which are renamed at the end.

use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A folder that files are being written to.
#[derive(Debug)]
pub struct Output {
    folder: PathBuf,
    files: Vec<Pending>,
    /// Whether the folder is new and nothing has its place in it yet.
    fresh: bool,
}

impl Drop for Output {
    fn drop(&mut self) {
        self.files.clear();
        if self.fresh {
            // Where others have put something into it meanwhile, it stays.
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

#[derive(Debug)]
struct Pending {
    kind: &'static str,
    name: String,
    bytes: usize,
    file: NamedTempFile,
}

/// Whether a file is to be run or loaded as a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Data.
    Plain,
    /// Code for the system's loader.
    Executable,
}

impl Output {
    /// A folder, made where it does not exist.
    ///
    /// # Errors
    /// Where it cannot be made, or a file is in its place.
    pub fn new(folder: &Path) -> Result<Output> {
        ensure!(folder.is_dir() || !folder.exists(), "{} is a file; -o takes a folder", folder.display());
        let fresh = !folder.exists();
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Output { folder: folder.to_path_buf(), files: vec![], fresh })
    }

    fn temporary(&self, name: &str, mode: Mode) -> Result<NamedTempFile> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".tflc-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // The user's mask takes away what it takes from any new file.
            builder.permissions(fs::Permissions::from_mode(if mode == Mode::Executable { 0o777 } else { 0o666 }));
        }
        #[cfg(not(unix))]
        let _ = mode;
        builder.tempfile_in(&self.folder).with_context(|| format!("cannot write {}", self.folder.join(name).display()))
    }

    /// Adds a file.
    ///
    /// # Errors
    /// Where it cannot be written: nothing is left of it then.
    pub fn add(&mut self, kind: &'static str, name: String, content: &[u8]) -> Result<()> {
        let mut file = self.temporary(&name, Mode::Plain)?;
        // By the file itself, whose errors do not name the temporary path.
        let written = file.as_file_mut().write_all(content).and_then(|()| file.as_file_mut().flush());
        written.with_context(|| format!("cannot write {}", self.folder.join(&name).display()))?;
        self.files.push(Pending { kind, name, bytes: content.len(), file });
        Ok(())
    }

    /// Adds a file that `write` fills by its path.
    ///
    /// # Errors
    /// Those of `write`, and where it left no file.
    pub fn add_made(&mut self, kind: &'static str, name: String, mode: Mode, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let mut file = self.temporary(&name, mode)?;
        write(file.path())?;
        // A linker may have put a new file in the place of the old one.
        *file.as_file_mut() = File::open(file.path()).with_context(|| format!("nothing was written for {name}"))?;
        let bytes = file.as_file().metadata()?.len() as usize;
        self.files.push(Pending { kind, name, bytes, file });
        Ok(())
    }

    /// What was added: kind, name, size in bytes.
    pub fn list(&self) -> Vec<(&'static str, String, usize)> {
        self.files.iter().map(|f| (f.kind, f.name.clone(), f.bytes)).collect()
    }

    /// Puts all files in their places.
    ///
    /// # Errors
    /// Where one cannot take its place; the temporary files are removed.
    pub fn finish(mut self) -> Result<Vec<PathBuf>> {
        let files = std::mem::take(&mut self.files);
        let path = |f: &Pending| self.folder.join(&f.name);
        if let Some(f) = files.iter().find(|f| path(f).is_dir()) {
            bail!("cannot write {}: a folder has that name", path(f).display());
        }
        let mut done = vec![];
        for f in files {
            let path = path(&f);
            f.file.persist(&path).map_err(|e| e.error).with_context(|| format!("cannot write {}", path.display()))?;
            done.push(path);
        }
        self.fresh = false;
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_where_not_everything_was_written() {
        let folder = tempfile::tempdir().expect("folder");
        let names = || -> Vec<String> {
            let mut names: Vec<String> = fs::read_dir(folder.path())
                .expect("folder")
                .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        };
        let mut out = Output::new(folder.path()).expect("folder");
        out.add("object", "a.o".into(), b"1").expect("writes");
        assert!(out.add_made("library", "b.so".into(), Mode::Executable, |_| anyhow::bail!("the linker failed")).is_err());
        drop(out);
        assert_eq!(names(), Vec::<String>::new());
        // Nor is a folder that was made for it; an old one stays.
        let new = folder.path().join("new");
        drop(Output::new(&new).expect("folder"));
        assert!(!new.exists() && folder.path().exists());
        // A folder in the place of one file keeps all from being written.
        fs::create_dir(folder.path().join("b.so")).expect("folder");
        let mut out = Output::new(folder.path()).expect("folder");
        out.add("object", "a.o".into(), b"1").expect("writes");
        out.add("library", "b.so".into(), b"1").expect("writes");
        assert!(out.finish().expect_err("there is a folder").to_string().contains("b.so: a folder"));
        fs::remove_dir(folder.path().join("b.so")).expect("empty");
        assert_eq!(names(), Vec::<String>::new());
        let mut out = Output::new(folder.path()).expect("folder");
        out.add("object", "a.o".into(), b"1").expect("writes");
        out.add_made("library", "b.so".into(), Mode::Executable, |p| Ok(fs::write(p, b"22")?)).expect("writes");
        assert_eq!(out.list(), [("object", "a.o".to_string(), 1), ("library", "b.so".to_string(), 2)]);
        out.finish().expect("finishes");
        assert_eq!(names(), ["a.o", "b.so"]);
    }
}
