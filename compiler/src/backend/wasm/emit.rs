//! Walks a kernel and emits WebAssembly: parameters, operators one by one, and the small vocabulary that the operator files share.
//!
//! Every kir value has a virtual local. Truth values are `i32` 0 or 1; masks are vectors with all bits of a true lane set; addresses are `i32`, and
//! so are the 64-bit integers that [`super::ranges`] calls narrow. The kernel's scratch lies on a stack in linear memory, whose
//! pointer is a global of the module.

use super::code::{Code, Local, at};
use super::ranges::Ranges;
use tflc_kir::{Block, Elem, Inst, Kernel, Op, Type, Value};
use wasm_encoder::{Instruction as I, ValType};

/// Why a kernel cannot be emitted, in words.
pub(super) type Reason = String;

/// Index of the global that holds the stack pointer.
pub(super) const STACK_POINTER: u32 = 1;

/// Alignment of a kernel's frame in bytes.
const FRAME_ALIGN: u32 = 64;

/// Parameters of a kernel's function: argument slots, first work unit, end of the work units.
pub(super) const KERNEL_PARAMS: [ValType; 3] = [ValType::I32; 3];

/// State of the emission of one kernel.
pub(super) struct Emitter<'k> {
    pub(super) c: Code,
    /// Whether relaxed SIMD may be used.
    pub(super) relaxed: bool,
    pub(super) ranges: Ranges,
    kernel: &'k Kernel,
    places: Vec<Option<Local>>,
    defs: Vec<Option<&'k Inst>>,
    /// Address of the frame, and the bytes of it that are given out.
    frame: Option<Local>,
    frame_used: u32,
}

/// A function's code and the bytes of stack that it takes.
#[derive(Debug)]
pub(super) struct Emitted {
    pub(super) code: Code,
    pub(super) stack_bytes: u32,
}

/// Emits a kernel.
pub(super) fn emit_kernel(kernel: &Kernel, relaxed: bool) -> Result<Emitted, Reason> {
    let mut defs = vec![None; kernel.types.len()];
    let mut frame_bytes = 0;
    kernel.for_each_inst(&mut |i| {
        i.results.iter().for_each(|r| defs[r.index()] = Some(i));
        if let Op::Scratch { bytes, .. } = i.op {
            frame_bytes += bytes.next_multiple_of(FRAME_ALIGN);
        }
    });
    let mut e = Emitter {
        c: Code::new(&KERNEL_PARAMS),
        relaxed,
        ranges: Ranges::new(kernel),
        kernel,
        places: vec![None; kernel.types.len()],
        defs,
        frame: None,
        frame_used: 0,
    };
    e.function(frame_bytes)?;
    Ok(Emitted { code: e.c, stack_bytes: frame_bytes })
}

impl<'k> Emitter<'k> {
    fn function(&mut self, frame_bytes: u32) -> Result<(), Reason> {
        let [args, begin, end] = [Local(0), Local(1), Local(2)];
        for (v, param) in [(self.kernel.begin, begin), (self.kernel.end, end)] {
            let home = self.define(v)?;
            let value = if self.c.ty(home) == ValType::I64 { self.c.i64(I::I64ExtendI32U, &[param]) } else { param };
            self.c.copy(value, home);
        }
        for (slot, p) in self.kernel.params.iter().enumerate() {
            let home = self.define(p.value)?;
            let from = at(slot as u32 * 8);
            let load = match self.c.ty(home) {
                ValType::I64 => I::I64Load(from),
                ValType::F32 => I::F32Load(from),
                _ => I::I32Load(from),
            };
            self.c.op_to(home, load, &[args]);
        }
        if frame_bytes > 0 {
            let old = self.c.i32(I::GlobalGet(STACK_POINTER), &[]);
            let size = self.c.i32_const(frame_bytes as i32);
            let frame = self.c.i32(I::I32Sub, &[old, size]);
            self.c.effect(I::GlobalSet(STACK_POINTER), &[frame]);
            self.frame = Some(frame);
        }
        let kernel = self.kernel;
        self.block(&kernel.body)?;
        if let Some(frame) = self.frame {
            let size = self.c.i32_const(frame_bytes as i32);
            let old = self.c.i32(I::I32Add, &[frame, size]);
            self.c.effect(I::GlobalSet(STACK_POINTER), &[old]);
        }
        let status = match kernel.body.yields.first() {
            Some(&s) => self.get(s),
            None => self.c.i32_const(0),
        };
        self.c.effect(I::Return, &[status]);
        Ok(())
    }

    /// Emits the instructions of a block; its yields are left to the caller.
    pub(super) fn block(&mut self, block: &'k Block) -> Result<(), Reason> {
        block.insts.iter().try_for_each(|i| self.inst(i))
    }

