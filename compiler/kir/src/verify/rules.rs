//! The verifier's rules for plain operators: counts, types and immediates. One arm per operator, in the order of [`Op`].

use super::error::{Expected, VerifyCause as Cause};
use crate::op::*;
use crate::types::{Elem, Type};

/// Operand and result types of one instruction.
struct Sig<'a> {
    args: &'a [Type],
    results: &'a [Type],
}

/// Checks an operator without nested blocks against the types of its operands and results.
pub(crate) fn check(op: &Op, args: &[Type], results: &[Type]) -> Result<(), Cause> {
    let s = Sig { args, results };
    let expected = operand_count(op);
    if args.len() != expected {
        return Err(Cause::OperandCount { expected, got: args.len() });
    }
    let expected = usize::from(!op.has_effect());
    if results.len() != expected {
        return Err(Cause::ResultCount { expected, got: results.len() });
    }
    match op {
        Op::Const(bits) => {
            s.result_if(|t| t.elem != Elem::Ptr, "a type other than ptr")?;
            s.const_bits(*bits)
        }
        Op::ConstVec(lanes) => {
            s.result_if(|t| t.is_vector(), "a vector")?;
            s.list(lanes.len())?;
            lanes.iter().try_for_each(|&b| s.const_bits(b))
        }
        Op::Un(o) => {
            s.arg(0, s.ty())?;
            match o {
                UnOp::Neg | UnOp::Abs => s.result_if(number, "integers or floats"),
                UnOp::Not => s.result_if(bits, "integers or bool"),
                UnOp::LeadingZeros => s.result_if(int, "integers"),
                UnOp::Sqrt | UnOp::RoundEven | UnOp::Floor | UnOp::Ceil | UnOp::Trunc => s.result_if(float, "floats"),
            }
        }
        Op::Bin(o) => {
            s.arg(0, s.ty())?;
            s.arg(1, s.ty())?;
            match o {
                BinOp::Add | BinOp::Sub | BinOp::Mul | BinOp::Min | BinOp::Max => s.result_if(number, "integers or floats"),
                BinOp::Div => s.result_if(|t| float(t) || (int(t) && !t.is_vector()), "floats or a scalar integer"),
                BinOp::Rem => s.result_if(|t| int(t) && !t.is_vector(), "a scalar integer"),
                BinOp::MinU | BinOp::MaxU | BinOp::Shl | BinOp::ShrU | BinOp::ShrS => s.result_if(int, "integers"),
                BinOp::And | BinOp::Or | BinOp::Xor => s.result_if(bits, "integers or bool"),
                BinOp::AddSatS | BinOp::SubSatS | BinOp::AddSatU | BinOp::SubSatU => {
                    s.result_if(|t| matches!(t.elem, Elem::I8 | Elem::I16), "i8 or i16 lanes")
                }
                BinOp::MulHiS | BinOp::MulHiU => {
                    s.result_if(|t| matches!(t.elem, Elem::I16 | Elem::I32) || t == Type::I64, "i16 lanes, i32 lanes or a scalar i64")
                }
                BinOp::MulRoundHi => s.result_if(|t| matches!(t.elem, Elem::I16 | Elem::I32), "i16 or i32 lanes"),
            }
        }
        Op::Fma => {
            s.result_if(float, "floats")?;
            (0..3).try_for_each(|i| s.arg(i, s.ty()))
        }
        Op::Cmp(o) => {
            let t = args[0];
            s.arg(1, t)?;
            s.result(t.mask())?;
            match o {
                CmpOp::Eq | CmpOp::Ne => s.arg_if(0, |t| number(t) || t == Type::PTR, "integers, floats or ptr"),
                CmpOp::Lt | CmpOp::Le | CmpOp::Gt | CmpOp::Ge => s.arg_if(0, number, "integers or floats"),
                CmpOp::LtU | CmpOp::LeU => s.arg_if(0, |t| int(t) || t == Type::PTR, "integers or ptr"),
            }
        }
        Op::Select => {
            let lanes = s.ty().lanes;
            s.arg_if(0, |t| t == Type::BOOL || t == Type::vector(Elem::Bool, lanes), "bool or a mask of as many lanes")?;
            s.arg(1, s.ty())?;
            s.arg(2, s.ty())
        }
        Op::Convert(o) => s.convert(*o),
        Op::Dot4(_) => s.dot(Elem::I8, 4),
        Op::Mmla(_) => {
            s.result_if(|t| t.is_vector() && t.lanes.is_multiple_of(4), "a vector of whole 128-bit blocks")?;
            s.dot(Elem::I8, 4)
        }
        Op::Dot2 => s.dot(Elem::I16, 2),
        Op::FmaF16 => {
            s.result_if(|t| t.elem == Elem::I16, "i16 lanes")?;
            (0..3).try_for_each(|i| s.arg(i, s.ty()))
        }
        Op::PackF16 => {
            s.result_if(|t| t.elem == Elem::I16 && t.lanes.is_multiple_of(4), "i16 lanes, a multiple of four")?;
            let part = Type::vector(Elem::F32, s.ty().lanes / 2);
            s.arg(0, part)?;
            s.arg(1, part)
        }
        Op::WidenF16Lo | Op::WidenF16Hi => {
            s.result_if(|t| t.elem == Elem::F32 && t.is_vector(), "a vector of f32")?;
            s.arg(0, Type::vector(Elem::I16, s.ty().lanes.saturating_mul(2)))
        }
        Op::Splat => {
            s.result_if(|t| t.is_vector(), "a vector")?;
            s.arg(0, Type::scalar(s.ty().elem.scalar()))
        }
        Op::ExtractLane(i) => {
            let t = s.vector_arg(0)?;
            in_range(*i, u32::from(t.lanes))?;
            s.result(Type::scalar(t.elem.scalar()))
        }
        Op::InsertLane(i) => {
            s.result_if(|t| t.is_vector() && t.elem != Elem::Bool, "a vector of numbers")?;
            s.arg(0, s.ty())?;
            s.arg(1, Type::scalar(s.ty().elem.scalar()))?;
            in_range(*i, u32::from(s.ty().lanes))
        }
        Op::ExtractPart(i) => {
            let t = s.vector_arg(0)?;
            s.result_if(|r| r.is_vector() && r.elem == t.elem && t.lanes.is_multiple_of(r.lanes), "a vector of a part of the lanes")?;
            in_range(*i, u32::from(t.lanes / s.ty().lanes))
        }
        Op::Concat => {
            let (a, b) = (s.vector_arg(0)?, s.vector_arg(1)?);
            s.arg(1, a.with_lanes(b.lanes))?;
            s.result_if(|r| r.elem == a.elem && r.lanes == a.lanes + b.lanes, "all lanes of both operands")
        }
        Op::Shuffle(map) => {
            let a = s.vector_arg(0)?;
            s.arg(1, a)?;
            s.result_if(|r| r.is_vector() && r.elem == a.elem && r.elem != Elem::Bool, "a vector of the operands' lanes, not bool")?;
            s.list(map.len())?;
            map.iter().try_for_each(|&i| in_range(i, u32::from(a.lanes) * 2))
        }
        Op::UnpackLo | Op::UnpackHi => {
            s.result_if(whole_blocks, "a vector of whole 128-bit blocks")?;
            s.arg(0, s.ty())?;
            s.arg(1, s.ty())
        }
        Op::PackS | Op::PackU => {
            let a = args[0];
            s.arg_if(0, |t| whole_blocks(t) && matches!(t.elem, Elem::I16 | Elem::I32), "i16 or i32 lanes in whole 128-bit blocks")?;
            s.arg(1, a)?;
            let narrow = if a.elem == Elem::I32 { Elem::I16 } else { Elem::I8 };
            s.result_if(|r| r.elem == narrow && r.lanes == a.lanes * 2, "twice as many lanes of half the width")
        }
        Op::Table16 => {
            s.result_if(|t| whole_blocks(t) && t.elem == Elem::I8, "i8 lanes in whole 128-bit blocks")?;
            s.arg(0, s.ty())?;
            s.arg(1, s.ty())
        }
        Op::Table256 => {
            s.result_if(|t| t.elem == Elem::I8, "i8 lanes")?;
            s.arg(0, Type::PTR)?;
            s.arg(1, s.ty())
        }
        Op::Reduce(o) => {
            let a = s.vector_arg(0)?;
            s.result(Type::scalar(a.elem))?;
            s.arg_if(0, |t| t.lanes.is_power_of_two(), "a power of two of lanes")?;
            match o {
                ReduceOp::Add | ReduceOp::Min | ReduceOp::Max => s.arg_if(0, number, "integers or floats"),
                ReduceOp::Or | ReduceOp::And => s.arg_if(0, bits, "integers or bool"),
            }
        }
        Op::Load(m) => {
            s.address(m.addr)?;
            fits(m.mem, s.ty())?;
            s.active(m, s.ty(), args.len() - 1)
        }
        Op::LoadSplat(m) => {
            s.address(m.addr)?;
            s.result_if(|t| t.is_vector(), "a vector")?;
            fits(m.mem, s.ty())?;
            if m.active == Active::All { Ok(()) } else { Err(Cause::Active) }
        }
        Op::Store(m, _) => {
            s.address(m.addr)?;
            let data = args[args.len() - 1];
            fits(m.mem, data)?;
            s.active(m, data, args.len() - 2)
        }
        Op::Gather(m) => {
            s.arg(0, Type::PTR)?;
            if !matches!(m.addr.scale, 1 | 2 | 4 | 8) {
                return Err(Cause::Scale(m.addr.scale));
            }
            s.result_if(|t| t.is_vector(), "a vector")?;
            s.arg(1, Type::vector(Elem::I32, s.ty().lanes))?;
            fits(m.mem, s.ty())?;
            if m.active == Active::All { Ok(()) } else { Err(Cause::Active) }
        }
        Op::Prefetch(addr, _) => s.address(*addr),
        Op::PtrAdd => {
            s.result(Type::PTR)?;
            s.arg(0, Type::PTR)?;
            s.arg(1, Type::I64)
        }
        Op::Scratch { align, .. } => {
            s.result(Type::PTR)?;
            if align.is_power_of_two() && *align <= 64 { Ok(()) } else { Err(Cause::Align(*align)) }
        }
        Op::Tile(op) => {
            if op.operand_count() == 2 {
                s.arg(0, Type::PTR)?;
                s.arg(1, Type::I64)?;
            }
            Ok(())
        }
        // The caller checks these, which have nested blocks.
        Op::For { .. } | Op::If | Op::While => Ok(()),
    }
}

