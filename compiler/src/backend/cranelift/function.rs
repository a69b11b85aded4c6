//! Functions that call others: signatures and conventions, and the links that Cranelift's relocations become.
//!
//! Two conventions meet here. Kernels and parts of the driver call each other by System V on every platform; what C calls, or what calls
//! C, follows the platform. References go to functions of the same image by position, or to an [`External`].

use super::Compiler;
use super::emit::Val;
use crate::backend::image::{External, Function, Link, LinkKind, Reference, ReferenceKind};
use crate::backend::{BackendError, Code};
use crate::target::{Os, Target};
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::types::*;
use cranelift_codegen::ir::{self, AbiParam, ExtFuncData, ExternalName, FuncRef, Signature, UserExternalName, UserFuncName};
use cranelift_codegen::isa::CallConv;
use cranelift_codegen::{Context, FinalizedRelocTarget};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

/// Calling conventions of a platform.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Conventions {
    /// That of C.
    c: CallConv,
}

impl Conventions {
    pub(super) fn of(target: &Target) -> Conventions {
        let c = match (target.os, target.arch()) {
            (Os::Windows, _) => CallConv::WindowsFastcall,
            (Os::MacOs | Os::Ios, crate::target::Arch::Aarch64) => CallConv::AppleAarch64,
            _ => CallConv::SystemV,
        };
        Conventions { c }
    }

    /// `invoke(weights, arena, state, inputs, outputs, parallel) -> status`.
    pub(super) fn invoke(self) -> Signature {
        signature(self.c, &[I64; 6], &[I32])
    }

    /// A part of `invoke`, with the same arguments.
    pub(super) fn part(self) -> Signature {
        signature(CallConv::SystemV, &[I64; 6], &[I32])
    }

    /// `invoke` without the weights: `(arena, state, inputs, outputs, parallel) -> status`.
    pub(super) fn bound_invoke(self) -> Signature {
        signature(self.c, &[I64; 5], &[I32])
    }

    /// A function of the caller's: `function(context, arguments) -> status`.
    pub(super) fn external(self) -> Signature {
        signature(self.c, &[I64, I64], &[I32])
    }

    /// `task(context, index)`.
    pub(super) fn task(self) -> Signature {
        signature(self.c, &[I64, I64], &[])
    }

    /// `run(parallel, task, context, count)`.
    pub(super) fn run(self) -> Signature {
        signature(self.c, &[I64; 4], &[])
    }

    /// `NAME_model() -> descriptor`, `tflc_cpu_features() -> bits`.
    pub(super) fn getter(self) -> Signature {
        signature(self.c, &[], &[I64])
    }

    /// `getauxval(type) -> bits`.
    pub(super) fn getauxval(self) -> Signature {
        signature(self.c, &[I64], &[I64])
    }
}

/// `kernel(slots, begin, end) -> status`.
pub(super) fn kernel_signature() -> Signature {
    signature(CallConv::SystemV, &[I64, I64, I64], &[I32])
}

/// `dispatch(kernel, slots, units, grain, parallel) -> status`.
pub(super) fn dispatch_signature() -> Signature {
    signature(CallConv::SystemV, &[I64; 5], &[I32])
}

fn signature(convention: CallConv, params: &[ir::Type], returns: &[ir::Type]) -> Signature {
    let mut s = Signature::new(convention);
    s.params.extend(params.iter().map(|&t| AbiParam::new(t)));
    s.returns.extend(returns.iter().map(|&t| AbiParam::new(t)));
    s
}

/// Name spaces of Cranelift's external names.
mod space {
    /// Functions of the image, by position.
    pub(super) const FUNCTIONS: u32 = 0;
    /// Weights, by CPU level.
    pub(super) const WEIGHTS: u32 = 1;
    /// The other externals.
    pub(super) const OTHERS: u32 = 2;
    /// Functions of custom operators, by position.
    pub(super) const CUSTOMS: u32 = 3;
}

fn name_of(to: External) -> UserExternalName {
    match to {
        External::Weights(level) => UserExternalName::new(space::WEIGHTS, level as u32),
        External::CpuFeatures => UserExternalName::new(space::OTHERS, 0),
        External::Getauxval => UserExternalName::new(space::OTHERS, 1),
        External::Custom(i) => UserExternalName::new(space::CUSTOMS, i as u32),
    }
}

fn external(name: &UserExternalName) -> External {
    match (name.namespace, name.index) {
        (space::WEIGHTS, level) => External::Weights(level as usize),
        (space::CUSTOMS, i) => External::Custom(i as usize),
        (_, 0) => External::CpuFeatures,
        _ => External::Getauxval,
    }
}

/// A function of the same image, by position.
pub(super) fn import(b: &mut FunctionBuilder<'_>, position: usize, signature: Signature) -> FuncRef {
    import_name(b, UserExternalName::new(space::FUNCTIONS, position as u32), signature)
}

/// A function outside the image.
pub(super) fn import_external(b: &mut FunctionBuilder<'_>, to: External, signature: Signature) -> FuncRef {
    import_name(b, name_of(to), signature)
}

