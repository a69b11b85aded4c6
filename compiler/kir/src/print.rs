//! Text form of kernels; [`crate::print()`] and [`crate::parse()`] are inverse to each other.
//!
//! ```text
//! kernel @f32_scale(%x: ptr, %y: ptr) units %0 .. %1 {
//!   %2 = const.f32x16 0x40000000
//!   for %3 = %0 .. %1 step 16 {
//!     %4 = load.f32 f32x16 [%x + %3*4 + 64] first(3)
//!     %5 = mul f32x16 %4, %2
//!     store.f32.wrap [%y + %3*4], %5
//!   }
//!   %6 = const.i32 0x0
//!   return %6
//! }
//! ```
//! Values are numbered in order of appearance, so the text does not depend on how the kernel was built; parameters go by name.

use crate::kernel::{Block, Inst, Kernel, Value};
use crate::op::*;
use crate::tile::{Offset, Text};
use std::fmt::{self, Write};

/// The text form of a kernel. Kernels that do not verify print too, with `?` where something is missing.
pub fn print(kernel: &Kernel) -> String {
    let mut p = Printer::new(kernel, usize::MAX);
    // Writing to a string cannot fail.
    let _ = p.kernel();
    p.out
}

/// The first line of instruction `index`, counted from 0, outer before inner, as [`print()`] writes it; for error messages.
pub fn print_inst(kernel: &Kernel, index: usize) -> String {
    let mut p = Printer::new(kernel, index);
    let _ = p.kernel();
    p.wanted_text
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self))
    }
}

struct Printer<'a> {
    kernel: &'a Kernel,
    names: Vec<Option<String>>,
    next: u32,
    out: String,
    /// Instructions begun so far.
    seen: usize,
    /// The instruction whose first line goes to `wanted_text`.
    wanted: usize,
    wanted_text: String,
}

/// Stands for a nested block that a malformed instruction lacks.
static NO_BLOCK: Block = Block { args: Vec::new(), insts: Vec::new(), yields: Vec::new() };

fn nested_block(inst: &Inst, i: usize) -> &Block {
    inst.blocks.get(i).unwrap_or(&NO_BLOCK)
}