    fn inst(&mut self, inst: &'k Inst) -> Result<(), Reason> {
        match &inst.op {
            Op::For { step } => return self.for_loop(inst, *step),
            Op::If => return self.if_else(inst),
            Op::While => return self.while_loop(inst),
            Op::Store(m, narrow) => return self.store(inst, *m, *narrow),
            Op::Tile(_) => return Err("tiles: WebAssembly has none".into()),
            // WebAssembly has no prefetch instruction, and a hint may be ignored.
            Op::Prefetch(..) => return Ok(()),
            _ => {}
        }
        let result = inst.results[0];
        let ty = self.ty(result);
        let value = if ty == Type::I64 { self.wide_op(inst)? } else { self.value_op(inst, ty)? };
        let value = self.as_home(value, result)?;
        self.places[result.index()] = Some(value);
        Ok(())
    }

    pub(super) fn value_op(&mut self, inst: &Inst, ty: Type) -> Result<Local, Reason> {
        let a = &inst.args;
        Ok(match &inst.op {
            Op::Const(bits) => self.constant(ty, *bits),
            Op::ConstVec(lanes) => self.constant_lanes(ty, lanes),
            Op::Un(op) => {
                let x = self.get(a[0]);
                self.unary(*op, ty, x)?
            }
            Op::Bin(op) => self.binary(*op, ty, inst)?,
            Op::Fma => self.fma(ty, inst)?,
            Op::Cmp(op) => self.compare(*op, inst)?,
            Op::Select => {
                let [c, x, y] = [a[0], a[1], a[2]].map(|v| self.get(v));
                if self.ty(a[0]).is_vector() { self.pick(c, x, y) } else { self.c.select(c, x, y) }
            }
            Op::Convert(op) => self.convert(*op, inst, ty)?,
            Op::Dot4(signs) => {
                let [acc, x, y] = [a[0], a[1], a[2]].map(|v| self.get(v));
                self.dot4(*signs, acc, x, y)
            }
            Op::Mmla(signs) => {
                let [acc, x, y] = [a[0], a[1], a[2]].map(|v| self.get(v));
                self.mmla(*signs, acc, x, y)
            }
            Op::FmaF16 | Op::PackF16 | Op::WidenF16Lo | Op::WidenF16Hi => {
                return Err("fma_f16: WebAssembly has no arithmetic on halves".into());
            }
            Op::Dot2 => {
                let [acc, x, y] = [a[0], a[1], a[2]].map(|v| self.get(v));
                let dot = self.c.v128(I::I32x4DotI16x8S, &[x, y]);
                self.c.v128(I::I32x4Add, &[acc, dot])
            }
            Op::Splat => self.splat(inst, ty),
            Op::ExtractLane(lane) => {
                let v = self.get(a[0]);
                self.extract_lane(self.ty(a[0]), v, *lane)
            }
            Op::InsertLane(lane) => {
                let v = self.get(a[0]);
                let s = self.get_full(a[1]);
                self.insert_lane(ty, v, s, *lane)
            }
            Op::ExtractPart(part) if ty.elem == Elem::Bool => self.mask_part(inst, ty, *part),
            Op::Concat if ty.elem == Elem::Bool => self.mask_concat(inst),
            Op::ExtractPart(_) | Op::Concat => return Err("parts of vectors: this target has 16-byte vectors only".into()),
            Op::Shuffle(map) => self.shuffle_lanes(inst, ty, map)?,
            Op::UnpackLo | Op::UnpackHi => self.unpack(inst, ty),
            Op::PackS | Op::PackU => self.pack(inst),
            Op::Table16 => self.table16(inst),
            Op::Table256 => self.table256(inst),
            Op::Reduce(op) => self.reduce(*op, inst)?,
            Op::Load(m) => self.load(inst, ty, *m)?,
            Op::LoadSplat(m) => self.load_splat(inst, ty, *m)?,
            Op::Gather(m) => self.gather(inst, ty, *m)?,
            Op::PtrAdd => {
                let base = self.get(a[0]);
                let offset = self.get_low(a[1]);
                self.c.i32(I::I32Add, &[base, offset])
            }
            Op::Scratch { bytes, .. } => self.scratch(*bytes)?,
            op @ (Op::For { .. } | Op::If | Op::While | Op::Store(..) | Op::Prefetch(..) | Op::Tile(_)) => return Err(format!("{op:?}")),
        })
    }

    fn scratch(&mut self, bytes: u32) -> Result<Local, Reason> {
        let frame = self.frame.ok_or("a frame")?;
        let offset = self.c.i32_const(self.frame_used as i32);
        self.frame_used += bytes.next_multiple_of(FRAME_ALIGN);
        Ok(self.c.i32(I::I32Add, &[frame, offset]))
    }

    // ---- values ----

