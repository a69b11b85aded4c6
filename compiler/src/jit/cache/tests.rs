//! Entries are found again, refused when damaged, kept apart by options and by all files of a model, bounded, and written by several threads at once.

use super::*;
use crate::frontend::schema::{ExternalBuffer, ExternalBufferGroup};
use crate::frontend::{Limits, ModelFile, write_model};
use crate::jit::{JitError, Model, Options};
use crate::target::{Cpu, X86Level};

fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/digits/digits_int8.tflite")
}

fn scores(model: &mut Model) -> Vec<u8> {
    let image: Vec<u8> = (0..1024u32).map(|i| (i * 37) as u8).collect();
    let mut out = vec![0; 10];
    model.run(&[&image], &mut [&mut out]).expect("runs");
    out
}

fn load(cache: &Cache, options: Options) -> Model {
    options.cache(cache.clone()).load(digits()).expect("compiles")
}

#[test]
fn the_second_start_takes_what_the_first_one_made() {
    let folder = tempfile::tempdir().expect("folder");
    let cache = Cache::new(folder.path().join("new/folder"));
    let mut first = load(&cache, Options::new());
    assert!(!first.was_cached());
    let mut second = load(&cache, Options::new());
    assert!(second.was_cached());
    assert_eq!(scores(&mut first), scores(&mut second));
    assert_eq!(first.inputs(), second.inputs());
    assert_eq!(first.outputs(), second.outputs());
    assert_eq!((first.arena_bytes(), first.weights_bytes()), (second.arena_bytes(), second.weights_bytes()));
    // A model from the cache can be compiled anew.
    second.resize_input("serving_default_image:0", &[1, 32, 32, 1]).expect("compiles");
    assert_eq!(scores(&mut first), scores(&mut second));
    // Other options, another entry.
    assert!(!load(&cache, Options::new().cpu(Cpu::X86(X86Level::Baseline))).was_cached());
    assert_eq!(cache.files().expect("folder").len(), 2);
    assert_eq!(cache.clear().expect("clears"), 2);
    assert!(!load(&cache, Options::new()).was_cached());
}

#[test]
fn shapes_known_only_at_run_time_come_from_the_cache_too() {
    let folder = tempfile::tempdir().expect("folder");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/ops/unique_i32.tflite");
    for cached in [false, true] {
        let mut model = Options::new().cache(Cache::new(folder.path())).load(&model).expect("compiles");
        assert_eq!(model.was_cached(), cached);
        let input = vec![0; model.inputs()[0].ty.bytes()];
        let mut outputs: Vec<Vec<u8>> = model.outputs().iter().map(|o| vec![0; o.ty.bytes()]).collect();
        model.run(&[&input], &mut outputs.iter_mut().map(|o| &mut o[..]).collect::<Vec<_>>()).expect("runs");
        assert_eq!(model.output_shape(0), [1], "all elements are the same");
    }
}

#[test]
fn damaged_entries_are_written_anew() {
    let folder = tempfile::tempdir().expect("folder");
    let cache = Cache::new(folder.path());
    let expected = scores(&mut load(&cache, Options::new()));
    let path = cache.files().expect("folder")[0].path.clone();
    let whole = fs::read(&path).expect("entry");
    for at in [0, 9, 20, 60, 4096, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        fs::write(&path, damaged).expect("writes");
        let mut model = load(&cache, Options::new());
        assert!(!model.was_cached(), "byte {at}");
        assert_eq!(scores(&mut model), expected);
        assert!(load(&cache, Options::new()).was_cached(), "byte {at}");
    }
    for length in [0, 7, 95, 5000] {
        fs::write(&path, &whole[..length]).expect("writes");
        assert!(!load(&cache, Options::new()).was_cached(), "{length} bytes");
    }
}

