//! WebAssembly modules: of one kernel, for tests and measurements, and of a whole model.
//!
//! A model's module has one memory, its own or imported, of which it uses a *static region* from `base` on: weights first, then the stack. The rest
//! belongs to the caller, who finds room there for arena, state, inputs and outputs. The custom section `tflc` holds the description of the model as JSON.
//! Same program, same options: same bytes.

use super::driver::{self, Functions};
use super::emit::KERNEL_PARAMS;
use super::{compile, finish};
use crate::backend::BackendError;
use crate::backend::steps::parts;
use crate::lower::program::{ARENA_ALIGN, Program, Step};
use rayon::prelude::*;
use std::borrow::Cow;
use tflc_kir::Kernel;
use wasm_encoder::{
    CodeSection, ConstExpr, CustomSection, DataCountSection, DataSection, ElementSection, Elements, EntityType, ExportKind, ExportSection,
    Function, FunctionSection, GlobalSection, GlobalType, ImportSection, Instruction, MemorySection, MemoryType, RefType, StartSection,
    TableSection, TableType, TypeSection, ValType,
};

/// Where a module's memory comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Memory {
    /// The module has its own and exports it.
    #[default]
    Exported,
    /// `env.memory`; the global `env.base` says where the static region begins, a multiple of 64.
    Imported,
    /// As `Imported`, shared between threads: calls that pay it are split over the instances that share the memory.
    Shared,
}

/// What a module is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// The memory.
    pub memory: Memory,
    /// The weights are not in the module: the caller writes them to `base`.
    pub split_weights: bool,
}

/// A module and what its users must know besides the program.
#[derive(Clone, Debug)]
pub struct Module {
    /// The module without its description.
    bytes: Vec<u8>,
    /// Address of the static region where the memory is the module's own.
    pub base: u32,
    /// Size of the static region in bytes: weights and stack.
    pub static_bytes: u32,
    /// Size of the stack in bytes; every further thread needs one of its own.
    pub stack_bytes: u32,
}

impl Module {
    /// The module's bytes, with a description in the custom section `tflc`.
    pub fn with_description(&self, json: &str) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let section = CustomSection { name: Cow::Borrowed(SECTION), data: Cow::Borrowed(json.as_bytes()) };
        wasm_encoder::Section::append_to(&section, &mut bytes);
        bytes
    }
}

/// Name of the custom section with the model's description.
const SECTION: &str = "tflc";

/// Module name of imported functions of custom operators.
const CUSTOMS: &str = "custom";

/// Static memory of a module with a memory of its own begins here: address 0 stays null.
const OWN_BASE: u32 = 1024;

const PAGE: u64 = 65536;

/// Largest memory of 32-bit addresses, in pages.
const MAX_PAGES: u64 = 65536;

/// A module with one kernel as `kernel`, the memory `env.memory`, and the stack pointer as a global that the caller sets.
///
/// # Errors
/// Where the kernel uses a type or an operator that the target lacks.
pub fn kernel_module(kernel: &Kernel, relaxed: bool) -> Result<Vec<u8>, BackendError> {
    let function = compile(kernel, relaxed)?.function;
    let mut types = TypeSection::new();
    types.ty().function(KERNEL_PARAMS, [ValType::I32]);
    let mut imports = ImportSection::new();
    imports.import("env", "memory", memory_type(1, false));
    imports.import("env", "base", EntityType::Global(global(false)));
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut globals = GlobalSection::new();
    globals.global(global(true), &ConstExpr::i32_const(0));
    let mut exports = ExportSection::new();
    exports.export("kernel", ExportKind::Func, 0);
    exports.export("stack_pointer", ExportKind::Global, 1);
    let mut code = CodeSection::new();
    code.function(&function);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&imports).section(&functions).section(&globals).section(&exports).section(&code);
    Ok(module.finish())
}

fn global(mutable: bool) -> GlobalType {
    GlobalType { val_type: ValType::I32, mutable, shared: false }
}

fn memory_type(minimum: u64, shared: bool) -> MemoryType {
    MemoryType { minimum, maximum: shared.then_some(MAX_PAGES), memory64: false, shared, page_size_log2: None }
}

