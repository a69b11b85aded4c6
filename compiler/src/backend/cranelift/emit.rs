//! Walks a kernel and emits CLIF: parameters, operators one by one, and the small vocabulary that the operator files share.
//!
//! Cranelift's optimiser stays off: it would move arithmetic to its users and leave loads in place, so that an unrolled loop loads
//! everything first and spills. The order of the kernel is the schedule; sharing of constants and addresses happens here ([`Shared`]). Truth values are `I8` 0 or 1; masks are integer vectors with all bits of a true lane set. Loops test at the bottom. Scalars live in
//! CLIF scalars; `Ptr` is `I64`. Values are SSA on both sides, so every kir value is one CLIF value.

use super::share::Shared;
use super::stand_in::StandIn;
use crate::target::{ArmLevel, RiscvLevel};
use cranelift_codegen::ir::types::*;
use cranelift_codegen::ir::{self, AbiParam, Endianness, InstBuilder, MemFlagsData, SourceLoc, StackSlotData, StackSlotKind, UserFuncName};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use tflc_kir::{Block, Elem, Inst, Kernel, Op, Type, Value};

/// Why a kernel cannot be emitted, in words.
pub(super) type Reason = String;

/// A CLIF value.
pub(super) type Val = ir::Value;

/// Instruction family that code is written for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Family {
    /// x86-64 with SSE2 and nothing newer.
    Sse2,
    /// AArch64 Advanced SIMD.
    Neon(ArmLevel),
    /// RISC-V: with vectors, of which 128 bits are used, or with scalars only.
    Riscv(RiscvLevel),
}

/// The CLIF type that holds a kir type, where the 128-bit targets have it.
pub(super) fn clif_type(ty: Type) -> Option<ir::Type> {
    let scalar = match ty.elem {
        Elem::Bool | Elem::I8 => I8,
        Elem::I16 => I16,
        Elem::I32 => I32,
        Elem::I64 | Elem::Ptr => I64,
        Elem::F32 => F32,
        Elem::F64 => F64,
    };
    match (ty.elem, ty.lanes) {
        (_, 1) => Some(scalar),
        (Elem::Bool, lanes) => [(2, I64X2), (4, I32X4), (8, I16X8), (16, I8X16)].iter().find(|m| m.0 == lanes).map(|m| m.1),
        (Elem::Ptr, _) => None,
        _ if ty.bits() == 128 => scalar.by(u32::from(ty.lanes)),
        _ => None,
    }
}

/// Integer type of the same lanes.
pub(super) fn int_type(ty: ir::Type) -> ir::Type {
    match ty {
        F32 => I32,
        F64 => I64,
        F32X4 => I32X4,
        F64X2 => I64X2,
        t => t,
    }
}

/// Memory flags of kernel buffers: never trap, any alignment, little-endian.
pub(super) fn mem_flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap().with_endianness(Endianness::Little)
}

/// State of the emission of one kernel.
pub(super) struct Emitter<'k, 'f> {
    pub(super) b: FunctionBuilder<'f>,
    pub(super) family: Family,
    pub(super) shared: Shared,
    kernel: &'k Kernel,
    /// What stands for other instructions, in the order of their source locations.
    pub(super) stand_ins: Vec<&'static StandIn>,
    values: Vec<Option<Val>>,
    defs: Vec<Option<&'k Inst>>,
    /// Block arguments.
    carried: Vec<bool>,
}

/// Emits a kernel into an empty function; gives what multiply-adds at source locations 1, 2, … stand for.
pub(super) fn emit_kernel(
    kernel: &Kernel,
    family: Family,
    isa: &dyn TargetIsa,
    func: &mut ir::Function,
    frontend: &mut FunctionBuilderContext,
) -> Result<Vec<&'static StandIn>, Reason> {
    func.name = UserFuncName::testcase(kernel.name.as_bytes());
    func.signature.call_conv = CallConv::SystemV;
    func.signature.params.extend([I64, I64, I64].map(AbiParam::new));
    func.signature.returns.push(AbiParam::new(I32));
    let count = kernel.types.len();
    let (mut defs, mut carried) = (vec![None; count], vec![false; count]);
    kernel.for_each_inst(&mut |i| {
        i.results.iter().for_each(|r| defs[r.index()] = Some(i));
        i.blocks.iter().flat_map(|b| &b.args).for_each(|a| carried[a.index()] = true);
    });
    // Locations are kept relative to the first one that anybody names: a cursor that names none would make all of them none.
    func.params.ensure_base_srcloc(SourceLoc::new(1));
    let b = FunctionBuilder::new(func, frontend);
    let mut e = Emitter { b, family, shared: Shared::default(), kernel, stand_ins: vec![], values: vec![None; count], defs, carried };
    e.function()?;
    e.b.seal_all_blocks();
    let stand_ins = e.stand_ins;
    e.b.finalize(isa.frontend_config());
    Ok(stand_ins)
}

