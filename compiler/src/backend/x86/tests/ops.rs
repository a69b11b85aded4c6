//! Every operator on every legal type, with operands from registers, memory, constants and splats, against the interpreter.

use super::run::{Guarded, LEVELS, call, full_caps, runnable};
use crate::backend::x86::{compile, disassemble};
use crate::target::X86Level;
use tflc_kir::interp::{Arg, Memory, run};
use tflc_kir::*;

/// A small deterministic source of numbers (SplitMix64).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// A kernel under construction that computes something from an input buffer and stores it.
struct Probe {
    b: Builder,
    rng: Rng,
    input: Value,
    output: Value,
    in_bytes: Vec<u8>,
    out_bytes: usize,
    /// Results: offset, lanes, bytes of a lane if it is a float.
    floats: Vec<(usize, usize)>,
    scalar: Value,
    small_floats: bool,
}

impl Probe {
    fn new(seed: u64) -> Probe {
        let mut b = Builder::new("probe");
        let (input, output, scalar) = (b.ptr_param("input"), b.ptr_param("output"), b.param("s", Type::F32));
        Probe { b, rng: Rng(seed), input, output, in_bytes: vec![], out_bytes: 0, floats: vec![], scalar, small_floats: false }
    }

    /// Bits of an interesting lane.
    fn lane(&mut self, elem: Elem) -> u64 {
        let r = self.rng.next();
        let specials = [0.0, -0.0, 1.0, -1.5, 2.5, -2.5, 1e10, -3e-5, f64::INFINITY, f64::NAN, 1e-40, 65504.0, 65520.0, 3e38];
        match elem {
            Elem::F32 | Elem::F64 => {
                let n = if self.small_floats { 6 } else { specials.len() as u64 };
                let v = match r % 3 {
                    0 => specials[self.rng.below(n) as usize],
                    1 => (self.rng.next() as i32 >> 12) as f64 / 256.0,
                    _ => (self.rng.next() as i32 >> 20) as f64 / 16.0,
                };
                if elem == Elem::F64 { v.to_bits() } else { u64::from((v as f32).to_bits()) }
            }
            Elem::Bool => r & 1,
            _ => {
                let v = match r % 8 {
                    0 => 0,
                    1 => u64::MAX,
                    2 => 1 << (elem.bits() - 1),
                    3 => (1 << (elem.bits() - 1)) - 1,
                    4 => self.rng.below(2 * u64::from(elem.bits())),
                    5 => self.rng.below(300).wrapping_sub(150),
                    _ => self.rng.next(),
                };
                v & elem.bit_mask()
            }
        }
    }

    fn mem(elem: Elem) -> Mem {
        match elem {
            Elem::I8 => Mem::S8,
            Elem::I16 => Mem::S16,
            Elem::I32 => Mem::S32,
            Elem::F32 => Mem::F32,
            Elem::F64 => Mem::F64,
            _ => Mem::I64,
        }
    }

    /// Address of fresh input bytes.
    fn input(&mut self, bytes: &[u8]) -> Addr {
        let at = self.in_bytes.len();
        self.in_bytes.extend_from_slice(bytes);
        Addr::new(self.input).offset(at as i64)
    }

    fn lanes(&mut self, ty: Type, n: u16) -> Vec<u8> {
        (0..n).flat_map(|_| self.lane(ty.elem).to_le_bytes().into_iter().take(ty.elem.bits() as usize / 8)).collect()
    }

    /// A value of a type, from somewhere.
    fn value(&mut self, ty: Type) -> Value {
        if ty.elem == Elem::Bool {
            return self.truth(ty);
        }
        if ty.elem == Elem::Ptr {
            return self.input;
        }
        let how = self.rng.below(10);
        match how {
            0 if ty == Type::F32 => self.scalar,
            0 if ty.is_vector() && ty.elem == Elem::F32 => self.b.splat(self.scalar, ty.lanes),
            1 => {
                let bits = self.lane(ty.elem);
                self.b.inst(Op::Const(bits), ty, &[])
            }
            2 if ty.is_vector() => {
                let bits = (0..ty.lanes).map(|_| self.lane(ty.elem)).collect();
                self.b.const_vec(ty, bits)
            }
            3 | 4 if ty.is_vector() => {
                let bytes = self.lanes(ty, 1);
                let at = self.input(&bytes);
                self.b.load_splat(ty, Probe::mem(ty.elem), at)
            }
            _ => {
                let bytes = self.lanes(ty, ty.lanes);
                let at = self.input(&bytes);
                let v = self.b.load(ty, Probe::mem(ty.elem), at);
                if how > 7 {
                    // A second use keeps it in a register.
                    self.result(v);
                }
                v
            }
        }
    }

