//! A compiled model before it has a file format: code of all CPU levels, descriptors, weights.

use super::descriptor::{About, DESCRIPTOR_ALIGN, Entry, INVOKE_AT, descriptor};
use super::name::Name;
use crate::backend::cranelift::{Choice, Compiler, WeightsAt};
use crate::backend::image::{External, Function, Image, Link, LinkKind};
use crate::backend::{self, BackendError, Code, ENTRY, entry_name, x86};
use crate::error::CompileError;
use crate::lower::program::{ARENA_ALIGN, Program};
use crate::target::{Arch, Cpu, Platform, Target, X86Level};
use std::collections::BTreeSet;

/// A program made for one CPU level.
#[derive(Clone, Debug)]
pub struct Level {
    /// What it was made for.
    pub target: Target,
    /// The program.
    pub program: Program,
    /// Its signatures.
    pub signatures: Vec<LevelSignature>,
}

/// A signature of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LevelSignature {
    /// Key.
    pub key: String,
    /// Position among the program's further entry points; `None` for the first one.
    pub other: Option<usize>,
    /// Names of the inputs, in the order of the graph; empty where the signature has none.
    pub inputs: Vec<String>,
    /// Names of the outputs.
    pub outputs: Vec<String>,
}

/// Where the packed weights go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weights {
    /// Into the object.
    Embedded,
    /// Into a file beside it, whose address every run gets.
    Split,
}

/// A compiled model.
#[derive(Clone, Debug)]
pub struct Library {
    /// Prefix of its symbols.
    pub name: Name,
    /// Processor family and operating system.
    pub platform: Platform,
    /// Code, descriptors, and `NAME_model`.
    pub image: Image,
    /// Packed weights of all levels.
    pub weights: Vec<u8>,
    /// Offset of each level's weights.
    pub weights_at: Vec<usize>,
    /// Where the weights go.
    pub placement: Weights,
    /// Symbols of custom operators' functions, which the program brings.
    pub symbols: Vec<String>,
}

fn internal(e: BackendError) -> CompileError {
    CompileError::Internal(e.to_string())
}

impl Library {
    /// Compiles the programs of all levels, the baseline or least demanding one first, into one library.
    ///
    /// # Errors
    /// Where levels contradict each other, split weights are asked for more than one level, or a backend fails.
    pub fn new(name: Name, levels: &[Level], placement: Weights) -> Result<Library, CompileError> {
        let platform = check(levels, placement)?;
        let mut library = Library {
            name,
            platform,
            image: Image { bytes: vec![], align: 1, symbols: vec![], references: vec![] },
            weights: vec![],
            weights_at: vec![],
            placement,
            symbols: levels.iter().flat_map(|l| l.program.symbols()).collect::<BTreeSet<_>>().into_iter().collect(),
        };
        let mut functions = vec![];
        let mut invokes = vec![];
        for (index, level) in levels.iter().enumerate() {
            invokes.push(library.add_code(&mut functions, index, level)?);
        }
        // Descriptors lie together, near the function that chooses one.
        let mut selection = vec![];
        for (index, (level, invokes)) in levels.iter().zip(&invokes).enumerate() {
            let weights = packed(&level.program);
            let about = About {
                name: library.name.as_str(),
                cpu: &level.target.cpu.to_string(),
                arena_bytes: level.program.arena_bytes,
                state_bytes: level.program.state_bytes,
                weights_bytes: level.program.weights_bytes,
                weights_crc32: crc32fast::hash(&weights),
                split_weights: placement == Weights::Split,
            };
            let name = library.symbol(index, levels, "descriptor");
            selection.push(Choice { target: level.target.clone(), descriptor: functions.len() });
            add_descriptors(&mut functions, &name, level, &about, invokes);
            library.add_weights(weights);
        }
        selection.reverse();
        library.add_selection(&mut functions, &selection, &levels[0].target)?;
        library.image = backend::place(&functions).map_err(internal)?;
        Ok(library)
    }

    /// Name of the function that gives the descriptor.
    pub fn model_symbol(&self) -> String {
        format!("{}_model", self.name)
    }

    /// `NAME_LEVEL_what`, or `NAME_what` where there is one level.
    fn symbol(&self, index: usize, levels: &[Level], what: &str) -> String {
        match levels {
            [_] => format!("{}_{what}", self.name),
            _ => format!("{}_{}_{what}", self.name, levels[index].target.cpu.to_string().replace(['-', '+'], "_")),
        }
    }