/// Builds and compiles all kernels of a program in parallel, and puts them into a module with the driver and the weights.
///
/// # Errors
/// Where the backend refuses a kernel, a bug; or the model needs more memory than 32-bit addresses reach.
pub fn compile_program(program: &Program, relaxed: bool, options: Options) -> Result<Module, BackendError> {
    let whole = program.weights_bytes as u64 + program.arena_bytes as u64 + program.state_bytes as u64;
    if whole >= MAX_PAGES * PAGE || program.calls().iter().any(|c| c.units > i32::MAX as u64) {
        let reason = format!("the model takes {whole} bytes of weights, arena and state: more than 32-bit addresses reach");
        return Err(BackendError { kernel: "*".into(), reason });
    }
    if let Some(e) = program.externals().iter().find(|e| e.symbol.is_none()) {
        let reason = format!("custom operator {}: a WebAssembly module imports functions by their names, and this one has none", e.name);
        return Err(BackendError { kernel: "*".into(), reason });
    }
    let kernels = (0..program.kernels.len()).into_par_iter().map(|i| {
        let mut kernel = (program.kernels[i].build)();
        tflc_kir::optimize(&mut kernel);
        compile(&kernel, relaxed)
    });
    let kernels = kernels.collect::<Result<Vec<_>, _>>()?;
    let frame_bytes = driver::part_frame_bytes(program);
    let deepest = kernels.iter().map(|k| k.stack_bytes).max().unwrap_or(0);
    let stack_bytes = (frame_bytes + deepest).next_multiple_of(ARENA_ALIGN as u32);
    let weights_end = (program.weights_bytes as u32).next_multiple_of(ARENA_ALIGN as u32);
    let mut module = Module { bytes: vec![], base: OWN_BASE, static_bytes: weights_end + stack_bytes, stack_bytes };
    let functions: Vec<Function> = kernels.into_iter().map(|k| k.function).collect();
    module.bytes = Writer { program, options, functions, frame_bytes, static_bytes: module.static_bytes }.write();
    Ok(module)
}

/// Types of the module's functions, in order.
mod types {
    pub(super) const KERNEL: u32 = 0;
    pub(super) const INVOKE: u32 = 1;
    pub(super) const TASK: u32 = 2;
    pub(super) const RUN: u32 = 3;
    pub(super) const NOTHING: u32 = 4;
    pub(super) const CUSTOM: u32 = 5;
}

struct Writer<'a> {
    program: &'a Program,
    options: Options,
    functions: Vec<Function>,
    frame_bytes: u32,
    static_bytes: u32,
}