fn operand_count(op: &Op) -> usize {
    let address = |a: &AddrMode| 1 + usize::from(a.scale != 0);
    let mask = |m: &MemOp| usize::from(m.active == Active::Mask);
    match op {
        Op::Const(_) | Op::ConstVec(_) | Op::Scratch { .. } => 0,
        Op::Un(_)
        | Op::Convert(_)
        | Op::WidenF16Lo
        | Op::WidenF16Hi
        | Op::Splat
        | Op::ExtractLane(_)
        | Op::ExtractPart(_)
        | Op::Reduce(_) => 1,
        Op::Bin(_) | Op::Cmp(_) | Op::InsertLane(_) | Op::Concat | Op::Shuffle(_) | Op::PtrAdd => 2,
        Op::PackF16 | Op::UnpackLo | Op::UnpackHi | Op::PackS | Op::PackU | Op::Table16 | Op::Table256 | Op::Gather(_) => 2,
        Op::Fma | Op::FmaF16 | Op::Select | Op::Dot4(_) | Op::Mmla(_) | Op::Dot2 => 3,
        Op::Load(m) => address(&m.addr) + mask(m),
        Op::LoadSplat(m) => address(&m.addr),
        Op::Store(m, _) => address(&m.addr) + mask(m) + 1,
        Op::Prefetch(a, _) => address(a),
        Op::Tile(op) => op.operand_count(),
        Op::For { .. } => 2,
        Op::If => 1,
        Op::While => 0,
    }
}