impl<'k> Emitter<'k, '_> {
    fn function(&mut self) -> Result<(), Reason> {
        let entry = self.b.create_block();
        self.b.append_block_params_for_function_params(entry);
        self.b.switch_to_block(entry);
        let [args, begin, end] = *self.b.block_params(entry) else { return Err("signature".into()) };
        self.set(self.kernel.begin, begin);
        self.set(self.kernel.end, end);
        for (slot, p) in self.kernel.params.iter().enumerate() {
            let ty = self.clif(p.value)?;
            let v = self.b.ins().load(ty, mem_flags(), args, slot as i32 * 8);
            self.set(p.value, v);
        }
        let kernel = self.kernel;
        self.block(&kernel.body)?;
        let status = match kernel.body.yields.first() {
            Some(&s) => self.get(s),
            None => self.b.ins().iconst(I32, 0),
        };
        self.b.ins().return_(&[status]);
        Ok(())
    }

    /// Emits the instructions of a block; its yields are left to the caller.
    pub(super) fn block(&mut self, block: &'k Block) -> Result<(), Reason> {
        block.insts.iter().try_for_each(|i| self.inst(i))
    }

    fn inst(&mut self, inst: &'k Inst) -> Result<(), Reason> {
        let a: Vec<Val> = inst.args.iter().map(|&v| self.get(v)).collect();
        let value = match &inst.op {
            Op::For { step } => return self.for_loop(inst, *step, &a),
            Op::If => return self.if_else(inst, &a),
            Op::While => return self.while_loop(inst, &a),
            Op::Store(m, narrow) => return self.store(inst, *m, *narrow, &a),
            Op::Tile(_) => return Err("tiles: only x86-64-v4+amx has them".into()),
            // Cranelift has no prefetch instruction, and a hint may be ignored.
            Op::Prefetch(..) => return Ok(()),
            // Constants appear where they are used.
            Op::Const(_) | Op::ConstVec(_) => return Ok(()),
            op => self.value_op(inst, op, &a)?,
        };
        self.set(inst.results[0], value);
        Ok(())
    }

    fn value_op(&mut self, inst: &'k Inst, op: &Op, a: &[Val]) -> Result<Val, Reason> {
        let kty = self.kernel.ty(inst.results[0]);
        let ty = self.clif(inst.results[0])?;
        Ok(match op {
            Op::Un(op) => self.unary(*op, kty, a[0])?,
            Op::Bin(op) => self.binary(*op, kty, inst, a[0], a[1])?,
            Op::Fma if self.family == Family::Sse2 => return Err("fma: SSE2 has none".into()),
            Op::Fma => self.b.ins().fma(a[0], a[1], a[2]),
            Op::Cmp(op) => self.compare(*op, a[0], a[1]),
            Op::Select => self.pick(a[0], a[1], a[2]),
            Op::Convert(op) => self.convert(*op, inst, kty, ty, a[0])?,
            Op::Dot4(signs) => self.dot4(*signs, a[0], a[1], a[2]),
            Op::Mmla(signs) => self.mmla(*signs, a[0], a[1], a[2]),
            Op::Dot2 => self.dot2(a[0], a[1], a[2]),
            Op::FmaF16 | Op::PackF16 | Op::WidenF16Lo | Op::WidenF16Hi if !matches!(self.family, Family::Neon(level) if level >= ArmLevel::Fp16) =>
            {
                return Err("fma_f16: this target has no arithmetic on halves".into());
            }
            Op::FmaF16 => self.fma_f16(a[0], a[1], a[2]),
            Op::PackF16 => self.pack_f16(a[0], a[1]),
            Op::WidenF16Lo => self.widen_f16(a[0]),
            Op::WidenF16Hi => {
                let upper = self.shuffle_words(I16X8, a[0], a[0], [2, 3, 2, 3]);
                self.widen_f16(upper)
            }
            Op::Splat => self.splat(inst, kty, ty, a[0]),
            Op::ExtractLane(lane) => self.extract_lane(inst, kty, a[0], *lane),
            Op::InsertLane(lane) => self.insert_lane(kty, ty, a[0], a[1], *lane),
            Op::ExtractPart(part) if kty.elem == Elem::Bool => self.mask_part(ty, a[0], *part),
            Op::Concat if kty.elem == Elem::Bool => self.mask_concat(a[0], a[1]),
            Op::ExtractPart(_) | Op::Concat => return Err("parts of vectors: this target has 16-byte vectors only".into()),
            Op::Shuffle(map) => self.shuffle_lanes(ty, a[0], a[1], map)?,
            Op::UnpackLo | Op::UnpackHi => self.unpack(ty, a[0], a[1], matches!(op, Op::UnpackHi)),
            Op::PackS => self.b.ins().snarrow(a[0], a[1]),
            Op::PackU => self.b.ins().unarrow(a[0], a[1]),
            Op::Table16 => self.table16(a[0], a[1]),
            Op::Table256 => self.table256(a[0], a[1]),
            Op::Reduce(op) => self.reduce(*op, self.kernel.ty(inst.args[0]), a[0])?,
            Op::Load(m) => self.load(inst, kty, ty, *m, a)?,
            Op::LoadSplat(m) => self.load_splat(inst, kty, ty, *m, a)?,
            Op::Gather(m) => self.gather(kty, ty, *m, a)?,
            Op::PtrAdd => self.pointer_add(inst, a[0], a[1]),
            Op::Scratch { bytes, align } => self.scratch(*bytes, *align),
            Op::Const(_) | Op::ConstVec(_) | Op::For { .. } | Op::If | Op::While | Op::Store(..) | Op::Prefetch(..) | Op::Tile(_) => {
                return Err(format!("{op:?}"));
            }
        })
    }

    // ---- values ----

    /// The CLIF value of a kir value; a constant is made here.
    pub(super) fn get(&mut self, v: Value) -> Val {
        match self.values[v.index()] {
            Some(val) => val,
            None => self.materialise(v),
        }
    }

    fn materialise(&mut self, v: Value) -> Val {
        let kty = self.kernel.ty(v);
        let ty = clif_type(kty).unwrap_or(I64);
        match self.def(v).map(|i| &i.op) {
            Some(Op::Const(bits)) => self.constant(kty, ty, *bits),
            Some(Op::ConstVec(lanes)) => self.constant_lanes(kty, ty, lanes),
            _ => unreachable!("verified kernels define values before use"),
        }
    }

    /// Whether a kir value is the argument of a block.
    pub(super) fn is_carried(&self, v: Value) -> bool {
        self.carried[v.index()]
    }

    pub(super) fn set(&mut self, v: Value, val: Val) {
        self.values[v.index()] = Some(val);
    }

    /// The instruction that defines a kir value, if one does.
    pub(super) fn def(&self, v: Value) -> Option<&'k Inst> {
        self.defs[v.index()]
    }

    /// kir type of a kir value.
    pub(super) fn kir_type(&self, v: Value) -> Type {
        self.kernel.ty(v)
    }

    pub(super) fn clif(&self, v: Value) -> Result<ir::Type, Reason> {
        let ty = self.kernel.ty(v);
        clif_type(ty).ok_or_else(|| format!("{ty}: this target has 16-byte vectors only"))
    }

    /// CLIF type of a CLIF value.
    pub(super) fn ty(&self, v: Val) -> ir::Type {
        self.b.func.dfg.value_type(v)
    }

    /// Lane bits of a kir constant, the same in every lane.
    pub(super) fn known_bits(&self, v: Value) -> Option<u64> {
        match self.def(v)?.op {
            Op::Const(bits) => Some(bits),
            Op::Splat => self.known_bits(self.def(v)?.args[0]),
            _ => None,
        }
    }

    /// The constant that an integer value is known to be.
    pub(super) fn known(&self, v: Value) -> Option<i64> {
        self.known_bits(v).map(|b| b as i64)
    }

    fn constant(&mut self, kty: Type, ty: ir::Type, bits: u64) -> Val {
        if kty.elem == Elem::Bool && ty.is_vector() { self.bits(ty, 0u64.wrapping_sub(bits & 1)) } else { self.bits(ty, bits) }
    }

    fn constant_lanes(&mut self, kty: Type, ty: ir::Type, lanes: &[u64]) -> Val {
        let lane_bytes = ty.lane_bits() as usize / 8;
        let mut bytes = [0; 16];
        for (chunk, &lane) in bytes.chunks_mut(lane_bytes).zip(lanes) {
            let lane = if kty.elem == Elem::Bool { 0u64.wrapping_sub(lane & 1) } else { lane };
            chunk.copy_from_slice(&lane.to_le_bytes()[..lane_bytes]);
        }
        self.vector_constant(ty, bytes)
    }

    /// A constant of `ty` with these bits in every lane.
    pub(super) fn bits(&mut self, ty: ir::Type, bits: u64) -> Val {
        if ty.is_vector() {
            let lane_bytes = ty.lane_bits() as usize / 8;
            let mut bytes = [0; 16];
            bytes.chunks_mut(lane_bytes).for_each(|c| c.copy_from_slice(&bits.to_le_bytes()[..lane_bytes]));
            return self.vector_constant(ty, bytes);
        }
        match ty {
            F32 | F64 => self.float_constant(ty, bits),
            // CLIF wants narrow constants zero-extended.
            _ => {
                let mask = u64::MAX >> (64 - ty.bits());
                self.b.ins().iconst(ty, (bits & mask) as i64)
            }
        }
    }

    /// A constant integer of `ty` in every lane.
    pub(super) fn int(&mut self, ty: ir::Type, v: i64) -> Val {
        self.bits(ty, v as u64)
    }

    /// A constant float of `ty` (`F32` or `F64` lanes) in every lane.
    pub(super) fn float(&mut self, ty: ir::Type, v: f64) -> Val {
        let bits = if ty.lane_bits() == 64 { v.to_bits() } else { u64::from((v as f32).to_bits()) };
        self.bits(ty, bits)
    }

    /// The same bits as another type of the same width.
    pub(super) fn cast(&mut self, ty: ir::Type, v: Val) -> Val {
        if self.ty(v) == ty {
            return v;
        }
        self.b.ins().bitcast(ty, MemFlagsData::new().with_endianness(Endianness::Little), v)
    }

    /// Left shift of each lane by a constant below the lane width.
    pub(super) fn shl(&mut self, v: Val, n: u32) -> Val {
        let n = self.b.ins().iconst(I32, i64::from(n));
        self.b.ins().ishl(v, n)
    }

    /// Logical right shift of each lane by a constant below the lane width.
    pub(super) fn ushr(&mut self, v: Val, n: u32) -> Val {
        let n = self.b.ins().iconst(I32, i64::from(n));
        self.b.ins().ushr(v, n)
    }

    /// Arithmetic right shift of each lane by a constant below the lane width.
    pub(super) fn sshr(&mut self, v: Val, n: u32) -> Val {
        let n = self.b.ins().iconst(I32, i64::from(n));
        self.b.ins().sshr(v, n)
    }

    /// `cond ? x : y` per lane for a mask, as a whole for a scalar condition.
    pub(super) fn pick(&mut self, cond: Val, x: Val, y: Val) -> Val {
        let ty = self.ty(x);
        if self.ty(cond).is_vector() {
            let cond = self.cast(ty, cond);
            self.b.ins().bitselect(cond, x, y)
        } else {
            self.b.ins().select(cond, x, y)
        }
    }

    /// Address of a new stack buffer, aligned to `align` bytes.
    pub(super) fn scratch(&mut self, bytes: u32, align: u32) -> Val {
        // The stack pointer is 16-byte aligned; more is made by rounding up inside a larger slot.
        let (size, shift) = if align > 16 { (bytes + align - 16, 4) } else { (bytes, align.trailing_zeros() as u8) };
        let slot = self.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, size.max(1), shift));
        let at = self.b.ins().stack_addr(I64, slot, 0);
        if align <= 16 {
            return at;
        }
        let up = self.int(I64, i64::from(align) - 1);
        let at = self.b.ins().iadd(at, up);
        let mask = self.int(I64, -i64::from(align));
        self.b.ins().band(at, mask)
    }
}