#[cfg(unix)]
#[test]
fn notes_of_models_are_believed_only_where_they_are_whole_and_of_that_file() {
    let folder = tempfile::tempdir().expect("folder");
    let cache = Cache::new(folder.path());
    let expected = scores(&mut load(&cache, Options::new()));
    let notes = || cache.files_ending(known::ENDING).expect("folder");
    assert_eq!(notes().len(), 1, "the model has been there for a while");
    let path = notes()[0].path.clone();
    let whole = fs::read(&path).expect("note");
    for at in [0, 8, 40, 64, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&path, damaged).expect("writes");
        let mut model = load(&cache, Options::new());
        assert!(model.was_cached(), "byte {at}: the model is hashed again");
        assert_eq!(scores(&mut model), expected);
        assert_eq!(fs::read(&path).expect("note"), whole, "byte {at}");
    }
    // The same path with another content, which may be as young as the first one: no note is made of such.
    let model = folder.path().join("model.tflite");
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/ops/unique_i32.tflite");
    for (source, known) in [(digits(), true), (other.clone(), false), (digits(), true), (other, true)] {
        fs::write(&model, fs::read(source).expect("reads")).expect("writes");
        let loaded = Options::new().cache(cache.clone()).load(&model).expect("compiles");
        assert_eq!(loaded.was_cached(), known);
    }
    assert_eq!(notes().len(), 1);
    assert_eq!(cache.clear().expect("clears"), 2, "notes do not count");
    assert!(notes().is_empty());
}

/// Writes the digits model with its weights in another file; gives the paths of both, and other weights of the same size.
fn with_weights_beside(folder: &Path) -> (PathBuf, PathBuf, Vec<u8>) {
    let mut model = ModelFile::open(digits(), &Limits::default()).and_then(|file| file.unpack()).expect("model");
    let mut weights = vec![];
    for tensor in model.subgraphs.iter_mut().flat_map(|graph| &mut graph.tensors) {
        let Some(data) = model.buffers[tensor.buffer as usize].data.as_ref().filter(|data| data.len() >= 1000) else { continue };
        let id = model.external_buffers.len() as u32 + 1;
        let (offset, length) = (weights.len() as u64, data.len() as u64);
        model.external_buffers.push(ExternalBuffer { id, group: 0, offset, length, packing: String::new() });
        weights.extend_from_slice(data);
        (tensor.buffer, tensor.external_buffer) = (0, id);
    }
    model.external_buffer_groups.push(ExternalBufferGroup { name: "parts/weights.bin".into() });
    let paths = (folder.join("model.tflite"), folder.join("parts/weights.bin"));
    fs::create_dir(folder.join("parts")).expect("folder");
    fs::write(&paths.0, write_model(&model).expect("fits")).expect("writes");
    fs::write(&paths.1, &weights).expect("writes");
    let other = weights.iter().map(|w| w.wrapping_neg()).collect();
    (paths.0, paths.1, other)
}

/// Loads a model through a cache and checks that it computes what it computes without one.
fn was_cached(cache: &Cache, path: &Path) -> bool {
    let mut loaded = Options::new().cache(cache.clone()).load(path).expect("compiles");
    assert_eq!(scores(&mut loaded), scores(&mut Options::new().load(path).expect("compiles")));
    loaded.was_cached()
}

#[test]
fn other_weights_beside_the_same_model_are_another_entry() {
    let folder = tempfile::tempdir().expect("folder");
    let (model, weights, other) = with_weights_beside(folder.path());
    let cache = Cache::new(folder.path().join("cache"));
    let first = fs::read(&weights).expect("reads");
    for (content, known) in [(&first, false), (&first, true), (&other, false), (&other, true), (&first, true)] {
        fs::write(&weights, content).expect("writes");
        assert_eq!(was_cached(&cache, &model), known);
    }
    assert_eq!(cache.files().expect("folder").len(), 2);
}