fn int(t: Type) -> bool {
    t.elem.is_int()
}

fn float(t: Type) -> bool {
    t.elem.is_float()
}

fn number(t: Type) -> bool {
    int(t) || float(t)
}

fn bits(t: Type) -> bool {
    int(t) || t.elem == Elem::Bool
}

fn whole_blocks(t: Type) -> bool {
    t.is_vector() && number(t) && t.bits().is_multiple_of(128)
}

fn in_range(index: u16, count: u32) -> Result<(), Cause> {
    if u32::from(index) < count { Ok(()) } else { Err(Cause::Index { index, count }) }
}

fn fits(mem: Mem, ty: Type) -> Result<(), Cause> {
    if mem.fits(ty.elem) { Ok(()) } else { Err(Cause::Mem { mem, ty }) }
}

impl Sig<'_> {
    /// Type of the only result.
    fn ty(&self) -> Type {
        self.results[0]
    }

    fn arg(&self, operand: usize, expected: Type) -> Result<(), Cause> {
        let got = self.args[operand];
        if got == expected { Ok(()) } else { Err(Cause::OperandType { operand, got, expected: Expected::Type(expected) }) }
    }

    fn arg_if(&self, operand: usize, ok: impl Fn(Type) -> bool, kind: &'static str) -> Result<(), Cause> {
        let got = self.args[operand];
        if ok(got) { Ok(()) } else { Err(Cause::OperandType { operand, got, expected: Expected::Kind(kind) }) }
    }

    fn vector_arg(&self, operand: usize) -> Result<Type, Cause> {
        self.arg_if(operand, |t| t.is_vector(), "a vector")?;
        Ok(self.args[operand])
    }

    fn result(&self, expected: Type) -> Result<(), Cause> {
        let got = self.ty();
        if got == expected { Ok(()) } else { Err(Cause::ResultType { result: 0, got, expected: Expected::Type(expected) }) }
    }

    fn result_if(&self, ok: impl Fn(Type) -> bool, kind: &'static str) -> Result<(), Cause> {
        let got = self.ty();
        if ok(got) { Ok(()) } else { Err(Cause::ResultType { result: 0, got, expected: Expected::Kind(kind) }) }
    }

    fn const_bits(&self, bits: u64) -> Result<(), Cause> {
        if bits & !self.ty().elem.bit_mask() == 0 { Ok(()) } else { Err(Cause::ConstBits { bits, ty: self.ty() }) }
    }

    fn list(&self, got: usize) -> Result<(), Cause> {
        let lanes = self.ty().lanes;
        if got == usize::from(lanes) { Ok(()) } else { Err(Cause::ListLength { lanes, got }) }
    }

    fn dot(&self, elem: Elem, group: u16) -> Result<(), Cause> {
        self.result_if(|t| t.is_vector() && t.elem == Elem::I32, "i32 lanes")?;
        let factor = Type::vector(elem, self.ty().lanes * group);
        self.arg(0, self.ty())?;
        self.arg(1, factor)?;
        self.arg(2, factor)
    }

    fn convert(&self, op: ConvertOp) -> Result<(), Cause> {
        let from = self.args[0];
        if op == ConvertOp::Bitcast {
            let castable = |t: Type| t.elem != Elem::Bool;
            self.arg_if(0, castable, "a type other than bool")?;
            return self.result_if(|t| castable(t) && t.bits() == from.bits(), "a type of the operand's total width, not bool");
        }
        let wider = |t: Type| int(t) && t.lanes == from.lanes && t.elem.bits() > from.elem.bits();
        let narrower = |t: Type| int(t) && t.lanes == from.lanes && t.elem.bits() < from.elem.bits();
        let full_int = |t: Type| matches!(t.elem, Elem::I32 | Elem::I64);
        match op {
            ConvertOp::ExtS => {
                self.arg_if(0, int, "integers")?;
                self.result_if(wider, "wider integers of as many lanes")
            }
            ConvertOp::ExtU => {
                self.arg_if(0, bits, "integers or bool")?;
                self.result_if(wider, "wider integers of as many lanes")
            }
            ConvertOp::Wrap | ConvertOp::SatS | ConvertOp::SatU => {
                self.arg_if(0, int, "integers")?;
                self.result_if(narrower, "narrower integers of as many lanes")
            }
            ConvertOp::IntToFloat => {
                self.arg_if(0, full_int, "i32 or i64 lanes")?;
                self.result_if(|t| float(t) && t.lanes == from.lanes, "floats of as many lanes")
            }
            ConvertOp::FloatToIntEven | ConvertOp::FloatToIntTrunc => {
                self.arg_if(0, float, "floats")?;
                self.result_if(|t| full_int(t) && t.lanes == from.lanes, "i32 or i64 lanes, as many")
            }
            ConvertOp::FloatToFloat => {
                self.arg_if(0, float, "floats")?;
                self.result_if(|t| float(t) && t.elem != from.elem && t.lanes == from.lanes, "the other kind of float")
            }
            ConvertOp::Bitcast => Ok(()),
        }
    }

    fn address(&self, addr: AddrMode) -> Result<(), Cause> {
        self.arg(0, Type::PTR)?;
        match addr.scale {
            0 => Ok(()),
            1 | 2 | 4 | 8 => self.arg(1, Type::I64),
            s => Err(Cause::Scale(s)),
        }
    }

    /// Checks the active lanes of data of type `ty`; a mask is operand `mask`.
    fn active(&self, m: &MemOp, ty: Type, mask: usize) -> Result<(), Cause> {
        match m.active {
            Active::All => Ok(()),
            Active::First(n) if n > 0 && n < ty.lanes => Ok(()),
            Active::First(n) => Err(Cause::First { n, lanes: ty.lanes }),
            Active::Mask if !ty.is_vector() => Err(Cause::Active),
            Active::Mask => self.arg(mask, ty.mask()),
        }
    }
}
