//! Hashes of model files, noted so that a file is read once and not at every start.
//!
//! A note belongs to a path and says which file was there: device, number, size, and both of its times. It counts as long as the system says the
//! same of the file at that path. The time of the last change of any kind cannot be set by programs, but has steps: files that changed less than
//! two seconds before they were hashed are not noted, since they could change again within one step. Systems that do not number files have no notes.

use super::{Cache, hex};
use memmap2::Mmap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Ending of notes.
pub(super) const ENDING: &str = "tflcseen";
/// First bytes of a note; the number is that of the format.
const MAGIC: &[u8; 8] = b"tflcsee1";
/// Number of bytes that say which file it was.
const IDENTITY: usize = 7 * 8;
/// Magic, which file, its hash, checksum.
const NOTE: usize = 8 + IDENTITY + 32 + 4;
/// A file that has been left alone for so long gets another time when it changes, on any file system.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Hash of a model file's bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) struct Hashed {
    pub(super) hash: [u8; 32],
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
    /// The hash of the file at a path, from a note where there is one; nothing where it cannot be read.
    pub(in super::super) fn file(path: &Path, cache: &Cache) -> Option<Hashed> {
        let file = File::open(path).ok()?;
        let identity = Identity::of(&file);
        let note = note_of(path, cache);
        if let (Some(identity), Some(note)) = (&identity, &note)
            && let Some(hash) = read(note, identity)
        {
            return Some(Hashed { hash, identity: Some(identity.clone()) });
        }
        // SAFETY: the bytes are hashed; a file that changes meanwhile gives a hash that no entry has.
        let map = unsafe { Mmap::map(&file) }.ok()?;
        let hashed = Hashed { hash: *blake3::hash(&map).as_bytes(), identity };
        if let (Some(identity), Some(note)) = (&hashed.identity, &note)
            && identity.is_settled()
            && Identity::of(&file).as_ref() == Some(identity)
        {
            // Where it cannot be written, the next start hashes the file too.
            let _ = cache.put(note, &[&note_bytes(identity, &hashed.hash)]);
        }
        Some(hashed)
    }

    /// Whether the file at the path is still the one that was hashed, as far as this system can say.
    pub(in super::super) fn is_still_at(&self, path: &Path) -> bool {
        self.identity.is_none() || fs::metadata(path).ok().and_then(|about| Identity::new(&about)) == self.identity
    }
}

/// Where the note of a path is.
fn note_of(path: &Path, cache: &Cache) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let name = blake3::hash(path.as_os_str().as_encoded_bytes());
    Some(cache.folder().join(hex(&name.as_bytes()[..16])).with_extension(ENDING))
}

fn note_bytes(identity: &Identity, hash: &[u8; 32]) -> [u8; NOTE] {
    let mut note = [0; NOTE];
    note[..8].copy_from_slice(MAGIC);
    note[8..8 + IDENTITY].copy_from_slice(&identity.bytes);
    note[8 + IDENTITY..NOTE - 4].copy_from_slice(hash);
    let checksum = crc32fast::hash(&note[..NOTE - 4]);
    note[NOTE - 4..].copy_from_slice(&checksum.to_le_bytes());
    note
}

/// The hash in a note, if it is whole and of this file.
fn read(note: &Path, identity: &Identity) -> Option<[u8; 32]> {
    let bytes = fs::read(note).ok()?;
    let hash: [u8; 32] = bytes.get(8 + IDENTITY..NOTE - 4)?.try_into().ok()?;
    (bytes == note_bytes(identity, &hash)).then_some(hash)
}
