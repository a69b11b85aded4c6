//! Compiled models as files: objects, archives, headers, bindings, the manifest.
//!
//! In: one lowered program for each CPU level, and a name. [`Library::new`] puts the code of all levels, their descriptors and the function
//! that chooses between them into one image, and the packed weights beside it; the writers turn that into files' contents. Same programs, same
//! bytes. Nothing here touches the file system or starts a linker.

mod archive;
mod customs;
mod descriptor;
mod interface;
mod library;
#[cfg(feature = "cli")]
mod manifest;
mod name;
mod object;

pub use archive::archive;
pub use customs::link_customs;
pub use interface::interface;
pub use library::{Level, LevelSignature, Library, Weights};
#[cfg(feature = "cli")]
pub use manifest::{Manifest, SourceFile, SourceFiles, manifest};
pub use name::{Name, NameError};
pub use object::object;
pub use tflc_templates::bindings;