impl Writer<'_> {
    fn write(self) -> Vec<u8> {
        let shared = self.options.memory == Memory::Shared;
        let own = self.options.memory == Memory::Exported;
        let kernel_count = self.functions.len() as u32;
        let customs = self.program.symbols();
        // Imports, kernels, the parts of all entry points, then the entry points, and what memory and threads need.
        let first_custom = u32::from(shared);
        let first = first_custom + customs.len() as u32;
        let functions = Functions { run: shared.then_some(0), customs: &customs, first_custom, kernels: first };
        let entries = entries(self.program);
        let mut bodies = self.functions;
        let mut signatures = vec![types::KERNEL; bodies.len()];
        let mut ranges = vec![];
        for (steps, _) in &entries {
            let start = first + bodies.len() as u32;
            bodies.extend(parts(steps).iter().map(|p| finish::finish(driver::part(p, self.frame_bytes, functions))));
            ranges.push(start..first + bodies.len() as u32);
        }
        let mut exports = ExportSection::new();
        for (i, ((_, ports), range)) in entries.iter().zip(ranges).enumerate() {
            exports.export(&super::description::export(i), ExportKind::Func, first + bodies.len() as u32);
            bodies.push(finish::finish(driver::entry(self.program, *ports, range)));
        }
        signatures.resize(bodies.len(), types::INVOKE);
        exports.export("stack_pointer", ExportKind::Global, super::emit::STACK_POINTER);
        let embedded = !self.options.split_weights && self.program.weights_bytes > 0;
        if shared {
            exports.export("task", ExportKind::Func, first + bodies.len() as u32);
            bodies.push(finish::finish(driver::task(types::KERNEL)));
            signatures.push(types::TASK);
            exports.export("init", ExportKind::Func, first + bodies.len() as u32);
            bodies.push(write_weights(if embedded { self.program.weights_bytes as u32 } else { 0 }));
            signatures.push(types::NOTHING);
        }
        let start = (!own).then(|| {
            bodies.push(set_stack_pointer(self.static_bytes));
            signatures.push(types::NOTHING);
            first + bodies.len() as u32 - 1
        });

        let mut module = wasm_encoder::Module::new();
        module.section(&signature_types());
        let pages = if own { u64::from(OWN_BASE + self.static_bytes).div_ceil(PAGE) } else { 1 };
        let mut imports = ImportSection::new();
        if shared {
            imports.import("env", "run", EntityType::Function(types::RUN));
        }
        for custom in &customs {
            imports.import(CUSTOMS, custom, EntityType::Function(types::CUSTOM));
        }
        if !own {
            imports.import("env", "memory", memory_type(pages, shared));
            imports.import("env", "base", EntityType::Global(global(false)));
        }
        if !imports.is_empty() {
            module.section(&imports);
        }
        let mut section = FunctionSection::new();
        signatures.iter().for_each(|&t| {
            section.function(t);
        });
        module.section(&section);
        if shared {
            let mut tables = TableSection::new();
            let size = u64::from(kernel_count);
            tables.table(TableType { element_type: RefType::FUNCREF, table64: false, minimum: size, maximum: Some(size), shared: false });
            module.section(&tables);
        }
        let mut globals = GlobalSection::new();
        if own {
            let mut memories = MemorySection::new();
            memories.memory(memory_type(pages, false));
            module.section(&memories);
            exports.export("memory", ExportKind::Memory, 0);
            globals.global(global(false), &ConstExpr::i32_const(OWN_BASE as i32));
        }
        globals.global(global(true), &ConstExpr::i32_const((OWN_BASE + self.static_bytes) as i32));
        if own {
            // Beyond the two that every module has.
            exports.export("heap_base", ExportKind::Global, 2);
            globals.global(global(false), &ConstExpr::i32_const((OWN_BASE + self.static_bytes) as i32));
        }
        module.section(&globals).section(&exports);
        if let Some(function_index) = start {
            module.section(&StartSection { function_index });
        }
        if shared {
            let mut elements = ElementSection::new();
            let kernels: Vec<u32> = (0..kernel_count).map(|k| functions.kernels + k).collect();
            elements.active(None, &ConstExpr::i32_const(0), Elements::Functions(kernels.into()));
            module.section(&elements);
            module.section(&DataCountSection { count: u32::from(embedded) });
        }
        let mut code = CodeSection::new();
        bodies.iter().for_each(|f| {
            code.function(f);
        });
        module.section(&code);
        if embedded {
            let mut weights = vec![0; self.program.weights_bytes];
            self.program.write_weights(&mut weights);
            let mut data = DataSection::new();
            match self.options.memory {
                // Every instance would write an active segment anew.
                Memory::Shared => data.passive(weights),
                Memory::Imported => data.active(0, &ConstExpr::global_get(driver::BASE), weights),
                Memory::Exported => data.active(0, &ConstExpr::i32_const(OWN_BASE as i32), weights),
            };
            module.section(&data);
        }
        module.finish()
    }
}

/// The entry points of a program, the primary one first: steps, and numbers of inputs and outputs.
fn entries(program: &Program) -> Vec<(&[Step], [usize; 2])> {
    let primary = (&program.steps[..], [program.inputs.len(), program.outputs.len()]);
    let others = program.others.iter().map(|e| (&e.steps[..], [e.inputs.len(), e.outputs.len()]));
    std::iter::once(primary).chain(others).collect()
}

fn signature_types() -> TypeSection {
    let mut t = TypeSection::new();
    t.ty().function(KERNEL_PARAMS, [ValType::I32]);
    t.ty().function(driver::INVOKE_PARAMS, [ValType::I32]);
    t.ty().function(driver::TASK_PARAMS, []);
    t.ty().function(driver::RUN_PARAMS, []);
    t.ty().function([], []);
    t.ty().function(driver::CUSTOM_PARAMS, [ValType::I32]);
    t
}

/// The start function of modules whose memory is imported.
fn set_stack_pointer(static_bytes: u32) -> Function {
    let mut f = Function::new([]);
    f.instruction(&Instruction::GlobalGet(driver::BASE));
    f.instruction(&Instruction::I32Const(static_bytes as i32));
    f.instruction(&Instruction::I32Add);
    f.instruction(&Instruction::GlobalSet(super::emit::STACK_POINTER));
    f.instruction(&Instruction::End);
    f
}

/// `init`: writes the weights of a shared memory, once for all instances.
fn write_weights(bytes: u32) -> Function {
    let mut f = Function::new([]);
    if bytes > 0 {
        f.instruction(&Instruction::GlobalGet(driver::BASE));
        f.instruction(&Instruction::I32Const(0));
        f.instruction(&Instruction::I32Const(bytes as i32));
        f.instruction(&Instruction::MemoryInit { mem: 0, data_index: 0 });
    }
    f.instruction(&Instruction::End);
    f
}
