//! Options of one model, and its compilation into the build script's folder.

use crate::environment::Environment;
use std::path::{Path, PathBuf};
use tflc::artifact::{Library, Name, NameError, Weights, archive, bindings, interface, link_customs};
use tflc::driver;
use tflc::error::CompileError;
use tflc::jit::{JitError, entry_graph, named_shapes};
use tflc::target::{Arch, Cpu, Os, Precision, Target};

/// Why a model could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A variable that cargo sets for build scripts is missing.
    #[error("{0} is not set: call this from a build script, which cargo runs")]
    NotABuildScript(&'static str),
    /// Nothing is known of the target.
    #[error("{0}")]
    Target(String),
    /// There is no such CPU level.
    #[error("unknown CPU {cpu:?} of {platform}; known are baseline, {known}")]
    Cpu {
        /// What was asked for.
        cpu: String,
        /// Platform that is built for.
        platform: &'static str,
        /// Its CPU levels.
        known: String,
    },
    /// A level lacks the precision.
    #[error("{0}; add one with Builder::cpu")]
    Precision(String),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The model, or its compilation.
    #[error("{}: {source}", path.display())]
    Model {
        /// The model's file.
        path: PathBuf,
        /// What is wrong.
        source: JitError,
    },
    /// No Rust module can be made.
    #[error("{}: {reason}", path.display())]
    Bindings {
        /// The model's file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// What a compilation left in the build script's folder.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// Name of the module and of the symbols.
    pub name: String,
    /// The module, for `tflc_runtime::include_model!`.
    pub module: PathBuf,
    /// The static library.
    pub library: PathBuf,
    /// The weights, where they are split.
    pub weights: Option<PathBuf>,
    /// Size of the code in bytes.
    pub code_bytes: usize,
    /// Size of the packed weights in bytes.
    pub weights_bytes: usize,
}

/// Options of one model.
#[derive(Clone, Debug)]
pub struct Builder {
    path: PathBuf,
    name: Option<String>,
    cpus: Vec<String>,
    precision: Precision,
    shapes: Vec<(String, Vec<usize>)>,
    bounds: Vec<(String, Vec<usize>)>,
    signature: Option<String>,
    also: Vec<String>,
    customs: Vec<(String, String)>,
    split_weights: bool,
}

impl Builder {
    /// A model by its path, relative to the package.
    pub fn new(path: impl Into<PathBuf>) -> Builder {
        Builder {
            path: path.into(),
            name: None,
            cpus: vec![],
            precision: Precision::F32,
            shapes: vec![],
            bounds: vec![],
            signature: None,
            also: vec![],
            customs: vec![],
            split_weights: false,
        }
    }

    /// Name of the module, instead of the file's.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// Adds a CPU level, such as `baseline`, `x86-64-v3` or `+dotprod`; with several, the model picks one at run time. Levels of other
    /// processor families than the one built for are left out, so that one build script serves them all. Without any, the level is that
    /// of the whole program (`-C target-cpu`).
    #[must_use]
    pub fn cpu(mut self, level: impl Into<String>) -> Builder {
        self.cpus.push(level.into());
        self
    }

    /// Computes convolutions and matrix products of floats in another precision. Only AArch64 has [`Precision::F16`], from the level `aarch64+fp16` on; built for
    /// another family, the model computes in f32, and cargo warns.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Builder {
        self.precision = precision;
        self
    }

    /// Compiles for another shape of an input, by its name or that in a signature.
    #[must_use]
    pub fn shape(mut self, input: impl Into<String>, shape: &[usize]) -> Builder {
        self.shapes.push((input.into(), shape.to_vec()));
        self
    }

    /// States the largest shape that a tensor may have at run time, by its name in the model, where nothing in the model bounds its size.
    #[must_use]
    pub fn bound(mut self, tensor: impl Into<String>, shape: &[usize]) -> Builder {
        self.bounds.push((tensor.into(), shape.to_vec()));
        self
    }

    /// Compiles the signature with this key instead of the primary graph.
    #[must_use]
    pub fn signature(mut self, key: impl Into<String>) -> Builder {
        self.signature = Some(key.into());
        self
    }

    /// Compiles this signature too: `Model` gets a method of its name, which shares weights and variables, and the module one with its types.
    #[must_use]
    pub fn and_signature(mut self, key: impl Into<String>) -> Builder {
        self.also.push(key.into());
        self
    }

    /// Says which C function of the program computes a custom operator of the model; see `tflc_runtime::abi::CustomFunction`.
    #[must_use]
    pub fn custom(mut self, name: impl Into<String>, function: impl Into<String>) -> Builder {
        self.customs.push((name.into(), function.into()));
        self
    }

    /// Leaves the weights in a file `NAME.weights` beside the library, which the program maps and gives to `Model::new`.
    #[must_use]
    pub fn split_weights(mut self, split: bool) -> Builder {
        self.split_weights = split;
        self
    }

    /// [`Builder::compile`]; where that fails, says why and ends the build script.
    pub fn compile_or_exit(self) -> Compiled {
        self.compile().unwrap_or_else(|e| {
            eprintln!("error: {e}");
            std::process::exit(1)
        })
    }

    /// Compiles the model, writes its library and module to `OUT_DIR`, and tells cargo to link it and what it depends on: the model's file
    /// and the others that it has constants in, also those that are missing.
    ///
    /// # Errors
    /// Where this is no build script, an option does not fit the model or the target, the model cannot be compiled, or a file not be
    /// written.
    pub fn compile(&self) -> Result<Compiled, BuildError> {
        self.compile_telling(&Environment::read()?, |instruction| println!("cargo::{instruction}"))
    }

    /// [`Builder::compile`], with each instruction to cargo given to `tell`.
    fn compile_telling(&self, environment: &Environment, mut tell: impl FnMut(String)) -> Result<Compiled, BuildError> {
        let path = environment.package.join(&self.path);
        // Before the compilation: one that failed is tried again when a file has changed.
        inputs(&path).iter().for_each(|input| tell(format!("rerun-if-changed={}", input.display())));
        let (compiled, warnings) = self.build(environment, &path)?;
        warnings.iter().for_each(|w| tell(format!("warning={}: {w}", self.path.display())));
        tell(format!("rustc-link-search=native={}", environment.out.display()));
        tell(format!("rustc-link-lib=static={}", compiled.name));
        Ok(compiled)
    }

    fn targets(&self, environment: &Environment, warnings: &mut Vec<String>) -> Result<Vec<Target>, BuildError> {
        let platform = environment.platform;
        let mut cpus: Vec<Cpu> = vec![];
        for level in &self.cpus {
            match Cpu::parse_for(platform.arch, level) {
                Some(cpu) => cpus.push(cpu),
                // Another family's.
                None if Target::parse_cpu(level).is_some() || level.starts_with('+') => {}
                None => {
                    let known = Cpu::names(platform).join(", ");
                    return Err(BuildError::Cpu { cpu: level.clone(), platform: platform.name(), known });
                }
            }
        }
        if cpus.is_empty() {
            if !self.cpus.is_empty() {
                warnings.push(format!("none of the CPU levels is of {}; compiled for {}", platform.name(), environment.cpu()));
            }
            cpus.push(environment.cpu());
        }
        let mut precision = self.precision;
        if precision == Precision::F16 && platform.arch != Arch::Aarch64 {
            warnings.push(format!("precision f16 is for aarch64; compiled for {} with f32", platform.name()));
            precision = Precision::F32;
        }
        let mut targets: Vec<Target> = vec![];
        for cpu in cpus {
            let target = Target::on(cpu, platform.os).with_precision(precision).map_err(|e| BuildError::Precision(e.to_string()))?;
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        Ok(targets)
    }

    /// Compiles into files; also gives warnings.
    fn build(&self, environment: &Environment, path: &Path) -> Result<(Compiled, Vec<String>), BuildError> {
        let mut warnings = vec![];
        let wrong = |source: JitError| BuildError::Model { path: path.to_path_buf(), source };
        let compiling = |e: CompileError| wrong(e.into());
        let name = match &self.name {
            Some(name) => Name::new(name)?,
            None => Name::from_stem(&path.file_stem().unwrap_or_default().to_string_lossy()),
        };
        let targets = self.targets(environment, &mut warnings)?;
        let mut model = driver::load(path).map_err(compiling)?;
        let entry = entry_graph(&model, self.signature.as_deref()).map_err(wrong)?;
        driver::bound(&mut model, &self.bounds).map_err(compiling)?;
        let shapes = named_shapes(&model, entry, &self.shapes).map_err(wrong)?;
        if !shapes.is_empty() {
            driver::resize(&mut model, entry, &shapes).map_err(compiling)?;
        }
        link_customs(&mut model, &self.customs).map_err(compiling)?;
        let mut others = vec![];
        for key in &self.also {
            others.push((key.clone(), entry_graph(&model, Some(key)).map_err(wrong)?));
        }
        let levels = driver::levels_entries(&model, entry, &others, &targets).map_err(compiling)?;
        let placement = if self.split_weights { Weights::Split } else { Weights::Embedded };
        let library = Library::new(name, &levels, placement).map_err(compiling)?;
        let interface = interface(&library, &levels, &model);
        let open = |i: usize| levels[0].program.inputs[i].signature.as_ref().is_some_and(|s| s.contains(&-1));
        for (i, t) in interface.ports.inputs.iter().enumerate().filter(|(i, _)| open(*i) && self.shapes.is_empty()) {
            warnings.push(format!("input {i} ({:?}) has open dimensions; compiled for {:?}, see Builder::shape", t.name, t.shape));
        }
        let module = bindings::module(&interface).map_err(|e| BuildError::Bindings { path: path.to_path_buf(), reason: e.to_string() })?;
        let file = |name: String| environment.out.join(name);
        let archive_name = match environment.platform.os {
            Os::Windows => format!("{}.lib", library.name),
            _ => format!("lib{}.a", library.name),
        };
        let compiled = Compiled {
            name: library.name.to_string(),
            module: file(format!("{}.rs", library.name)),
            library: file(archive_name),
            weights: self.split_weights.then(|| file(format!("{}.weights", library.name))),
            code_bytes: library.image.bytes.len(),
            weights_bytes: library.weights.len(),
        };
        write(&compiled.library, &archive(&library).map_err(compiling)?)?;
        if let Some(path) = &compiled.weights {
            write(path, &library.weights)?;
        }
        write(&compiled.module, module.as_bytes())?;
        Ok((compiled, warnings))
    }
}

/// All files that the compilation of the model at a path may read, that one first.
fn inputs(path: &Path) -> Vec<PathBuf> {
    // What is wrong with a file is for the compilation to say.
    let bytes = std::fs::read(path).unwrap_or_default();
    let names = driver::external_files(&bytes).unwrap_or_default();
    std::iter::once(path.to_path_buf()).chain(names.iter().map(|name| path.with_file_name(name))).collect()
}

fn write(path: &Path, content: &[u8]) -> Result<(), BuildError> {
    std::fs::write(path, content).map_err(|source| BuildError::Write { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tflc::frontend::schema::{ExternalBuffer, ExternalBufferGroup};
    use tflc::frontend::{Limits, ModelFile, write_model};
    use tflc::target::Platform;

    fn environment(target: &str) -> Environment {
        Environment {
            package: Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
            out: std::env::temp_dir(),
            platform: Platform::parse(target).expect("known"),
            features: vec![],
        }
    }

    #[test]
    fn levels_of_other_families_are_left_out() {
        let builder = Builder::new("m.tflite").cpu("baseline").cpu("x86-64-v3").cpu("+dotprod");
        let cpus = |target: &str| -> Vec<String> {
            let mut warnings = vec![];
            let targets = builder.targets(&environment(target), &mut warnings).expect("known");
            assert!(warnings.is_empty());
            targets.iter().map(|t| t.cpu.to_string()).collect()
        };
        assert_eq!(cpus("x86_64-unknown-linux-gnu"), ["x86-64", "x86-64-v3"]);
        assert_eq!(cpus("aarch64-apple-darwin"), ["aarch64", "aarch64+dotprod"]);
        let e = Builder::new("m.tflite").cpu("x86-64-v9").targets(&environment("x86_64-linux"), &mut vec![]).expect_err("unknown");
        assert!(e.to_string().contains("x86-64-v4+vnni"), "{e}");
    }

    #[test]
    fn a_precision_is_for_processors_that_have_it() {
        let builder = Builder::new("m.tflite").cpu("+fp16").precision(Precision::F16);
        let targets = |builder: &Builder, target: &str| {
            let mut warnings = vec![];
            let targets = builder.targets(&environment(target), &mut warnings);
            targets.map(|t| (t.iter().map(|t| format!("{} {}", t.cpu, t.precision)).collect::<Vec<_>>(), warnings))
        };
        let (levels, warnings) = targets(&builder, "aarch64-linux-android").expect("has it");
        assert_eq!((levels, warnings.len()), (vec!["aarch64+fp16 f16".to_string()], 0));
        let e = targets(&builder.clone().cpu("baseline"), "aarch64-linux-android").expect_err("the baseline has not");
        assert!(e.to_string().contains("aarch64+fp16, aarch64+dotprod") && e.to_string().contains("Builder::cpu"), "{e}");
        let (levels, warnings) = targets(&builder.clone().cpu("x86-64-v3"), "x86_64-unknown-linux-gnu").expect("in f32");
        assert_eq!(levels, ["x86-64-v3 f32"]);
        assert!(warnings[0].contains("precision f16"), "{warnings:?}");
    }

    #[test]
    fn cargo_hears_of_all_files_of_a_model() {
        let folder = tempfile::tempdir().expect("folder");
        let of_package = environment("x86_64-unknown-linux-gnu");
        let shipped = of_package.package.join("tests/models/ops/add_i8_constant.tflite");
        let environment = Environment { package: folder.path().into(), out: folder.path().into(), ..of_package };
        let told = || {
            let mut told = vec![];
            let compiled = Builder::new("add.tflite").compile_telling(&environment, |instruction| told.push(instruction));
            told.retain(|instruction| instruction.starts_with("rerun-if-changed="));
            (told, compiled.is_ok())
        };
        let rerun = |name: &str| format!("rerun-if-changed={}", folder.path().join(name).display());
        let (path, parts) = (folder.path().join("add.tflite"), folder.path().join("parts"));
        assert_eq!(told(), (vec![rerun("add.tflite")], false), "there is no model");
        let mut model = ModelFile::open(shipped, &Limits::default()).and_then(|file| file.unpack()).expect("model");
        let is_constant = |buffer: u32| model.buffers[buffer as usize].data.as_ref().is_some_and(|data| !data.is_empty());
        let constant = model.subgraphs[0].tensors.iter().position(|tensor| is_constant(tensor.buffer)).expect("a constant");
        let tensor = &mut model.subgraphs[0].tensors[constant];
        let data = model.buffers[tensor.buffer as usize].data.take().expect("a constant");
        (tensor.buffer, tensor.external_buffer) = (0, 1);
        let external = ExternalBuffer { id: 1, group: 0, offset: 0, length: data.len() as u64, packing: String::new() };
        model.external_buffers.push(external);
        // The last name would tell cargo something else.
        let names = ["parts/constant", "unused", "x\ncargo::rustc-link-arg=x"];
        model.external_buffer_groups.extend(names.map(|name| ExternalBufferGroup { name: name.into() }));
        std::fs::write(&path, write_model(&model).expect("fits")).expect("writes");
        let all = ["add.tflite", "parts/constant", "unused"].map(rerun).to_vec();
        assert_eq!(told(), (all.clone(), false), "a file that is missing may come");
        std::fs::create_dir(&parts).and_then(|()| std::fs::write(parts.join("constant"), data)).expect("writes");
        assert_eq!(told(), (all, true));
    }

    #[test]
    fn errors_name_the_model() {
        let environment = environment("x86_64-linux");
        let path = environment.package.join("README.md");
        let e = Builder::new("README.md").build(&environment, &path).expect_err("no model");
        assert!(e.to_string().contains("README.md"), "{e}");
        let path = environment.package.join("tests/models/digits/digits_int8.tflite");
        let e = Builder::new(&path).signature("training").build(&environment, &path).expect_err("no such signature");
        assert!(e.to_string().contains("digits_int8.tflite") && e.to_string().contains("serving_default"), "{e}");
        let e = Builder::new(&path).name("2fast").build(&environment, &path).expect_err("no identifier");
        assert!(e.to_string().contains("2fast"), "{e}");
    }
}