    fn truth(&mut self, ty: Type) -> Value {
        if self.rng.below(6) == 0 {
            return if ty.is_vector() {
                let bits = (0..ty.lanes).map(|_| self.rng.next() & 1).collect();
                self.b.const_vec(ty, bits)
            } else {
                let bit = self.rng.below(2);
                self.b.inst(Op::Const(bit), ty, &[])
            };
        }
        let compared = if ty.is_vector() { self.some_type(ty.lanes) } else { Type::I32 };
        let bytes: Vec<u8> = (0..ty.lanes).flat_map(|_| vec![(self.rng.next() & 1) as u8; compared.elem.bits() as usize / 8]).collect();
        let at = self.input(&bytes);
        let v = self.b.load(compared, Probe::mem(compared.elem), at);
        let zero = self.b.int(compared, 0);
        self.b.cmp(CmpOp::Ne, v, zero)
    }

    /// A legal integer vector type of a lane count; `types` of the level are known to the thread.
    fn some_type(&mut self, lanes: u16) -> Type {
        let fitting: Vec<Type> = TYPES.with_borrow(|t| t.iter().copied().filter(|t| t.lanes == lanes && t.elem.is_int()).collect());
        fitting[self.rng.below(fitting.len() as u64) as usize]
    }

    /// Stores a result where it is compared.
    fn result(&mut self, v: Value) {
        let ty = self.b.ty(v);
        let v = match ty.elem {
            Elem::Bool => {
                let to = if ty.is_vector() { self.some_type(ty.lanes) } else { Type::I32 };
                let (one, zero) = (self.b.int(to, 1), self.b.int(to, 0));
                self.b.select(v, one, zero)
            }
            _ => v,
        };
        let ty = self.b.ty(v);
        let at = self.output_bytes(ty.bits() as usize / 8);
        if ty.elem.is_float() {
            let start = at.disp as usize;
            self.floats.extend((0..usize::from(ty.lanes)).map(|i| (start + i * ty.elem.bits() as usize / 8, ty.elem.bits() as usize / 8)));
        }
        self.b.store(Probe::mem(ty.elem), Narrow::Wrap, at, v);
    }

    fn output_bytes(&mut self, n: usize) -> Addr {
        let at = self.out_bytes;
        self.out_bytes += n;
        Addr::new(self.output).offset(at as i64)
    }

    /// Compiles, runs, compares.
    fn check(self, level: X86Level, what: &str) {
        let Probe { b, in_bytes, out_bytes, floats, .. } = self;
        let kernel = b.finish();
        if let Err(e) = verify(&kernel) {
            panic!("{what}: the test is wrong: {e}\n{kernel}");
        }
        let code = compile(&kernel, level).unwrap_or_else(|e| panic!("{what} {level:?}: {e}\n{kernel}"));
        let Some(runnable) = runnable(&code, level) else { return };
        let mut expected: Vec<u8> = (0..out_bytes).map(|i| i as u8 ^ 0x5a).collect();
        let (input, output) = (Guarded::new(&in_bytes), Guarded::new(&expected));
        let s = 3.75f32;
        {
            let mut memory = Memory::new();
            let args = [Arg::Ptr(memory.add(in_bytes.clone())), Arg::Ptr(memory.add_mut(&mut expected)), Arg::F32(s)];
            run(&kernel, &args, &mut memory, 0, 1).unwrap_or_else(|e| panic!("{what}: {e}\n{kernel}"));
        }
        call(&runnable, &[input.address(), output.address(), u64::from(s.to_bits())], 0, 1);
        let mut got = output.bytes();
        for &(at, n) in &floats {
            let nan = |b: &[u8]| match n {
                2 => half::f16::from_le_bytes([b[at], b[at + 1]]).is_nan(),
                4 => f32::from_le_bytes(b[at..at + 4].try_into().expect("4 bytes")).is_nan(),
                _ => f64::from_le_bytes(b[at..at + 8].try_into().expect("8 bytes")).is_nan(),
            };
            if nan(&got) && nan(&expected) {
                got[at..at + n].copy_from_slice(&expected[at..at + n]);
            }
        }
        if let Some(at) = got.iter().zip(&expected).position(|(a, b)| a != b) {
            panic!("{what} {level:?}: byte {at} is {:#x}, not {:#x}\n{kernel}\n{}", got[at], expected[at], disassemble(&code));
        }
    }
}

