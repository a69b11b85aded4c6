//! Hashes of models, noted so that a file is read once and not at every start.
//!
//! A model is its file and the others that it has constants in. Each file has a note of its own, which belongs to its path and says which file was
//! there: device, number, size, and both of its times; then the hash of its bytes, and the names of the other files that these bytes lead to. So a
//! start that finds notes reads no file of the model. A note counts as long as the system says the same of the file at its path. The time of the last
//! change of any kind cannot be set by programs, but has steps: files that changed less than two seconds before they were hashed are not noted, since
//! they could change again within one step. Systems that do not number files have no notes.

use super::{Cache, hex};
use memmap2::Mmap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Ending of notes.
pub(super) const ENDING: &str = "tflcseen";
/// First bytes of a note; the number is that of the format.
const MAGIC: &[u8; 8] = b"tflcsee2";
/// Number of bytes that say which file it was.
const IDENTITY: usize = 7 * 8;
/// A file that has been left alone for so long gets another time when it changes, on any file system.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Hashes of all files of a model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) struct Hashed {
    model: Seen,
    /// The other files that it has constants in.
    others: Vec<(PathBuf, Seen)>,
}

/// A file that was hashed.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    hash: [u8; 32],
    /// Names of the other files that it leads to, relative to its folder.
    others: Vec<String>,
    identity: Option<Identity>,
}

/// What the system says of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Identity {
    bytes: [u8; IDENTITY],
    /// The later one of its times.
    changed: SystemTime,
}

impl Identity {
    #[cfg(unix)]
    fn new(about: &fs::Metadata) -> Option<Identity> {
        use std::os::unix::fs::MetadataExt;
        let numbers: [u64; 7] = [
            about.dev(),
            about.ino(),
            about.size(),
            about.mtime() as u64,
            about.mtime_nsec() as u64,
            about.ctime() as u64,
            about.ctime_nsec() as u64,
        ];
        let mut bytes = [0; IDENTITY];
        bytes.chunks_exact_mut(8).zip(numbers).for_each(|(to, n)| to.copy_from_slice(&n.to_le_bytes()));
        let seconds = |s: i64| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(s).ok()?));
        Some(Identity { bytes, changed: seconds(about.mtime().max(about.ctime()).checked_add(1)?)? })
    }

    #[cfg(not(unix))]
    fn new(_: &fs::Metadata) -> Option<Identity> {
        None
    }

    fn of(file: &File) -> Option<Identity> {
        Identity::new(&file.metadata().ok()?)
    }

    fn is_settled(&self) -> bool {
        self.changed.elapsed().is_ok_and(|age| age >= SETTLED_AFTER)
    }
}

impl Hashed {
    /// The hashes of the model at a path, from notes where there are any; nothing where a file cannot be read. `names` gives the names of the other
    /// files that a model file with these bytes leads to, or nothing where it is wrong.
    pub(in super::super) fn model(path: &Path, cache: &Cache, names: impl Fn(&[u8]) -> Option<Vec<String>>) -> Option<Hashed> {
        let model = Seen::at(path, cache, &names)?;
        let folder = path.parent()?;
        let other = |name: &String| {
            let path = folder.join(name);
            // The model chose the name, and to open a pipe may block.
            let seen = fs::metadata(&path).ok().filter(fs::Metadata::is_file).and_then(|_| Seen::at(&path, cache, &names))?;
            Some((path, seen))
        };
        Some(Hashed { others: model.others.iter().map(other).collect::<Option<_>>()?, model })
    }

    /// The hashes; how many there are follows from the first.
    pub(super) fn hashes(&self) -> impl Iterator<Item = &[u8; 32]> {
        std::iter::once(&self.model).chain(self.others.iter().map(|(_, seen)| seen)).map(|seen| &seen.hash)
    }

    /// Whether all files have the same bytes as another model's.
    pub(in super::super) fn has_bytes_of(&self, other: &Hashed) -> bool {
        self.hashes().eq(other.hashes())
    }

    /// Whether the files of the model at the path are still those that were hashed, as far as this system can say.
    pub(in super::super) fn is_still_at(&self, path: &Path) -> bool {
        self.model.is_still_at(path) && self.others.iter().all(|(path, seen)| seen.is_still_at(path))
    }
}

impl Seen {
    fn at(path: &Path, cache: &Cache, names: impl Fn(&[u8]) -> Option<Vec<String>>) -> Option<Seen> {
        let file = File::open(path).ok()?;
        let identity = Identity::of(&file);
        let note = note_of(path, cache);
        if let (Some(identity), Some(note)) = (&identity, &note)
            && let Some(seen) = Seen::read(note, identity)
        {
            return Some(seen);
        }
        // SAFETY: the bytes are hashed and read through checked slices; a file that changes meanwhile gives a hash that no entry has.
        let map = unsafe { Mmap::map(&file) }.ok()?;
        let seen = Seen { hash: *blake3::hash(&map).as_bytes(), others: names(&map)?, identity };
        if let (Some(identity), Some(note)) = (&seen.identity, &note)
            && identity.is_settled()
            && Identity::of(&file).as_ref() == Some(identity)
        {
            // Where it cannot be written, the next start hashes the file too.
            let _ = cache.put(note, &[seen.note(identity)]);
        }
        Some(seen)
    }

    fn is_still_at(&self, path: &Path) -> bool {
        self.identity.is_none() || fs::metadata(path).ok().and_then(|about| Identity::new(&about)) == self.identity
    }

    /// A note: magic, which file, its hash; then names, each ended by a zero byte, and a checksum.
    fn note(&self, identity: &Identity) -> Vec<u8> {
        let mut note = [&MAGIC[..], &identity.bytes, &self.hash].concat();
        for name in &self.others {
            note.extend(name.bytes().chain([0]));
        }
        let checksum = crc32fast::hash(&note);
        note.extend(checksum.to_le_bytes());
        note
    }

    /// What a note says, if it is whole and of this file.
    fn read(note: &Path, identity: &Identity) -> Option<Seen> {
        let bytes = fs::read(note).ok()?;
        let (checked, checksum) = bytes.split_last_chunk()?;
        let (hash, names) = checked.strip_prefix(MAGIC)?.strip_prefix(&identity.bytes)?.split_first_chunk()?;
        if crc32fast::hash(checked).to_le_bytes() != *checksum {
            return None;
        }
        let others = std::str::from_utf8(names).ok()?.split_terminator('\0').map(String::from).collect();
        Some(Seen { hash: *hash, others, identity: Some(identity.clone()) })
    }
}

/// Where the note of a path is.
fn note_of(path: &Path, cache: &Cache) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let name = blake3::hash(path.as_os_str().as_encoded_bytes());
    Some(cache.folder().join(hex(&name.as_bytes()[..16])).with_extension(ENDING))
}
