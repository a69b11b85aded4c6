//! Builds kernels: one method per operator, closures for nested blocks.
//!
//! The builder folds constant scalar integer arithmetic and address arithmetic as it goes, so that templates can compute offsets without care.
//! It checks types only by debug assertions; the verifier is the judge.

use crate::kernel::{Block, Inst, Kernel, Param, Value};
use crate::op::*;
use crate::tile::TileOp;
use crate::types::{Elem, Type};
use smallvec::{SmallVec, smallvec};

/// An address under construction: `base + index * scale + disp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addr {
    /// Base address (`Ptr`).
    pub base: Value,
    /// Index (`I64`; for gathers a vector of `I32`) and its scale: 1, 2, 4 or 8.
    pub index: Option<(Value, u8)>,
    /// Constant offset in bytes.
    pub disp: i32,
}

impl Addr {
    /// The address in `base`.
    pub fn new(base: Value) -> Addr {
        Addr { base, index: None, disp: 0 }
    }

    /// The same with `index * scale` added; replaces an index.
    pub fn index(self, index: Value, scale: u8) -> Addr {
        Addr { index: Some((index, scale)), ..self }
    }

    /// The same, `bytes` further on.
    ///
    /// # Panics
    /// Where the constant offset leaves the range of `i32`: kernels index what is larger.
    pub fn offset(self, bytes: i64) -> Addr {
        let disp = i32::try_from(i64::from(self.disp) + bytes).expect("constant address offset fits 32 bits");
        Addr { disp, ..self }
    }

    fn mode(&self) -> AddrMode {
        AddrMode { scale: self.index.map_or(0, |(_, s)| s), disp: self.disp }
    }
}

impl From<Value> for Addr {
    fn from(base: Value) -> Addr {
        Addr::new(base)
    }
}

/// Builds one kernel.
#[derive(Debug)]
pub struct Builder {
    kernel: Kernel,
    /// Open blocks, innermost last.
    stack: Vec<Block>,
    /// Constant bits of scalar integer values, for folding.
    known: Vec<Option<i64>>,
}

impl Builder {
    /// Starts a kernel without parameters.
    pub fn new(name: impl Into<String>) -> Builder {
        let types = vec![Type::I64, Type::I64];
        let kernel = Kernel { name: name.into(), params: vec![], begin: Value(0), end: Value(1), body: Block::default(), types };
        Builder { kernel, stack: vec![Block::default()], known: vec![None, None] }
    }

    /// Adds a parameter, the next argument slot.
    pub fn param(&mut self, name: impl Into<String>, ty: Type) -> Value {
        let value = self.value(ty);
        self.kernel.params.push(Param { name: name.into(), value });
        value
    }

    /// Adds a pointer parameter.
    pub fn ptr_param(&mut self, name: impl Into<String>) -> Value {
        self.param(name, Type::PTR)
    }

    /// First work unit.
    pub fn begin(&self) -> Value {
        self.kernel.begin
    }

    /// End of the work units.
    pub fn end(&self) -> Value {
        self.kernel.end
    }

    /// Type of a value.
    pub fn ty(&self, v: Value) -> Type {
        self.kernel.ty(v)
    }

    /// The constant that a scalar integer value is known to hold.
    pub fn known(&self, v: Value) -> Option<i64> {
        self.known[v.index()]
    }

    /// Ends the kernel with status 0.
    pub fn finish(self) -> Kernel {
        self.finish_with(None)
    }

    /// Ends the kernel with a status (`I32`).
    pub fn finish_status(self, status: Value) -> Kernel {
        self.finish_with(Some(status))
    }

    fn finish_with(mut self, status: Option<Value>) -> Kernel {
        assert_eq!(self.stack.len(), 1, "a nested block is still open");
        self.kernel.body = self.stack.pop().unwrap_or_default();
        self.kernel.body.yields = status.into_iter().collect();
        self.kernel
    }

    fn value(&mut self, ty: Type) -> Value {
        self.known.push(None);
        self.kernel.new_value(ty)
    }

    fn push(&mut self, inst: Inst) {
        self.stack.last_mut().expect("an open block").insts.push(inst);
    }