thread_local! {
    static TYPES: std::cell::RefCell<Vec<Type>> = const { std::cell::RefCell::new(vec![]) };
}

/// All legal types of a level.
fn types(level: X86Level) -> Vec<Type> {
    let caps = full_caps(level);
    let all = Elem::ALL.iter().flat_map(|&e| (1..=64).map(move |l| Type::vector(e, l)));
    let types: Vec<Type> = all.filter(|&t| legal(t, &caps)).collect();
    TYPES.set(types.clone());
    types
}

/// Runs a test at every level, several times with other operands.
fn each(count: u64, mut f: impl FnMut(u64, X86Level, &[Type])) {
    for level in LEVELS {
        let types = types(level);
        for seed in 0..count {
            f(seed, level, &types);
        }
    }
}

/// Tests an operator on operands of given types.
fn probe(seed: u64, level: X86Level, op: &Op, ty: Type, args: &[Type]) {
    let mut p = Probe::new(seed);
    if matches!(op, Op::Convert(ConvertOp::FloatToIntEven | ConvertOp::FloatToIntTrunc)) {
        p.small_floats = true;
    }
    let args: Vec<Value> = args.iter().map(|&t| p.value(t)).collect();
    let v = p.b.inst(op.clone(), ty, &args);
    p.result(v);
    p.check(level, &format!("{op:?} {ty} seed {seed}"));
}

/// Whether the verifier takes an operator with these types.
fn takes(op: &Op, ty: Type, args: &[Type]) -> bool {
    let mut b = Builder::new("takes");
    let args: Vec<Value> = args.iter().map(|&t| if t == Type::PTR { b.ptr_param("p") } else { b.inst(Op::Const(0), t, &[]) }).collect();
    b.inst(op.clone(), ty, &args);
    verify(&b.finish()).is_ok()
}

#[test]
fn unary() {
    each(6, |seed, level, types| {
        for &op in UnOp::ALL {
            for &ty in types.iter().filter(|&&t| takes(&Op::Un(op), t, &[t])) {
                probe(seed, level, &Op::Un(op), ty, &[ty]);
            }
        }
    });
}

#[test]
fn binary() {
    each(12, |seed, level, types| {
        for &op in BinOp::ALL.iter().filter(|o| !matches!(o, BinOp::Rem)) {
            for &ty in types.iter().filter(|&&t| takes(&Op::Bin(op), t, &[t, t])) {
                if op != BinOp::Div || ty.elem.is_float() {
                    probe(seed, level, &Op::Bin(op), ty, &[ty, ty]);
                }
            }
        }
    });
}

#[test]
fn division_of_scalars() {
    each(20, |seed, level, _| {
        for ty in [Type::I32, Type::I64] {
            let mut p = Probe::new(seed);
            let a = p.value(ty);
            let b = p.value(ty);
            // Neither zero nor -1: an odd number of at least 3 in magnitude.
            let (mask, three) = (p.b.int(ty, 0xffff), p.b.int(ty, 3));
            let b = p.b.bin(BinOp::And, b, mask);
            let b = p.b.bin(BinOp::Or, b, three);
            for op in [BinOp::Div, BinOp::Rem] {
                let v = p.b.bin(op, a, b);
                p.result(v);
            }
            p.check(level, &format!("division {ty} seed {seed}"));
        }
    });
}

#[test]
fn shifts_by_constants() {
    each(1, |_, level, types| {
        for op in [BinOp::Shl, BinOp::ShrU, BinOp::ShrS] {
            for &ty in types.iter().filter(|t| t.elem.is_int()) {
                let bits = i64::from(ty.elem.bits());
                for n in [0, 1, bits / 2, bits - 1, bits, bits + 1, -1] {
                    let mut p = Probe::new(n as u64);
                    let bytes = p.lanes(ty, ty.lanes);
                    let at = p.input(&bytes);
                    let a = p.b.load(ty, Probe::mem(ty.elem), at);
                    let n = p.b.int(ty, n);
                    let v = p.b.inst(Op::Bin(op), ty, &[a, n]);
                    p.result(v);
                    p.check(level, &format!("{op:?} {ty}"));
                }
            }
        }
    });
}