fn import_name(b: &mut FunctionBuilder<'_>, name: UserExternalName, signature: Signature) -> FuncRef {
    let name = b.func.declare_imported_user_function(name);
    let signature = b.import_signature(signature);
    b.import_function(ExtFuncData { name: ExternalName::user(name), signature, colocated: true, patchable: false })
}

/// The address of data outside the image.
pub(super) fn address_of(b: &mut FunctionBuilder<'_>, to: External) -> Val {
    use cranelift_codegen::ir::InstBuilder;
    let name = b.func.declare_imported_user_function(name_of(to));
    let data = ir::GlobalValueData::Symbol { name: ExternalName::user(name), offset: 0.into(), colocated: true, tls: false };
    let value = b.create_global_value(data);
    b.ins().symbol_value(I64, value)
}

/// Begins a function with this signature; gives its arguments.
pub(super) fn enter(b: &mut FunctionBuilder<'_>, signature: Signature) -> Vec<Val> {
    b.func.signature = signature;
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.block_params(entry).to_vec()
}

impl Compiler {
    /// Compiles a function that calls others.
    pub(super) fn define(&mut self, name: String, emit: impl FnOnce(&mut FunctionBuilder<'_>)) -> Result<Function, BackendError> {
        let mut context = Context::new();
        let mut frontend = FunctionBuilderContext::new();
        context.func.name = UserFuncName::testcase(name.as_bytes());
        let mut b = FunctionBuilder::new(&mut context.func, &mut frontend);
        emit(&mut b);
        b.seal_all_blocks();
        b.finalize(self.isa.frontend_config());
        let error = |reason: String| BackendError { kernel: name.clone(), reason };
        let compiled = context
            .compile(&*self.isa, &mut ControlPlane::default())
            .map_err(|e| error(cranelift_codegen::print_errors::pretty_error(e.func, e.inner)))?;
        let code = Code { bytes: compiled.buffer.data().to_vec(), align: compiled.buffer.alignment.max(16) };
        let relocs = compiled.buffer.relocs().to_vec();
        let names = context.func.params.user_named_funcs();
        let mut function = Function::new(name.clone(), code, vec![]);
        for r in relocs {
            match r.target {
                FinalizedRelocTarget::ExternalName(ExternalName::User(to)) if names[to].namespace == space::FUNCTIONS => {
                    if let Some(kind) = link_kind(r.kind).map_err(&error)? {
                        function.links.push(Link { at: r.offset, to: names[to].index as usize, kind });
                    }
                }
                FinalizedRelocTarget::ExternalName(ExternalName::User(to)) => {
                    let to = external(&names[to]);
                    let kind = reference_kind(r.kind, to).map_err(&error)?;
                    function.references.push(Reference { at: r.offset, to, kind });
                }
                // The second half of an address on RISC-V names its first half.
                FinalizedRelocTarget::Func(high) if r.kind == Reloc::RiscvPCRelLo12I => {
                    if let Some(first) = function.references.iter().copied().find(|f| f.at == high) {
                        function.references.push(Reference { at: r.offset, kind: ReferenceKind::Riscv64Low { high }, ..first });
                    }
                }
                other => return Err(error(format!("relocation to {other:?}"))),
            }
        }
        Ok(function)
    }
}

/// How a relocation within the image is written; nothing for the second half of an address, which the first stands for.
fn link_kind(kind: Reloc) -> Result<Option<LinkKind>, String> {
    Ok(Some(match kind {
        Reloc::X86CallPCRel4 | Reloc::X86PCRel4 => LinkKind::X86Rel32,
        Reloc::Arm64Call => LinkKind::Aarch64Call,
        Reloc::Aarch64AdrPrelPgHi21 => LinkKind::Aarch64Address,
        Reloc::Aarch64AddAbsLo12Nc => return Ok(None),
        Reloc::RiscvCallPlt => LinkKind::Riscv64Call,
        Reloc::RiscvPCRelHi20 => LinkKind::Riscv64Address,
        kind => return Err(format!("relocation {kind:?}")),
    }))
}

fn reference_kind(kind: Reloc, to: External) -> Result<ReferenceKind, String> {
    Ok(match kind {
        // Cranelift has one relocation for calls and for addresses.
        Reloc::X86CallPCRel4 if matches!(to, External::Weights(_)) => ReferenceKind::X86Data,
        Reloc::X86CallPCRel4 | Reloc::X86CallPLTRel4 => ReferenceKind::X86Call,
        Reloc::X86PCRel4 => ReferenceKind::X86Data,
        Reloc::Arm64Call => ReferenceKind::Aarch64Call,
        Reloc::Aarch64AdrPrelPgHi21 => ReferenceKind::Aarch64Page,
        Reloc::Aarch64AddAbsLo12Nc => ReferenceKind::Aarch64PageOffset,
        Reloc::RiscvPCRelHi20 => ReferenceKind::Riscv64High,
        Reloc::RiscvCallPlt => ReferenceKind::Riscv64Call,
        kind => return Err(format!("relocation {kind:?}")),
    })
}