    /// Appends an operator with one result of type `ty`.
    pub fn inst(&mut self, op: Op, ty: Type, args: &[Value]) -> Value {
        let r = self.value(ty);
        self.push(Inst { op, args: SmallVec::from_slice(args), results: smallvec![r], blocks: vec![] });
        r
    }

    fn effect(&mut self, op: Op, args: &[Value]) {
        self.push(Inst { op, args: SmallVec::from_slice(args), results: smallvec![], blocks: vec![] });
    }

    // ---- constants ----

    /// A constant of `ty`, the same in every lane; integers are truncated to the lane, floats converted.
    pub fn int(&mut self, ty: Type, v: i64) -> Value {
        debug_assert!(ty.elem.is_int() || ty.elem == Elem::Bool);
        let bits = if ty.elem.bits() == 64 { v as u64 } else { v as u64 & ((1 << ty.elem.bits()) - 1) };
        let r = self.inst(Op::Const(bits), ty, &[]);
        if !ty.is_vector() {
            self.known[r.index()] = Some(v);
        }
        r
    }

    /// A scalar `I64` constant.
    pub fn i64(&mut self, v: i64) -> Value {
        self.int(Type::I64, v)
    }

    /// A scalar `I32` constant.
    pub fn i32(&mut self, v: i32) -> Value {
        self.int(Type::I32, i64::from(v))
    }

    /// A float constant of `ty` (`F32` or `F64` lanes), the same in every lane.
    pub fn float(&mut self, ty: Type, v: f64) -> Value {
        let bits = if ty.elem == Elem::F64 { v.to_bits() } else { u64::from((v as f32).to_bits()) };
        self.inst(Op::Const(bits), ty, &[])
    }

    /// A `F32` constant with exactly these bits, in every lane of `ty`.
    pub fn f32_const(&mut self, ty: Type, v: f32) -> Value {
        self.inst(Op::Const(u64::from(v.to_bits())), ty, &[])
    }

    /// A constant per lane, given as bits.
    pub fn const_vec(&mut self, ty: Type, lanes: Vec<u64>) -> Value {
        debug_assert_eq!(lanes.len(), usize::from(ty.lanes));
        self.inst(Op::ConstVec(lanes), ty, &[])
    }

    // ---- arithmetic ----

    /// Unary arithmetic.
    pub fn un(&mut self, op: UnOp, a: Value) -> Value {
        self.inst(Op::Un(op), self.ty(a), &[a])
    }

    /// Binary arithmetic; scalar integers with known operands are folded.
    pub fn bin(&mut self, op: BinOp, a: Value, b: Value) -> Value {
        let ty = self.ty(a);
        if ty.elem != Elem::Ptr {
            debug_assert_eq!(ty, self.ty(b), "{op:?}");
        }
        if ty == Type::I64
            && let Some(v) = self.fold_i64(op, a, b)
        {
            return v;
        }
        self.inst(Op::Bin(op), ty, &[a, b])
    }

    fn fold_i64(&mut self, op: BinOp, a: Value, b: Value) -> Option<Value> {
        match (op, self.known(a), self.known(b)) {
            (BinOp::Add, Some(x), Some(y)) => Some(self.i64(x.wrapping_add(y))),
            (BinOp::Sub, Some(x), Some(y)) => Some(self.i64(x.wrapping_sub(y))),
            (BinOp::Mul, Some(x), Some(y)) => Some(self.i64(x.wrapping_mul(y))),
            (BinOp::Min, Some(x), Some(y)) => Some(self.i64(x.min(y))),
            (BinOp::Max, Some(x), Some(y)) => Some(self.i64(x.max(y))),
            (BinOp::Add | BinOp::Sub | BinOp::Shl, _, Some(0)) | (BinOp::Mul | BinOp::Div, _, Some(1)) => Some(a),
            (BinOp::Add, Some(0), _) | (BinOp::Mul, Some(1), _) => Some(b),
            (BinOp::Mul, _, Some(0)) | (BinOp::Mul, Some(0), _) => Some(self.i64(0)),
            _ => None,
        }
    }