#[test]
fn multiply_add_with_negations() {
    each(12, |seed, level, types| {
        for &ty in types.iter().filter(|t| t.elem.is_float()) {
            let mut p = Probe::new(seed);
            let mut args = [ty; 3].map(|t| p.value(t));
            for (i, a) in args.iter_mut().enumerate() {
                if seed >> i & 1 != 0 {
                    *a = p.b.un(UnOp::Neg, *a);
                }
            }
            let v = p.b.fma(args[0], args[1], args[2]);
            p.result(v);
            let twice = p.b.fma(v, v, args[(seed % 3) as usize]);
            p.result(twice);
            p.check(level, &format!("fma {ty} seed {seed}"));
        }
    });
}

#[test]
fn comparisons_and_choices() {
    each(6, |seed, level, types| {
        for &op in CmpOp::ALL {
            for &ty in types.iter().filter(|&&t| t.elem != Elem::Ptr && takes(&Op::Cmp(op), t.mask(), &[t, t])) {
                probe(seed, level, &Op::Cmp(op), ty.mask(), &[ty, ty]);
                let mut p = Probe::new(seed);
                let (a, b) = (p.value(ty), p.value(ty));
                let c = p.b.cmp(op, a, b);
                let v = p.b.select(c, a, b);
                p.result(v);
                p.check(level, &format!("select by {op:?} {ty} seed {seed}"));
            }
        }
        for &ty in types.iter().filter(|t| t.elem != Elem::Ptr) {
            for condition in [Type::BOOL, ty.mask()] {
                probe(seed, level, &Op::Select, ty, &[condition, ty, ty]);
            }
        }
    });
}

#[test]
fn comparisons_decide_branches() {
    each(8, |seed, level, _| {
        for &op in CmpOp::ALL {
            for ty in [Type::I32, Type::I64, Type::F32, Type::F64].into_iter().filter(|&t| takes(&Op::Cmp(op), Type::BOOL, &[t, t])) {
                let mut p = Probe::new(seed);
                let (a, b) = (p.value(ty), p.value(ty));
                let c = p.b.cmp(op, a, b);
                let v = p.b.if_else(c, |b| vec![b.i32(7)], |b| vec![b.i32(9)]);
                p.result(v[0]);
                p.check(level, &format!("branch by {op:?} {ty} seed {seed}"));
            }
        }
    });
}

#[test]
fn conversions() {
    use ConvertOp::*;
    each(5, |seed, level, types| {
        for op in [ExtS, ExtU, Wrap, SatS, SatU, IntToFloat, FloatToIntEven, FloatToIntTrunc, FloatToFloat, Bitcast] {
            for &from in types.iter().filter(|t| t.elem != Elem::Ptr) {
                for &to in types.iter().filter(|&&t| t.elem != Elem::Ptr && takes(&Op::Convert(op), t, &[from])) {
                    probe(seed, level, &Op::Convert(op), to, &[from]);
                }
            }
        }
    });
}

#[test]
fn dot_products() {
    each(10, |seed, level, types| {
        for &ty in types.iter().filter(|t| t.is_vector() && t.elem == Elem::I32) {
            for &signs in DotSigns::ALL {
                let b = Type::vector(Elem::I8, ty.lanes * 4);
                probe(seed, level, &Op::Dot4(signs), ty, &[ty, b, b]);
            }
            let w = Type::vector(Elem::I16, ty.lanes * 2);
            probe(seed, level, &Op::Dot2, ty, &[ty, w, w]);
        }
    });
}

#[test]
fn lanes() {
    each(2, |seed, level, types| {
        for &ty in types.iter().filter(|t| t.is_vector()) {
            let scalar = Type::scalar(ty.elem.scalar());
            probe(seed, level, &Op::Splat, ty, &[scalar]);
            for i in 0..ty.lanes {
                probe(seed, level, &Op::ExtractLane(i), scalar, &[ty]);
                if ty.elem != Elem::Bool {
                    probe(seed, level, &Op::InsertLane(i), ty, &[ty, scalar]);
                }
            }
            for &part in types.iter().filter(|p| p.is_vector() && p.elem == ty.elem && p.lanes < ty.lanes) {
                for i in 0..ty.lanes / part.lanes {
                    probe(seed, level, &Op::ExtractPart(i), part, &[ty]);
                }
                if part.lanes * 2 == ty.lanes {
                    probe(seed, level, &Op::Concat, ty, &[part, part]);
                }
            }
        }
    });
}