    /// Adds a level's code; gives the positions of its entry points.
    fn add_code(&self, functions: &mut Vec<Function>, index: usize, level: &Level) -> Result<Vec<usize>, CompileError> {
        let base = functions.len();
        let compiled = backend::compile_functions(&level.program, &level.target).map_err(internal)?;
        let position = |name: &str| {
            let at = compiled.iter().position(|f| f.name == name);
            at.ok_or_else(|| CompileError::Internal(format!("no entry point {name}")))
        };
        let mut entries = vec![(position(ENTRY)?, level.program.inputs.len())];
        for other in &level.program.others {
            entries.push((position(&entry_name(&other.key))?, other.inputs.len()));
        }
        let prefix = self.symbol(index, std::slice::from_ref(level), "");
        let symbols = level.program.symbols();
        for (at, mut f) in compiled.into_iter().enumerate() {
            f.links.iter_mut().for_each(|l| l.to += base);
            for r in &mut f.references {
                if let External::Custom(i) = &mut r.to {
                    *i = self.symbols.iter().position(|s| *s == symbols[*i]).unwrap_or(0);
                }
            }
            // Keys of signatures are no identifiers.
            let plain = f.name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "_");
            f.name = format!("{prefix}{}", if at == entries[0].0 { "driver" } else { &plain });
            functions.push(f);
        }
        let mut bound = vec![];
        for (n, (entry, inputs)) in entries.into_iter().enumerate() {
            let weights = match self.placement {
                Weights::Embedded => WeightsAt::Object(index),
                Weights::Split => WeightsAt::Input(inputs),
            };
            let name = if n == 0 { format!("{prefix}{ENTRY}") } else { format!("{prefix}{ENTRY}{n}") };
            let mut compiler = Compiler::new(&level.target).map_err(internal)?;
            functions.push(compiler.bind_weights(name, base + entry, weights).map_err(internal)?);
            bound.push(functions.len() - 1);
        }
        Ok(bound)
    }

    /// Adds a level's weights, which levels with the same ones share.
    fn add_weights(&mut self, weights: Vec<u8>) {
        let same = self.weights_at.iter().copied().find(|&at| self.weights.get(at..at + weights.len()) == Some(&weights));
        let at = same.unwrap_or_else(|| {
            let at = self.weights.len().next_multiple_of(ARENA_ALIGN);
            if at == 0 {
                self.weights = weights;
            } else {
                self.weights.resize(at, 0);
                self.weights.extend(weights);
            }
            at
        });
        self.weights_at.push(at);
    }

    fn add_selection(&self, functions: &mut Vec<Function>, choices: &[Choice], target: &Target) -> Result<(), CompileError> {
        let features = match self.platform.arch {
            Arch::X86_64 => {
                let tiles = choices.iter().any(|c| c.target.cpu == Cpu::X86(X86Level::V4Amx));
                let code = x86::features_function(tiles).map_err(CompileError::Internal)?;
                functions.push(Function::new(format!("{}_cpu_features", self.name), code, vec![]));
                Some(functions.len() - 1)
            }
            _ => None,
        };
        let mut compiler = Compiler::new(target).map_err(internal)?;
        functions.push(compiler.select(self.model_symbol(), choices, features, target).map_err(internal)?);
        Ok(())
    }
}

/// Adds the descriptor of a level and those of its signatures; `invokes` are the positions of the entry points.
fn add_descriptors(functions: &mut Vec<Function>, name: &str, level: &Level, about: &About<'_>, invokes: &[usize]) {
    let program = &level.program;
    let keys: Vec<&str> = level.signatures.iter().map(|s| s.key.as_str()).collect();
    let own = Entry { key: "", inputs: &program.inputs, outputs: &program.outputs, names: [&[], &[]], open: &program.open };
    let (bytes, at) = descriptor(about, &own, &keys);
    let first = functions.len();
    let invoke = |n: usize| Link { at: INVOKE_AT, to: invokes[n], kind: LinkKind::Offset32 };
    let mut links = vec![invoke(0)];
    links.extend(at.into_iter().enumerate().map(|(i, at)| Link { at, to: first + 1 + i, kind: LinkKind::Offset32 }));
    functions.push(Function::new(name.to_string(), Code { bytes, align: DESCRIPTOR_ALIGN }, links));
    for (i, s) in level.signatures.iter().enumerate() {
        let names: [&[String]; 2] = [&s.inputs, &s.outputs];
        let entry = match s.other.map(|o| &program.others[o]) {
            None => Entry { key: &s.key, names, ..own },
            Some(o) => Entry { key: &s.key, inputs: &o.inputs, outputs: &o.outputs, names, open: &o.open },
        };
        let (bytes, _) = descriptor(about, &entry, &[]);
        let code = Code { bytes, align: DESCRIPTOR_ALIGN };
        functions.push(Function::new(format!("{name}{i}"), code, vec![invoke(s.other.map_or(0, |o| o + 1))]));
    }
}

/// The weights of a program.
fn packed(program: &Program) -> Vec<u8> {
    let mut weights = vec![0; program.weights_bytes];
    program.write_weights(&mut weights);
    weights
}

/// Levels have one platform, and mean the same model.
fn check(levels: &[Level], placement: Weights) -> Result<Platform, CompileError> {
    let [first, rest @ ..] = levels else { return Err(CompileError::Target("no CPU level is given".into())) };
    let platform = first.target.platform();
    if platform.arch == Arch::Wasm32 {
        return Err(CompileError::Target("WebAssembly has modules instead of objects and libraries".into()));
    }
    for (before, level) in levels.iter().zip(rest) {
        if level.target.platform() != platform {
            return Err(CompileError::Target(format!("{} is not of {}", level.target.cpu, platform.name())));
        }
        if level.target.cpu == before.target.cpu {
            return Err(CompileError::Target(format!("the CPU level {} is given twice", level.target.cpu)));
        }
        if level.program.state_bytes != first.program.state_bytes {
            return Err(CompileError::Internal("CPU levels keep different variables".into()));
        }
    }
    if placement == Weights::Split && !rest.is_empty() {
        let reason = "split weights are packed for one CPU level; ask for one with --cpu, or leave the weights in the artifact";
        return Err(CompileError::Target(reason.into()));
    }
    if levels.iter().any(|l| l.program.weights_bytes > i32::MAX as usize) {
        return Err(CompileError::Target("the packed weights take more than 2 GiB, which code cannot reach; use --split-weights".into()));
    }
    Ok(platform)
}
