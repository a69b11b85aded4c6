//! A compiled model before it has a file format: code of all CPU levels, descriptors, weights.

use super::descriptor::{About, DESCRIPTOR_ALIGN, INVOKE_AT, descriptor};
use super::name::Name;
use crate::backend::cranelift::{Choice, Compiler, WeightsAt};
use crate::backend::image::{Function, Image, Link, LinkKind};
use crate::backend::{self, BackendError, Code, ENTRY, x86};
use crate::error::CompileError;
use crate::lower::program::{ARENA_ALIGN, Program};
use crate::target::{Arch, Platform, Target};

/// A program made for one CPU level.
#[derive(Clone, Debug)]
pub struct Level {
    /// What it was made for.
    pub target: Target,
    /// The program.
    pub program: Program,
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
        };
        let mut functions = vec![];
        let mut choices = vec![];
        for (index, level) in levels.iter().enumerate() {
            let invoke = library.add_code(&mut functions, index, level)?;
            let weights = packed(&level.program);
            let about = About {
                name: library.name.as_str(),
                cpu: &level.target.cpu.to_string(),
                weights_bytes: level.program.weights_bytes,
                weights_crc32: crc32fast::hash(&weights),
                split_weights: placement == Weights::Split,
            };
            let bytes = descriptor(&level.program, &about);
            library.add_weights(weights);
            choices.push((level.target.cpu, invoke, bytes));
        }
        // Descriptors lie together, near the function that chooses one.
        let mut selection = vec![];
        for (index, (cpu, invoke, bytes)) in choices.into_iter().enumerate() {
            let code = Code { bytes, align: DESCRIPTOR_ALIGN };
            let link = Link { at: INVOKE_AT, to: invoke, kind: LinkKind::Offset32 };
            selection.push(Choice { cpu, descriptor: functions.len() });
            functions.push(Function::new(library.symbol(index, levels, "descriptor"), code, vec![link]));
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

    /// Adds a level's code; gives the position of its entry.
    fn add_code(&self, functions: &mut Vec<Function>, index: usize, level: &Level) -> Result<usize, CompileError> {
        let base = functions.len();
        let compiled = backend::compile_functions(&level.program, &level.target).map_err(internal)?;
        let entry = compiled.iter().position(|f| f.name == ENTRY).ok_or_else(|| CompileError::Internal("no entry point".into()))?;
        let prefix = self.symbol(index, std::slice::from_ref(level), "");
        for mut f in compiled {
            f.links.iter_mut().for_each(|l| l.to += base);
            f.name = format!("{prefix}{}", if f.name == ENTRY { "driver" } else { &f.name });
            functions.push(f);
        }
        let weights = match self.placement {
            Weights::Embedded => WeightsAt::Object(index),
            Weights::Split => WeightsAt::Input(level.program.inputs.len()),
        };
        let mut compiler = Compiler::new(&level.target).map_err(internal)?;
        functions.push(compiler.bind_weights(format!("{prefix}{ENTRY}"), base + entry, weights).map_err(internal)?);
        Ok(functions.len() - 1)
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
                let code = x86::features_function().map_err(CompileError::Internal)?;
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