impl<'a> Printer<'a> {
    fn new(kernel: &'a Kernel, wanted: usize) -> Printer<'a> {
        let names = vec![None; kernel.types.len()];
        Printer { kernel, names, next: 0, out: String::new(), seen: 0, wanted, wanted_text: String::new() }
    }

    fn set_name(&mut self, v: Value, name: String) {
        if let Some(slot) = self.names.get_mut(v.index()) {
            *slot = Some(name);
        }
    }

    fn define(&mut self, v: Value) -> String {
        let name = format!("%{}", self.next);
        self.next += 1;
        self.set_name(v, name.clone());
        name
    }

    fn ty(&self, v: Option<&Value>) -> String {
        v.and_then(|v| self.kernel.types.get(v.index())).map_or_else(|| "?".to_string(), |t| t.to_string())
    }

    fn arg(&self, args: &[Value], i: usize) -> String {
        args.get(i).map_or_else(|| "%?".to_string(), |&v| self.name(v))
    }

    fn name(&self, v: Value) -> String {
        self.names.get(v.index()).cloned().flatten().unwrap_or_else(|| format!("%undefined{}", v.0))
    }

    fn list(&self, vs: &[Value]) -> String {
        vs.iter().map(|&v| self.name(v)).collect::<Vec<_>>().join(", ")
    }

    fn kernel(&mut self) -> fmt::Result {
        let k = self.kernel;
        write!(self.out, "kernel @{}(", k.name)?;
        for (i, p) in k.params.iter().enumerate() {
            self.set_name(p.value, format!("%{}", p.name));
            let sep = if i == 0 { "" } else { ", " };
            let ty = self.ty(Some(&p.value));
            write!(self.out, "{sep}%{}: {ty}", p.name)?;
        }
        let (begin, end) = (self.define(k.begin), self.define(k.end));
        writeln!(self.out, ") units {begin} .. {end} {{")?;
        self.block(&k.body, 1)?;
        if !k.body.yields.is_empty() {
            let y = self.list(&k.body.yields);
            writeln!(self.out, "  return {y}")?;
        }
        writeln!(self.out, "}}")
    }

    fn block(&mut self, b: &Block, depth: usize) -> fmt::Result {
        for inst in &b.insts {
            write!(self.out, "{:1$}", "", depth * 2)?;
            self.inst(inst, depth)?;
        }
        Ok(())
    }

    fn nested(&mut self, b: &Block, depth: usize) -> fmt::Result {
        writeln!(self.out, "{{")?;
        self.block(b, depth + 1)?;
        if !b.yields.is_empty() {
            let y = self.list(&b.yields);
            writeln!(self.out, "{:1$}yield {y}", "", depth * 2 + 2)?;
        }
        write!(self.out, "{:1$}}}", "", depth * 2)
    }

    fn results(&mut self, inst: &Inst) -> fmt::Result {
        if inst.results.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = inst.results.iter().map(|&r| self.define(r)).collect();
        write!(self.out, "{} = ", names.join(", "))
    }

    fn carry(&mut self, args: &[Value], inits: &[Value]) -> String {
        let pairs: Vec<String> = args.iter().zip(inits).map(|(&a, &i)| format!("{} = {}", self.define(a), self.name(i))).collect();
        format!("carry({}) ", pairs.join(", "))
    }

    fn addr(&self, addr: AddrMode, args: &[Value]) -> String {
        let mut s = format!("[{}", self.arg(args, 0));
        if addr.scale != 0 {
            s += &format!(" + {}*{}", self.arg(args, 1), addr.scale);
        }
        format!("{s}{}]", Offset(addr.disp))
    }

    fn active(&self, m: &MemOp, args: &[Value]) -> String {
        match m.active {
            Active::All => String::new(),
            Active::First(n) => format!(" first({n})"),
            Active::Mask => format!(" mask({})", self.arg(args, 1 + usize::from(m.addr.scale != 0))),
        }
    }

    fn inst(&mut self, inst: &Inst, depth: usize) -> fmt::Result {
        let a = &inst.args[..];
        let ty = self.ty(inst.results.first());
        let id = self.seen;
        self.seen += 1;
        // Operand names come first: a result defined by this instruction is not visible to its operands.
        let ops = self.list(a);
        match &inst.op {
            Op::For { step } => {
                let b = nested_block(inst, 0);
                let results = std::mem::take(&mut self.out);
                let i = b.args.first().map_or_else(|| "%?".to_string(), |&v| self.define(v));
                let carry = match (b.args.get(1..), a.get(2..)) {
                    (Some(args), Some(inits)) if !inits.is_empty() => self.carry(args, inits),
                    _ => String::new(),
                };
                write!(self.out, "for {i} = {} .. {} step {step} {carry}", self.arg(a, 0), self.arg(a, 1))?;
                self.nested(b, depth)?;
                self.finish_control(results, inst, id)
            }
            Op::If => {
                let results = std::mem::take(&mut self.out);
                write!(self.out, "if {ops} ")?;
                self.nested(nested_block(inst, 0), depth)?;
                if *nested_block(inst, 1) != NO_BLOCK {
                    write!(self.out, " else ")?;
                    self.nested(nested_block(inst, 1), depth)?;
                }
                self.finish_control(results, inst, id)
            }
            Op::While => {
                let results = std::mem::take(&mut self.out);
                let carry = self.carry(&nested_block(inst, 0).args, a);
                write!(self.out, "while {carry}")?;
                self.nested(nested_block(inst, 0), depth)?;
                let args: Vec<String> = nested_block(inst, 1).args.iter().map(|&v| self.define(v)).collect();
                write!(self.out, " do({}) ", args.join(", "))?;
                self.nested(nested_block(inst, 1), depth)?;
                self.finish_control(results, inst, id)
            }
            op => {
                let from = self.out.len();
                self.results(inst)?;
                let text = self.plain(op, a, &ty, &ops);
                if id == self.wanted {
                    self.wanted_text = format!("{}{text}", &self.out[from..]);
                }
                writeln!(self.out, "{text}")
            }
        }
    }

    /// Puts the results, which are numbered after the nested blocks, in front of the text of a control-flow instruction.
    fn finish_control(&mut self, before: String, inst: &Inst, id: usize) -> fmt::Result {
        let text = std::mem::replace(&mut self.out, before);
        let from = self.out.len();
        self.results(inst)?;
        if id == self.wanted {
            self.wanted_text = format!("{}{}", &self.out[from..], text.lines().next().unwrap_or_default());
        }
        writeln!(self.out, "{text}")
    }

    fn plain(&self, op: &Op, a: &[Value], ty: &str, ops: &str) -> String {
        match op {
            Op::Const(bits) => format!("const.{ty} {bits:#x}"),
            Op::ConstVec(l) => {
                format!("const.{ty} ({})", l.iter().map(|b| format!("{b:#x}")).collect::<Vec<_>>().join(", "))
            }
            Op::Un(o) => format!("{} {ty} {ops}", o.name()),
            Op::Bin(o) => format!("{} {ty} {ops}", o.name()),
            Op::Fma => format!("fma {ty} {ops}"),
            Op::Cmp(o) => format!("cmp.{} {} {ops}", o.name(), self.ty(a.first())),
            Op::Select => format!("select {ty} {ops}"),
            Op::Convert(o) => format!("{} {ty} {ops}", o.name()),
            Op::Dot4(s) => format!("dot4.{} {ty} {ops}", s.name()),
            Op::Mmla(s) => format!("mmla.{} {ty} {ops}", s.name()),
            Op::Dot2 => format!("dot2 {ty} {ops}"),
            Op::FmaF16 => format!("fma_f16 {ty} {ops}"),
            Op::PackF16 => format!("pack_f16 {ty} {ops}"),
            Op::WidenF16Lo => format!("widen_f16_lo {ty} {ops}"),
            Op::WidenF16Hi => format!("widen_f16_hi {ty} {ops}"),
            Op::Splat => format!("splat {ty} {ops}"),
            Op::ExtractLane(n) => format!("extract_lane {ty} {ops}, {n}"),
            Op::InsertLane(n) => format!("insert_lane {ty} {ops}, {n}"),
            Op::ExtractPart(n) => format!("extract_part {ty} {ops}, {n}"),
            Op::Concat => format!("concat {ty} {ops}"),
            Op::Shuffle(m) => {
                format!("shuffle {ty} {ops} ({})", m.iter().map(u16::to_string).collect::<Vec<_>>().join(", "))
            }
            Op::UnpackLo => format!("unpack_lo {ty} {ops}"),
            Op::UnpackHi => format!("unpack_hi {ty} {ops}"),
            Op::PackS => format!("pack_s {ty} {ops}"),
            Op::PackU => format!("pack_u {ty} {ops}"),
            Op::Table16 => format!("table16 {ty} {ops}"),
            Op::Table256 => format!("table256 {ty} {ops}"),
            Op::Reduce(o) => format!("reduce.{} {ty} {ops}", o.name()),
            Op::Load(m) => format!("load.{} {ty} {}{}", m.mem.name(), self.addr(m.addr, a), self.active(m, a)),
            Op::LoadSplat(m) => format!("load_splat.{} {ty} {}", m.mem.name(), self.addr(m.addr, a)),
            Op::Gather(m) => format!("gather.{} {ty} {}", m.mem.name(), self.addr(m.addr, a)),
            Op::Store(m, n) => {
                let data = a.last().map(|&v| self.name(v)).unwrap_or_default();
                format!("store.{}.{} {}{}, {data}", m.mem.name(), n.name(), self.addr(m.addr, a), self.active(m, a))
            }
            Op::Prefetch(addr, l) => format!("prefetch.{} {}", l.name(), self.addr(*addr, a)),
            Op::PtrAdd => format!("ptr_add ptr {ops}"),
            Op::Scratch { bytes, align } => format!("scratch ptr {bytes} align {align}"),
            Op::Tile(op) => Text(op, &a.iter().map(|&v| self.name(v)).collect::<Vec<_>>()).to_string(),
            Op::For { .. } | Op::If | Op::While => String::new(),
        }
    }
}

/// Gives an operator enum its names in the text form and the way back.
macro_rules! names {
    ($($ty:ident { $($variant:ident = $name:literal),* $(,)? })*) => {$(
        impl $ty {
            /// All of them, in the order of declaration.
            pub const ALL: &[$ty] = &[$($ty::$variant),*];

            /// Name in the text form.
            pub const fn name(self) -> &'static str {
                match self { $($ty::$variant => $name),* }
            }
        }
    )*};
}