    /// `a + b`.
    pub fn add(&mut self, a: Value, b: Value) -> Value {
        self.bin(BinOp::Add, a, b)
    }

    /// `a - b`.
    pub fn sub(&mut self, a: Value, b: Value) -> Value {
        self.bin(BinOp::Sub, a, b)
    }

    /// `a * b`.
    pub fn mul(&mut self, a: Value, b: Value) -> Value {
        self.bin(BinOp::Mul, a, b)
    }

    /// `a + c` for an `I64` and a constant.
    pub fn add_const(&mut self, a: Value, c: i64) -> Value {
        let c = self.i64(c);
        self.add(a, c)
    }

    /// `a * c` for an `I64` and a constant.
    pub fn mul_const(&mut self, a: Value, c: i64) -> Value {
        let c = self.i64(c);
        self.mul(a, c)
    }

    /// `if a < b { a } else { b }`, see [`BinOp::Min`].
    pub fn min(&mut self, a: Value, b: Value) -> Value {
        self.bin(BinOp::Min, a, b)
    }

    /// `if a > b { a } else { b }`, see [`BinOp::Max`].
    pub fn max(&mut self, a: Value, b: Value) -> Value {
        self.bin(BinOp::Max, a, b)
    }

    /// `a * b + c`, rounded once.
    pub fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        self.inst(Op::Fma, self.ty(c), &[a, b, c])
    }

    /// Comparison.
    pub fn cmp(&mut self, op: CmpOp, a: Value, b: Value) -> Value {
        self.inst(Op::Cmp(op), self.ty(a).mask(), &[a, b])
    }

    /// Lane-wise `cond ? a : b`.
    pub fn select(&mut self, cond: Value, a: Value, b: Value) -> Value {
        self.inst(Op::Select, self.ty(a), &[cond, a, b])
    }

    /// Conversion to the type `to`.
    pub fn convert(&mut self, op: ConvertOp, to: Type, a: Value) -> Value {
        self.inst(Op::Convert(op), to, &[a])
    }

    /// Reinterprets bits as the type `to`.
    pub fn bitcast(&mut self, to: Type, a: Value) -> Value {
        if self.ty(a) == to { a } else { self.convert(ConvertOp::Bitcast, to, a) }
    }

    /// `acc + Σ4 a·b` on 8-bit lanes.
    pub fn dot4(&mut self, signs: DotSigns, acc: Value, a: Value, b: Value) -> Value {
        self.inst(Op::Dot4(signs), self.ty(acc), &[acc, a, b])
    }

    /// `acc + Σ2 a·b` on signed 16-bit lanes.
    pub fn dot2(&mut self, acc: Value, a: Value, b: Value) -> Value {
        self.inst(Op::Dot2, self.ty(acc), &[acc, a, b])
    }

    /// `acc + a · bᵀ` on 2×2, 2×8 and 2×8 matrices in each 128-bit block.
    pub fn mmla(&mut self, signs: DotSigns, acc: Value, a: Value, b: Value) -> Value {
        self.inst(Op::Mmla(signs), self.ty(acc), &[acc, a, b])
    }

    /// `a b + c` on lanes of binary16, held as `I16`.
    pub fn fma_f16(&mut self, a: Value, b: Value, c: Value) -> Value {
        self.inst(Op::FmaF16, self.ty(c), &[a, b, c])
    }

    /// The lanes of two vectors of `F32` as binary16, held as `I16`.
    pub fn pack_f16(&mut self, a: Value, b: Value) -> Value {
        self.inst(Op::PackF16, Type::vector(Elem::I16, self.ty(a).lanes * 2), &[a, b])
    }

    /// The first half and the second half of lanes of binary16 as `F32`.
    pub fn widen_f16(&mut self, a: Value) -> [Value; 2] {
        let ty = Type::vector(Elem::F32, self.ty(a).lanes / 2);
        [Op::WidenF16Lo, Op::WidenF16Hi].map(|op| self.inst(op, ty, &[a]))
    }

    // ---- lanes ----

    /// Copies a scalar to `lanes` lanes of its own kind.
    pub fn splat(&mut self, a: Value, lanes: u16) -> Value {
        self.inst(Op::Splat, self.ty(a).with_lanes(lanes), &[a])
    }

    /// Copies a scalar to every lane of `ty`; `I8` and `I16` lanes take the low bits of an `I32`.
    pub fn splat_to(&mut self, ty: Type, a: Value) -> Value {
        self.inst(Op::Splat, ty, &[a])
    }

    /// Lane `lane` as a scalar; narrow integers widen to `I32` (zero-extended).
    pub fn extract_lane(&mut self, a: Value, lane: u16) -> Value {
        let elem = match self.ty(a).elem {
            Elem::I8 | Elem::I16 => Elem::I32,
            e => e,
        };
        self.inst(Op::ExtractLane(lane), Type::scalar(elem), &[a])
    }

    /// The vector with lane `lane` replaced by a scalar; `I8` and `I16` lanes take the low bits of an `I32`.
    pub fn insert_lane(&mut self, v: Value, lane: u16, s: Value) -> Value {
        self.inst(Op::InsertLane(lane), self.ty(v), &[v, s])
    }

    /// Part `part` of `lanes` lanes.
    pub fn extract_part(&mut self, a: Value, part: u16, lanes: u16) -> Value {
        self.inst(Op::ExtractPart(part), self.ty(a).with_lanes(lanes), &[a])
    }

    /// The lanes of `a`, then those of `b`.
    pub fn concat(&mut self, a: Value, b: Value) -> Value {
        let ty = self.ty(a);
        self.inst(Op::Concat, ty.with_lanes(ty.lanes + self.ty(b).lanes), &[a, b])
    }

    /// Lanes of `a` followed by `b`, chosen by `map`.
    pub fn shuffle(&mut self, a: Value, b: Value, map: Vec<u16>) -> Value {
        let ty = self.ty(a).with_lanes(map.len() as u16);
        self.inst(Op::Shuffle(map), ty, &[a, b])
    }

    /// Interleaves the lower halves of each 128-bit block.
    pub fn unpack_lo(&mut self, a: Value, b: Value) -> Value {
        self.inst(Op::UnpackLo, self.ty(a), &[a, b])
    }

    /// Interleaves the upper halves of each 128-bit block.
    pub fn unpack_hi(&mut self, a: Value, b: Value) -> Value {
        self.inst(Op::UnpackHi, self.ty(a), &[a, b])
    }

    /// Narrows two vectors into one by 128-bit blocks, saturating to signed (`PackS`) lanes.
    pub fn pack_s(&mut self, a: Value, b: Value) -> Value {
        self.inst(Op::PackS, narrowed(self.ty(a)), &[a, b])
    }

    /// Narrows two vectors into one by 128-bit blocks, saturating to unsigned (`PackU`) lanes.
    pub fn pack_u(&mut self, a: Value, b: Value) -> Value {
        self.inst(Op::PackU, narrowed(self.ty(a)), &[a, b])
    }

    /// Reduces all lanes to a scalar.
    pub fn reduce(&mut self, op: ReduceOp, a: Value) -> Value {
        self.inst(Op::Reduce(op), Type::scalar(self.ty(a).elem), &[a])
    }

    // ---- memory ----

    fn addr_args(addr: &Addr, rest: &[Value]) -> SmallVec<[Value; 4]> {
        let mut args = smallvec![addr.base];
        args.extend(addr.index.map(|(v, _)| v));
        args.extend_from_slice(rest);
        args
    }

    /// Loads a value of type `ty` from consecutive elements `mem`.
    pub fn load(&mut self, ty: Type, mem: Mem, addr: impl Into<Addr>) -> Value {
        self.load_active(ty, mem, addr, Active::All, None)
    }

    /// Loads the first `n` lanes; the others are zero. `n` may equal the lane count.
    pub fn load_first(&mut self, ty: Type, mem: Mem, addr: impl Into<Addr>, n: u16) -> Value {
        let active = if n == ty.lanes { Active::All } else { Active::First(n) };
        self.load_active(ty, mem, addr, active, None)
    }

    /// Loads the lanes set in `mask`; the others are zero.
    pub fn load_masked(&mut self, ty: Type, mem: Mem, addr: impl Into<Addr>, mask: Value) -> Value {
        self.load_active(ty, mem, addr, Active::Mask, Some(mask))
    }

    fn load_active(&mut self, ty: Type, mem: Mem, addr: impl Into<Addr>, active: Active, mask: Option<Value>) -> Value {
        let addr = addr.into();
        let args = Self::addr_args(&addr, mask.as_slice());
        self.inst(Op::Load(MemOp { mem, addr: addr.mode(), active }), ty, &args)
    }

    /// Loads one element into every lane of `ty`.
    pub fn load_splat(&mut self, ty: Type, mem: Mem, addr: impl Into<Addr>) -> Value {
        let addr = addr.into();
        let args = Self::addr_args(&addr, &[]);
        self.inst(Op::LoadSplat(MemOp { mem, addr: addr.mode(), active: Active::All }), ty, &args)
    }

    /// Stores every lane to consecutive elements `mem`, saturating or wrapping integers that are wider.
    pub fn store(&mut self, mem: Mem, narrow: Narrow, addr: impl Into<Addr>, data: Value) {
        self.store_active(mem, narrow, addr, Active::All, None, data);
    }

    /// Stores the first `n` lanes. `n` may equal the lane count.
    pub fn store_first(&mut self, mem: Mem, narrow: Narrow, addr: impl Into<Addr>, data: Value, n: u16) {
        let active = if n == self.ty(data).lanes { Active::All } else { Active::First(n) };
        self.store_active(mem, narrow, addr, active, None, data);
    }

    /// Stores the lanes set in `mask`.
    pub fn store_masked(&mut self, mem: Mem, narrow: Narrow, addr: impl Into<Addr>, data: Value, mask: Value) {
        self.store_active(mem, narrow, addr, Active::Mask, Some(mask), data);
    }

    fn store_active(&mut self, mem: Mem, narrow: Narrow, addr: impl Into<Addr>, active: Active, mask: Option<Value>, data: Value) {
        let addr = addr.into();
        let mut args = Self::addr_args(&addr, mask.as_slice());
        args.push(data);
        self.effect(Op::Store(MemOp { mem, addr: addr.mode(), active }, narrow), &args);
    }

    /// Loads an element per lane from `addr.base + index[lane] * scale + disp`.
    pub fn gather(&mut self, ty: Type, mem: Mem, addr: Addr) -> Value {
        let args = Self::addr_args(&addr, &[]);
        self.inst(Op::Gather(MemOp { mem, addr: addr.mode(), active: Active::All }), ty, &args)
    }

    /// An operator on tiles with its operands.
    pub fn tile(&mut self, op: TileOp, operands: &[Value]) {
        self.effect(Op::Tile(op), operands);
    }

    /// Hints that the cache line at `addr` will be used.
    pub fn prefetch(&mut self, addr: impl Into<Addr>, locality: Locality) {
        let addr = addr.into();
        let args = Self::addr_args(&addr, &[]);
        self.effect(Op::Prefetch(addr.mode(), locality), &args);
    }

    /// Pointer plus a byte offset (`I64`).
    pub fn ptr_add(&mut self, p: Value, bytes: Value) -> Value {
        if self.known(bytes) == Some(0) { p } else { self.inst(Op::PtrAdd, Type::PTR, &[p, bytes]) }
    }

    /// Pointer plus a constant byte offset.
    pub fn ptr_add_const(&mut self, p: Value, bytes: i64) -> Value {
        let c = self.i64(bytes);
        self.ptr_add(p, c)
    }

    /// A buffer local to this call.
    pub fn scratch(&mut self, bytes: u32, align: u32) -> Value {
        self.inst(Op::Scratch { bytes, align }, Type::PTR, &[])
    }

    // ---- control flow ----

    /// Opens a nested block with arguments of these types; gives the arguments.
    pub(crate) fn open(&mut self, args: &[Type]) -> Vec<Value> {
        let args: Vec<Value> = args.iter().map(|&t| self.value(t)).collect();
        // Blocks of templates are long: growing them step by step copied each instruction several times.
        self.stack.push(Block { args: args.clone(), insts: Vec::with_capacity(64), ..Block::default() });
        args
    }

    /// Closes the innermost block.
    pub(crate) fn close(&mut self, yields: Vec<Value>) -> Block {
        let mut block = self.stack.pop().expect("an open block");
        block.yields = yields;
        block
    }

    /// Appends an operator with nested blocks.
    pub(crate) fn control(&mut self, op: Op, args: &[Value], result_types: &[Type], blocks: Vec<Block>) -> Vec<Value> {
        let results: SmallVec<[Value; 1]> = result_types.iter().map(|&t| self.value(t)).collect();
        self.push(Inst { op, args: SmallVec::from_slice(args), results: results.clone(), blocks });
        results.to_vec()
    }

    /// `for i = start; i < end; i += step`, with carried values; `body(builder, i, carried)` gives the next ones.
    pub fn for_loop(
        &mut self,
        start: Value,
        end: Value,
        step: i64,
        carried: &[Value],
        body: impl FnOnce(&mut Builder, Value, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        debug_assert!(step > 0);
        let types: Vec<Type> = carried.iter().map(|&v| self.ty(v)).collect();
        let block_types: Vec<Type> = std::iter::once(Type::I64).chain(types.iter().copied()).collect();
        let args = self.open(&block_types);
        let yields = body(self, args[0], &args[1..]);
        debug_assert_eq!(yields.len(), carried.len(), "a loop yields its carried values");
        let block = self.close(yields);
        let operands: Vec<Value> = [start, end].into_iter().chain(carried.iter().copied()).collect();
        self.control(Op::For { step }, &operands, &types, vec![block])
    }

    /// `for_loop` from a constant to a constant; a loop that runs once is inlined, one that never runs vanishes.
    pub fn for_const(
        &mut self,
        start: i64,
        end: i64,
        step: i64,
        carried: &[Value],
        body: impl FnOnce(&mut Builder, Value, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        if start >= end {
            return carried.to_vec();
        }
        let lo = self.i64(start);
        if start + step >= end {
            return body(self, lo, carried);
        }
        let hi = self.i64(end);
        self.for_loop(lo, hi, step, carried, body)
    }

    /// Two-way branch; both closures give as many values of the same types.
    pub fn if_else(
        &mut self,
        cond: Value,
        then: impl FnOnce(&mut Builder) -> Vec<Value>,
        other: impl FnOnce(&mut Builder) -> Vec<Value>,
    ) -> Vec<Value> {
        self.open(&[]);
        let y = then(self);
        let then_block = self.close(y);
        let types: Vec<Type> = then_block.yields.iter().map(|&v| self.ty(v)).collect();
        self.open(&[]);
        let y = other(self);
        let else_block = self.close(y);
        self.control(Op::If, &[cond], &types, vec![then_block, else_block])
    }

    /// Branch without results.
    pub fn if_then(&mut self, cond: Value, then: impl FnOnce(&mut Builder)) {
        self.if_else(
            cond,
            |b| {
                then(b);
                vec![]
            },
            |_| vec![],
        );
    }

    /// `loop { (go, values) = condition(args); if !go { break values }; args = body(values) }`.
    pub fn while_loop(
        &mut self,
        initial: &[Value],
        condition: impl FnOnce(&mut Builder, &[Value]) -> (Value, Vec<Value>),
        body: impl FnOnce(&mut Builder, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        let types: Vec<Type> = initial.iter().map(|&v| self.ty(v)).collect();
        let args = self.open(&types);
        let (go, values) = condition(self, &args);
        let passed: Vec<Type> = values.iter().map(|&v| self.ty(v)).collect();
        let first = self.close(std::iter::once(go).chain(values).collect());
        let args = self.open(&passed);
        let y = body(self, &args);
        let second = self.close(y);
        self.control(Op::While, initial, &passed, vec![first, second])
    }
}

fn narrowed(ty: Type) -> Type {
    let elem = match ty.elem {
        Elem::I32 => Elem::I16,
        _ => Elem::I8,
    };
    Type::vector(elem, ty.lanes * 2)
}