#[cfg(unix)]
#[test]
fn notes_of_weights_beside_a_model_are_of_that_file_only() {
    let folder = tempfile::tempdir().expect("folder");
    let (model, weights, other) = with_weights_beside(folder.path());
    let cache = Cache::new(folder.path().join("cache"));
    let notes = || cache.files_ending(known::ENDING).expect("folder");
    let started = std::time::Instant::now();
    while notes().len() < 2 {
        was_cached(&cache, &model);
        assert!(started.elapsed().as_secs() < 60, "the files have been there for a while");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert!(was_cached(&cache, &model));
    // The last byte before the checksum is one of a name in one note and one of a hash in the other.
    for note in notes() {
        let whole = fs::read(&note.path).expect("note");
        let mut damaged = whole.clone();
        damaged[whole.len() - 5] ^= 1;
        fs::write(&note.path, damaged).expect("writes");
        assert!(was_cached(&cache, &model), "the file is hashed again");
        assert_eq!(fs::read(&note.path).expect("note"), whole);
    }
    // As many bytes at the same time, as far as programs can set it.
    let modified = fs::metadata(&weights).and_then(|about| about.modified()).expect("time");
    fs::write(&weights, other).expect("writes");
    File::options().append(true).open(&weights).and_then(|file| file.set_modified(modified)).expect("time");
    assert!(!was_cached(&cache, &model));
    assert!(was_cached(&cache, &model));
    assert_eq!(notes().len(), 2);
}

#[test]
fn weights_that_cannot_be_read_are_the_same_error_with_a_cache() {
    let folder = tempfile::tempdir().expect("folder");
    let (model, weights, _) = with_weights_beside(folder.path());
    let cache = Cache::new(folder.path().join("cache"));
    assert!(!was_cached(&cache, &model));
    let error = |options: Options| options.load(&model).err().map(|e| e.to_string()).expect("an error");
    let check = |part: &str| {
        let with_cache = error(Options::new().cache(cache.clone()));
        assert_eq!(with_cache, error(Options::new()));
        assert!(with_cache.contains("external_buffers[0]") && with_cache.contains(part), "{with_cache}");
    };
    fs::write(&weights, [0; 3]).expect("writes");
    check("3 bytes");
    fs::remove_file(&weights).expect("removes");
    check("put that file beside the model");
    fs::create_dir(&weights).expect("folder");
    check("weights.bin");
}

#[test]
fn code_from_the_cache_is_not_compiled_anew_from_other_files() {
    let folder = tempfile::tempdir().expect("folder");
    let (path, weights, other) = with_weights_beside(folder.path());
    let cache = Cache::new(folder.path().join("cache"));
    assert!(!was_cached(&cache, &path));
    let mut model = Options::new().cache(cache).load(&path).expect("compiles");
    assert!(model.was_cached());
    let expected = scores(&mut model);
    let mut resize = || {
        let resized = model.resize_input("serving_default_image:0", &[1, 32, 32, 1]);
        assert_eq!(scores(&mut model), expected);
        resized
    };
    let first = [fs::read(&path).expect("reads"), fs::read(&weights).expect("reads")];
    for (file, bytes, changed) in [(&path, &first[0], fs::read(digits()).expect("reads")), (&weights, &first[1], other)] {
        fs::write(file, changed).expect("writes");
        let error = resize().expect_err("another model");
        assert!(matches!(&error, JitError::Changed { path: named } if *named == path), "{error}");
        fs::remove_file(file).expect("removes");
        assert!(matches!(resize(), Err(JitError::Changed { .. })), "no model");
        fs::write(file, bytes).expect("writes");
    }
    resize().expect("other files with the same bytes");
}

#[test]
fn entries_are_bounded_and_written_by_many() {
    let folder = tempfile::tempdir().expect("folder");
    let cache = Cache::new(folder.path()).most_bytes(1);
    load(&cache, Options::new());
    load(&cache, Options::new().cpu(Cpu::X86(X86Level::Baseline)));
    assert_eq!(cache.files().expect("folder").len(), 1, "the newest stays");
    let cache = Cache::new(folder.path());
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| scores(&mut load(&cache, Options::new())));
        }
    });
    assert!(load(&cache, Options::new()).was_cached());
    assert!(cache.files_ending(UNFINISHED).expect("folder").is_empty());
}

#[test]
fn a_folder_that_cannot_be_written_to_is_no_obstacle() {
    let cache = Cache::new("/dev/null/cache");
    assert!(!load(&cache, Options::new()).was_cached());
}