names! {
    UnOp { Neg = "neg", Abs = "abs", Not = "not", Sqrt = "sqrt", RoundEven = "round_even", Floor = "floor", Ceil = "ceil",
        Trunc = "trunc", LeadingZeros = "leading_zeros" }
    BinOp { Add = "add", Sub = "sub", Mul = "mul", Div = "div", Rem = "rem", Min = "min", Max = "max", MinU = "min_u",
        MaxU = "max_u", And = "and", Or = "or", Xor = "xor", Shl = "shl", ShrU = "shr_u", ShrS = "shr_s",
        AddSatS = "add_sat_s", SubSatS = "sub_sat_s", AddSatU = "add_sat_u", SubSatU = "sub_sat_u", MulHiS = "mul_hi_s",
        MulHiU = "mul_hi_u", MulRoundHi = "mul_round_hi" }
    CmpOp { Eq = "eq", Ne = "ne", Lt = "lt", Le = "le", Gt = "gt", Ge = "ge", LtU = "lt_u", LeU = "le_u" }
    ConvertOp { ExtS = "ext_s", ExtU = "ext_u", Wrap = "wrap", SatS = "sat_s", SatU = "sat_u", IntToFloat = "int_to_float",
        FloatToIntEven = "float_to_int_even", FloatToIntTrunc = "float_to_int_trunc", FloatToFloat = "float_to_float",
        Bitcast = "bitcast" }
    DotSigns { UnsignedSigned = "us", Signed = "ss", Unsigned = "uu" }
    ReduceOp { Add = "add", Min = "min", Max = "max", Or = "or", And = "and" }
    Narrow { Wrap = "wrap", Saturate = "sat" }
    Locality { L1 = "l1", L2 = "l2", NonTemporal = "nta" }
}
