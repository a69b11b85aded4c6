//! Compiled code on disk: the second start of a program maps what the first one made.
//!
//! One file an entry, named by a hash of everything that its content depends on: the bytes of the model's file and of all others that it has constants
//! in, this program, the CPU level, the options. Hashes of files are noted beside the entries, so that one that has not changed since is not read again.
//! Files are written under another name and renamed, so readers and writers of several processes do not meet; a file in place is never
//! changed. What is read is checked against its checksum before use, and ignored where it is damaged. Code is copied into sealed memory;
//! weights stay in the mapped file, whose pages all processes share.
//! The folder is the caller's choice and should be the user's own: whoever can write there can change what programs compute.

mod entry;
mod known;

pub(super) use entry::{Content, Loaded};
pub(super) use known::Hashed;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Ending of entries.
const ENDING: &str = "tflcjit";
/// Ending of files that are being written.
const UNFINISHED: &str = "tmp";
/// Age in seconds after which an unfinished file is nobody's.
const ABANDONED_AFTER_S: u64 = 3600;
/// Age in seconds after which a note of a file's hash goes; whoever still needs it makes it again.
const FORGOTTEN_AFTER_S: u64 = 90 * 86_400;
/// Size of all entries in bytes where the caller names none.
const DEFAULT_MOST_BYTES: u64 = 1 << 30;

/// A folder of compiled models.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cache {
    folder: PathBuf,
    most_bytes: u64,
}

/// A file of a cache.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CacheFile {
    /// Where it is.
    pub path: PathBuf,
    /// Size in bytes.
    pub bytes: u64,
    /// When it was last used.
    pub used: SystemTime,
}

/// Hash of everything that an entry depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// The key of a model with everything else as text. This program counts by its file's size and time: another compiler makes other
    /// code.
    pub(super) fn new(model: &Hashed, options: &str) -> Key {
        let program = std::env::current_exe().and_then(fs::metadata).map(|m| (m.len(), m.modified().ok()));
        let about = format!("{} {program:?} {options}", env!("CARGO_PKG_VERSION"));
        let mut hasher = blake3::Hasher::new();
        for hash in model.hashes() {
            hasher.update(hash);
        }
        hasher.update(about.as_bytes());
        Key(*hasher.finalize().as_bytes())
    }
}

/// Bytes as they stand in names of files.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

impl Cache {
    /// A cache in a folder, which is made when the first entry is written. It holds at most a gigabyte.
    pub fn new(folder: impl Into<PathBuf>) -> Cache {
        Cache { folder: folder.into(), most_bytes: DEFAULT_MOST_BYTES }
    }

    /// Bounds the size of all entries; the least recently used ones go first.
    #[must_use]
    pub fn most_bytes(mut self, bytes: u64) -> Cache {
        self.most_bytes = bytes;
        self
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(hex(&key.0)).with_extension(ENDING)
    }

    /// The entry with a key, if there is one and it is whole.
    pub(super) fn load(&self, key: &Key) -> Option<Loaded> {
        let path = self.path(key);
        let file = File::open(&path).ok()?;
        let loaded = entry::read(&file, &key.0)?;
        // For the order in which entries are removed; a folder that cannot be written to has none. Windows wants a file that is open for writing.
        let now = SystemTime::now();
        let _ = file.set_modified(now).or_else(|_| File::options().append(true).open(&path).and_then(|f| f.set_modified(now)));
        Some(loaded)
    }

    /// Writes an entry.
    ///
    /// # Errors
    /// Where the folder cannot be written to; nothing of the entry is left then.
    pub(super) fn store(&self, key: &Key, content: &Content<'_>) -> io::Result<()> {
        let Some(parts) = entry::parts(content, &key.0) else { return Ok(()) };
        let path = self.path(key);
        self.put(&path, &parts)?;
        self.trim(&path)
    }

    /// Writes a file of the folder, which is there whole or not at all.
    fn put(&self, path: &Path, parts: &[impl AsRef<[u8]>]) -> io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(&self.folder)?;
        let unique = format!("{}-{}.{UNFINISHED}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let unfinished = path.with_extension(unique);
        let written = File::create_new(&unfinished).and_then(|mut file| {
            parts.iter().try_for_each(|part| file.write_all(part.as_ref()))?;
            fs::rename(&unfinished, path)
        });
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    /// Removes the least recently used entries until the others fit, but not `newest`; files that nobody finished; and old notes.
    fn trim(&self, newest: &Path) -> io::Result<()> {
        let mut entries = self.files()?;
        entries.sort_by_key(|e| e.used);
        let mut total: u64 = entries.iter().map(|e| e.bytes).sum();
        for e in entries.iter().filter(|e| e.path != newest) {
            if total <= self.most_bytes {
                break;
            }
            // Another process may have been faster.
            let _ = fs::remove_file(&e.path);
            total -= e.bytes;
        }
        for (ending, most_s) in [(UNFINISHED, ABANDONED_AFTER_S), (known::ENDING, FORGOTTEN_AFTER_S)] {
            for e in self.files_ending(ending)? {
                if e.used.elapsed().is_ok_and(|age| age.as_secs() > most_s) {
                    let _ = fs::remove_file(&e.path);
                }
            }
        }
        Ok(())
    }

    /// All entries, in no order; none where there is no folder.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn files(&self) -> io::Result<Vec<CacheFile>> {
        self.files_ending(ENDING)
    }

    fn files_ending(&self, ending: &str) -> io::Result<Vec<CacheFile>> {
        let folder = match fs::read_dir(&self.folder) {
            Ok(f) => f,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(e) => return Err(e),
        };
        let paths = folder.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == ending));
        let file = |path: PathBuf| {
            let about = fs::metadata(&path).ok()?;
            Some(CacheFile { path, bytes: about.len(), used: about.modified().ok()? })
        };
        Ok(paths.filter_map(file).collect())
    }

    /// Removes all entries, and what is noted of files; gives the number of entries. Programs that have mapped one keep it.
    ///
    /// # Errors
    /// Where one cannot be removed.
    pub fn clear(&self) -> io::Result<usize> {
        let files: Vec<CacheFile> = [self.files()?, self.files_ending(UNFINISHED)?].concat();
        for f in files.iter().chain(&self.files_ending(known::ENDING)?) {
            match fs::remove_file(&f.path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(files.len())
    }
}

#[cfg(test)]
mod tests;