#[test]
fn pairs_and_tables() {
    each(4, |seed, level, types| {
        for &ty in types.iter().filter(|t| t.is_vector()) {
            for op in [Op::UnpackLo, Op::UnpackHi, Op::Table16] {
                if takes(&op, ty, &[ty, ty]) {
                    probe(seed, level, &op, ty, &[ty, ty]);
                }
            }
            for op in [Op::PackS, Op::PackU] {
                for &from in types.iter().filter(|&&f| f.is_vector() && takes(&op, ty, &[f, f])) {
                    probe(seed, level, &op, ty, &[from, from]);
                }
            }
            if ty.elem == Elem::I8 {
                let mut p = Probe::new(seed);
                let table: Vec<u8> = (0..256).map(|_| p.rng.next() as u8).collect();
                let at = p.input(&table);
                let base = p.b.ptr_add_const(at.base, i64::from(at.disp));
                let index = p.value(ty);
                let v = p.b.inst(Op::Table256, ty, &[base, index]);
                p.result(v);
                p.check(level, &format!("table256 {ty} seed {seed}"));
            }
        }
    });
}

#[test]
fn shuffles() {
    each(6, |seed, level, types| {
        for &from in types.iter().filter(|t| t.is_vector() && t.elem != Elem::Bool) {
            for &to in types.iter().filter(|t| t.is_vector() && t.elem == from.elem) {
                let n = from.lanes;
                let mut rng = Rng(seed * 7 + u64::from(n));
                let mut random = |limit: u16| -> Vec<u16> { (0..to.lanes).map(|_| rng.below(u64::from(limit)) as u16).collect() };
                let maps = [
                    random(2 * n),
                    random(n),
                    random(n).iter().map(|i| i + n).collect(),
                    (0..to.lanes).map(|i| i % n).collect(),
                    (0..to.lanes).map(|i| (n - 1) - i % n).collect(),
                    vec![(seed % u64::from(n)) as u16; usize::from(to.lanes)],
                    (0..to.lanes).map(|i| (i ^ 1) % n).collect(),
                    (0..to.lanes).map(|i| (i / 2 + (i % 2) * n) % (2 * n)).collect(),
                ];
                for map in maps {
                    probe(seed, level, &Op::Shuffle(map), to, &[from, from]);
                }
            }
        }
    });
}

#[test]
fn reductions() {
    each(4, |seed, level, types| {
        for &op in ReduceOp::ALL {
            for &ty in types.iter().filter(|&&t| t.is_vector() && takes(&Op::Reduce(op), Type::scalar(t.elem), &[t])) {
                probe(seed, level, &Op::Reduce(op), Type::scalar(ty.elem), &[ty]);
            }
        }
    });
}

/// The masks to try for a lane count: none, all, random ones.
fn lane_masks(p: &mut Probe, lanes: u16) -> Vec<u64> {
    let pick = p.rng.below(4);
    let bits = match pick {
        0 => 0,
        1 => u64::MAX,
        _ => p.rng.next(),
    };
    (0..lanes).map(|i| bits >> i & 1).collect()
}

/// A run-time mask with these lanes.
fn mask_value(p: &mut Probe, lanes: &[u64]) -> Value {
    let ty = p.some_type(lanes.len() as u16);
    let bytes: Vec<u8> = lanes.iter().flat_map(|&l| vec![l as u8; ty.elem.bits() as usize / 8]).collect();
    let at = p.input(&bytes);
    let v = p.b.load(ty, Probe::mem(ty.elem), at);
    let zero = p.b.int(ty, 0);
    p.b.cmp(CmpOp::Ne, v, zero)
}

