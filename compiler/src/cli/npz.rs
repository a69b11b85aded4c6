//! Archives of arrays in NumPy's `.npz` format, as models' inputs and outputs are exchanged in.
//!
//! Arrays are read one by one, when asked for, so that a caller can compare an array's type and shape with what it needs
//! before any element is unpacked. Scalar strings and other arrays that are not numbers are listed by [`Npz::names`]
//! like all others and refused by [`Npz::read`]. Output is uncompressed, its bytes depend on the arrays alone, and the
//! file appears whole or not at all.

use crate::cli::npy::{self, Header};
use crate::cli::tensor::HostTensor;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::{BufReader, Cursor, Write};
use std::path::{Path, PathBuf};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// An open archive.
pub struct Npz {
    path: PathBuf,
    archive: ZipArchive<BufReader<File>>,
    /// Names of the arrays, each with its place in the archive.
    names: Vec<(String, usize)>,
}

impl Npz {
    /// Opens an archive and reads its directory.
    ///
    /// # Errors
    /// Where the file cannot be opened, or is not a whole archive.
    pub fn open(path: &Path) -> Result<Npz> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let archive = ZipArchive::new(BufReader::new(file)).with_context(|| format!("{} is not a whole .npz file", path.display()))?;
        let named = archive.file_names().enumerate().filter_map(|(i, n)| Some((n.ok()?.strip_suffix(".npy")?.to_string(), i)));
        let names = named.collect();
        Ok(Npz { path: path.to_path_buf(), archive, names })
    }

    /// Names of all arrays, in the order of the archive.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(n, _)| n.as_str())
    }

    /// Type and shape of an array.
    ///
    /// # Errors
    /// Where there is no such array, or its header is damaged.
    pub fn header(&mut self, name: &str) -> Result<Header> {
        self.entry(name, |source| Header::read(source))
    }

    /// An array.
    ///
    /// # Errors
    /// Where there is no such array, it is not of numbers, or it is damaged.
    pub fn read(&mut self, name: &str) -> Result<HostTensor> {
        self.entry(name, |source| npy::read(source))
    }

    fn entry<T>(&mut self, name: &str, use_it: impl FnOnce(&mut zip::read::ZipFile<'_, BufReader<File>>) -> Result<T>) -> Result<T> {
        let Some(&(_, index)) = self.names.iter().find(|(n, _)| n == name) else {
            let all = self.names().map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", ");
            bail!("{} has no array {name:?}; it has {}", self.path.display(), if all.is_empty() { "none" } else { &all });
        };
        let place = || format!("array {name:?} of {}", self.path.display());
        let mut entry = self.archive.by_index(index).with_context(place)?;
        use_it(&mut entry).with_context(place)
    }
}

/// Writes an archive of named arrays.
///
/// # Errors
/// Where the file cannot be written, or NumPy lacks an element type.
pub fn write<'a>(path: &Path, arrays: impl IntoIterator<Item = (&'a str, &'a HostTensor)>) -> Result<()> {
    let mut archive = ZipWriter::new(Cursor::new(vec![]));
    for (name, tensor) in arrays {
        let options =
            SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(tensor.data.len() >= 0xffff_0000);
        archive.start_file(format!("{name}.npy"), options).with_context(|| format!("array {name:?}"))?;
        npy::write(tensor, &mut archive).with_context(|| format!("array {name:?}"))?;
    }
    let bytes = archive.finish()?.into_inner();
    replace(path, &bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Puts `bytes` at `path` in one step, so that no reader sees half a file; devices and pipes are written to directly.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if path.exists() && !path.is_file() {
        return Ok(fs::write(path, bytes)?);
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::DType;

    fn shipped(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models").join(name)
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.npz");
        let a = HostTensor::new(DType::Float32, &[2, 1], vec![1; 8]).unwrap();
        let b = HostTensor::new(DType::Bool, &[], vec![1]).unwrap();
        for _ in 0..2 {
            write(&path, [("out/a:0", &a), ("out/b#3", &b)]).unwrap();
        }
        let mut npz = Npz::open(&path).unwrap();
        assert_eq!(npz.names().collect::<Vec<_>>(), ["out/a:0", "out/b#3"]);
        assert_eq!(npz.read("out/a:0").unwrap(), a);
        assert_eq!(npz.header("out/b#3").unwrap().shape, [0usize; 0]);
        assert_eq!(npz.read("out/b#3").unwrap(), b);
        let error = npz.read("out/c").unwrap_err().to_string();
        assert!(error.contains("has no array \"out/c\"; it has \"out/a:0\", \"out/b#3\""), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn numpy_wrote_this_one_compressed() {
        let mut npz = Npz::open(&shipped("digits/digits_int8.npz")).unwrap();
        let input = npz.read("in/serving_default_image:0").unwrap();
        assert_eq!((input.dtype, &input.shape[..]), (DType::Int8, &[1, 32, 32, 1][..]));
        let output = npz.read("out/StatefulPartitionedCall_1:0").unwrap();
        assert_eq!(output.to_f64(None).unwrap()[3], 125.0);
        assert!(npz.names().any(|n| n == "out_kind"));
        assert!(npz.header("out_kind").unwrap().dtype.is_err());
        assert!(npz.read("out_kind").is_err());
    }

    #[test]
    fn damaged_archives_give_errors() {
        let whole = fs::read(shipped("digits/digits_int8.npz")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.npz");
        for end in (0..whole.len()).step_by(37) {
            fs::write(&path, &whole[..end]).unwrap();
            assert!(Npz::open(&path).is_err(), "{end}");
        }
        for at in (0..whole.len()).step_by(5) {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x41;
            fs::write(&path, &flipped).unwrap();
            let Ok(mut npz) = Npz::open(&path) else { continue };
            for name in npz.names().map(String::from).collect::<Vec<_>>() {
                let _ = npz.read(&name);
            }
        }
        assert!(Npz::open(&folder.path().join("none.npz")).err().unwrap().to_string().starts_with("cannot open "));
    }
}