    /// Type of the local that holds a value.
    pub(super) fn home(&self, v: Value) -> Result<ValType, Reason> {
        let ty = self.ty(v);
        Ok(match (ty.elem, ty.lanes) {
            (Elem::Bool | Elem::I32 | Elem::Ptr, 1) => ValType::I32,
            (Elem::I64, 1) => {
                if self.ranges.is_narrow(v) {
                    ValType::I32
                } else {
                    ValType::I64
                }
            }
            (Elem::F32, 1) => ValType::F32,
            (Elem::F64, 1) => ValType::F64,
            (Elem::Bool, 2 | 4 | 8 | 16) => ValType::V128,
            _ if ty.bits() == 128 => ValType::V128,
            _ => return Err(format!("{ty}: this target has 16-byte vectors only")),
        })
    }

    /// A local for a value that is written more than once, or elsewhere.
    pub(super) fn define(&mut self, v: Value) -> Result<Local, Reason> {
        let home = self.home(v)?;
        let local = self.c.local(home);
        self.places[v.index()] = Some(local);
        Ok(local)
    }

    /// Lets a value live in a local that is there already.
    pub(super) fn alias(&mut self, v: Value, local: Local) {
        self.places[v.index()] = Some(local);
    }

    /// The local of a value, as it is.
    pub(super) fn get(&mut self, v: Value) -> Local {
        self.places[v.index()].expect("verified kernels define values before use")
    }

    /// A scalar in full: narrow 64-bit integers are extended by their sign.
    pub(super) fn get_full(&mut self, v: Value) -> Local {
        let local = self.get(v);
        if self.ty(v) == Type::I64 && self.c.ty(local) == ValType::I32 { self.c.i64(I::I64ExtendI32S, &[local]) } else { local }
    }

    /// The low 32 bits of a 64-bit integer.
    pub(super) fn get_low(&mut self, v: Value) -> Local {
        let local = self.get(v);
        if self.c.ty(local) == ValType::I64 { self.c.i32(I::I32WrapI64, &[local]) } else { local }
    }

    /// A result in the type of local that its value has.
    fn as_home(&mut self, local: Local, v: Value) -> Result<Local, Reason> {
        Ok(match (self.c.ty(local), self.home(v)?) {
            (ValType::I64, ValType::I32) => self.c.i32(I::I32WrapI64, &[local]),
            (ValType::I32, ValType::I64) => self.c.i64(I::I64ExtendI32S, &[local]),
            _ => local,
        })
    }

    /// A value in the type of another value's local.
    pub(super) fn get_as(&mut self, v: Value, like: Local) -> Local {
        if self.c.ty(like) == ValType::I64 {
            self.get_full(v)
        } else if self.ty(v) == Type::I64 {
            self.get_low(v)
        } else {
            self.get(v)
        }
    }

    pub(super) fn ty(&self, v: Value) -> Type {
        self.kernel.ty(v)
    }

    /// The instruction that defines a value, if one does.
    pub(super) fn def(&self, v: Value) -> Option<&'k Inst> {
        self.defs[v.index()]
    }

    /// Lane bits of a constant, the same in every lane.
    pub(super) fn known_bits(&self, v: Value) -> Option<u64> {
        match self.def(v)?.op {
            Op::Const(bits) => Some(bits),
            Op::Splat => self.known_bits(self.def(v)?.args[0]),
            _ => None,
        }
    }

    // ---- constants ----

    /// A constant of a kir type with these bits in every lane.
    pub(super) fn constant(&mut self, ty: Type, bits: u64) -> Local {
        if ty.is_vector() {
            return self.constant_lanes(ty, &vec![bits; usize::from(ty.lanes)]);
        }
        match ty.elem {
            Elem::I64 => self.c.i64_const(bits as i64),
            Elem::F32 => self.c.float_const(ValType::F32, bits),
            Elem::F64 => self.c.float_const(ValType::F64, bits),
            _ => self.c.i32_const(bits as i32),
        }
    }

    fn constant_lanes(&mut self, ty: Type, lanes: &[u64]) -> Local {
        let lane_bytes = 16 / lanes.len();
        let mut bytes = [0; 16];
        for (chunk, &lane) in bytes.chunks_mut(lane_bytes).zip(lanes) {
            let lane = if ty.elem == Elem::Bool { 0u64.wrapping_sub(lane & 1) } else { lane };
            chunk.copy_from_slice(&lane.to_le_bytes()[..lane_bytes]);
        }
        self.c.v128_const(bytes)
    }

    /// A constant of full-width lanes of `elem`.
    pub(super) fn lanes_of(&mut self, elem: Elem, bits: u64) -> Local {
        self.constant(Type::vector(elem, (128 / elem.bits()) as u16), bits)
    }

    /// `mask ? x : y` lane by lane.
    pub(super) fn pick(&mut self, mask: Local, x: Local, y: Local) -> Local {
        self.c.v128(I::V128Bitselect, &[x, y, mask])
    }
}

/// Lane kind of the integers that a mask of so many lanes consists of.
pub(super) fn mask_elem(lanes: u16) -> Elem {
    match lanes {
        2 => Elem::I64,
        4 => Elem::I32,
        8 => Elem::I16,
        _ => Elem::I8,
    }
}