#[test]
fn loads() {
    each(1, |_, level, types| {
        for &ty in types.iter().filter(|t| t.elem != Elem::Bool && t.elem != Elem::Ptr) {
            for mem in Mem::ALL.into_iter().filter(|m| m.fits(ty.elem)) {
                let n = ty.lanes;
                for first in 1..=n {
                    // The last bytes of the input buffer: what lies behind is not accessible.
                    let mut p = Probe::new(u64::from(first));
                    let bytes: Vec<u8> = (0..u32::from(first) * mem.bytes()).map(|_| p.rng.next() as u8).collect();
                    p.in_bytes.extend([1, 2, 3]);
                    let at = p.input(&bytes);
                    let v = if first == n { p.b.load(ty, mem, at) } else { p.b.load_first(ty, mem, at, first) };
                    p.result(v);
                    p.check(level, &format!("load {} {ty} first {first}", mem.name()));
                }
                if !ty.is_vector() {
                    continue;
                }
                for seed in 0..6 {
                    let mut p = Probe::new(seed);
                    let lanes = lane_masks(&mut p, n);
                    let mask = mask_value(&mut p, &lanes);
                    let active = lanes.iter().rposition(|&l| l != 0).map_or(0, |i| i + 1);
                    let bytes: Vec<u8> = (0..active as u32 * mem.bytes()).map(|_| p.rng.next() as u8).collect();
                    let at = p.input(&bytes);
                    let v = p.b.load_masked(ty, mem, at, mask);
                    p.result(v);
                    p.check(level, &format!("load {} {ty} mask {lanes:?}", mem.name()));
                }
                let mut p = Probe::new(1);
                let bytes: Vec<u8> = (0..mem.bytes()).map(|_| p.rng.next() as u8).collect();
                let at = p.input(&bytes);
                let v = p.b.load_splat(ty, mem, at);
                p.result(v);
                p.check(level, &format!("load_splat {} {ty}", mem.name()));
                gather(level, ty, mem);
            }
        }
    });
}

fn gather(level: X86Level, ty: Type, mem: Mem) {
    let index_ty = Type::vector(Elem::I32, ty.lanes);
    if !legal(index_ty, &full_caps(level)) {
        return;
    }
    for scale in [1u8, 2, 4, 8] {
        let mut p = Probe::new(u64::from(scale));
        let index: Vec<i32> = (0..ty.lanes).map(|_| p.rng.below(16) as i32 - 8).collect();
        let bytes: Vec<u8> = index.iter().flat_map(|i| i.to_le_bytes()).collect();
        let at = p.input(&bytes);
        let index = p.b.load(index_ty, Mem::S32, at);
        // Elements -8 to 7 around the base, the last ending with the buffer.
        let size = 15 * usize::from(scale) + mem.bytes() as usize;
        let bytes: Vec<u8> = (0..size).map(|_| p.rng.next() as u8).collect();
        let at = p.input(&bytes).offset(8 * i64::from(scale));
        let v = p.b.gather(ty, mem, at.index(index, scale));
        p.result(v);
        p.check(level, &format!("gather {} {ty} scale {scale}", mem.name()));
    }
}

#[test]
fn stores() {
    each(1, |_, level, types| {
        for &ty in types.iter().filter(|t| t.elem != Elem::Bool && t.elem != Elem::Ptr) {
            for mem in Mem::ALL.into_iter().filter(|m| m.fits(ty.elem)) {
                for narrow in [Narrow::Wrap, Narrow::Saturate] {
                    store_first(level, ty, mem, narrow);
                    if ty.is_vector() {
                        store_masked(level, ty, mem, narrow);
                    }
                }
            }
        }
    });
}

fn note_floats(p: &mut Probe, mem: Mem, at: usize, n: usize) {
    let bytes = mem.bytes() as usize;
    if matches!(mem, Mem::F16 | Mem::F32 | Mem::F64) {
        p.floats.extend((0..n).map(|i| (at + i * bytes, bytes)));
    }
}

fn store_first(level: X86Level, ty: Type, mem: Mem, narrow: Narrow) {
    for first in 1..=ty.lanes {
        let mut p = Probe::new(u64::from(first));
        let v = p.value(ty);
        p.output_bytes(5);
        let at = p.output_bytes(usize::from(first) * mem.bytes() as usize);
        note_floats(&mut p, mem, at.disp as usize, usize::from(first));
        if first == ty.lanes {
            p.b.store(mem, narrow, at, v)
        } else {
            p.b.store_first(mem, narrow, at, v, first)
        }
        p.check(level, &format!("store {} {narrow:?} {ty} first {first}", mem.name()));
    }
}

fn store_masked(level: X86Level, ty: Type, mem: Mem, narrow: Narrow) {
    for seed in 0..6 {
        let mut p = Probe::new(seed);
        let v = p.value(ty);
        let lanes = lane_masks(&mut p, ty.lanes);
        let mask = mask_value(&mut p, &lanes);
        let active = lanes.iter().rposition(|&l| l != 0).map_or(0, |i| i + 1);
        p.output_bytes(7);
        let at = p.output_bytes(active * mem.bytes() as usize);
        note_floats(&mut p, mem, at.disp as usize, active);
        p.b.store_masked(mem, narrow, at, v, mask);
        p.check(level, &format!("store {} {narrow:?} {ty} mask {lanes:?}", mem.name()));
    }
}
