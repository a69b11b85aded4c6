//! Arithmetic and lane movement in random kernels.

use super::{Entry, Generator, Group};
use crate::op::*;
use crate::types::{Elem, Type};
use crate::verify::check_op;
use crate::{Builder, Dot4, Value};

impl Generator<'_> {
    /// Makes one value, where what was drawn is possible.
    pub(super) fn arithmetic(&mut self, b: &mut Builder) -> Option<()> {
        match self.rng.below(100) {
            0..10 => self.unary(b),
            10..40 => self.binary(b),
            40..45 => self.fma(b),
            45..47 => self.fma_f16(b),
            47..52 => self.compare(b),
            52..57 => self.select(b),
            57..65 => self.convert(b),
            65..67 => self.bitcast(b),
            67..71 => self.dot(b),
            71..74 => self.splat(b),
            74..78 => self.single_lane(b),
            78..82 => self.parts(b),
            82..87 => self.shuffle(b),
            87..90 => self.unpack(b),
            90..93 => self.pack(b),
            93..94 => self.table16(b),
            94..98 => self.reduce(b),
            _ => self.masks(b),
        }
    }

    fn group(&self, group: Group) -> Option<()> {
        self.allows(group).then_some(())
    }

    /// Records a result: floats with a bound on their magnitude.
    fn result(&mut self, b: &mut Builder, v: Value, mag: f64) -> Option<()> {
        if b.ty(v).elem.is_float() {
            self.add_float(b, v, mag)
        } else {
            self.add(b, v)
        }
        Some(())
    }

    fn unary(&mut self, b: &mut Builder) -> Option<()> {
        let ty = self.type_where(|_| true)?;
        let ops: Vec<UnOp> = UnOp::ALL.iter().copied().filter(|&o| check_op(&Op::Un(o), &[ty], &[ty]).is_ok()).collect();
        let op = self.rng.of(&ops);
        if op == UnOp::LeadingZeros {
            self.group(Group::LeadingZeros)?;
            if ty.elem.bits() < 32 {
                self.group(Group::ByteArithmetic)?;
            }
        }
        let x = self.pick(b, ty);
        let v = b.un(op, x.v);
        let mag = match op {
            UnOp::Sqrt => f64::INFINITY,
            _ => x.mag + 1.0,
        };
        self.result(b, v, mag)
    }

    fn binary(&mut self, b: &mut Builder) -> Option<()> {
        let ty = self.type_where(|_| true)?;
        let ops: Vec<BinOp> = BinOp::ALL.iter().copied().filter(|&o| check_op(&Op::Bin(o), &[ty; 2], &[ty]).is_ok()).collect();
        let op = self.rng.of(&ops);
        let shift = matches!(op, BinOp::Shl | BinOp::ShrU | BinOp::ShrS);
        match op {
            BinOp::Mul if ty.elem == Elem::I8 => self.group(Group::ByteArithmetic)?,
            _ if shift && ty.elem == Elem::I8 => self.group(Group::ByteArithmetic)?,
            BinOp::AddSatS | BinOp::AddSatU | BinOp::SubSatS | BinOp::SubSatU => self.group(Group::Saturating)?,
            BinOp::MulHiS | BinOp::MulHiU => self.group(Group::MulHigh)?,
            BinOp::MulRoundHi => self.group(Group::MulRoundHigh)?,
            BinOp::Div | BinOp::Rem if ty.elem.is_int() => return self.divide(b, op, ty),
            _ => {}
        }
        let x = self.pick(b, ty);
        let y = match shift && (self.rng.chance(70) || (ty.is_vector() && !self.allows(Group::VariableShifts))) {
            true => {
                let by = self.rng.within(0, i64::from(ty.elem.bits()) + 1);
                Entry { v: b.int(ty, by), ty, mag: 0.0, range: None }
            }
            false => self.pick(b, ty),
        };
        let v = b.bin(op, x.v, y.v);
        let mag = match op {
            BinOp::Add | BinOp::Sub => x.mag + y.mag,
            BinOp::Mul => x.mag * y.mag,
            BinOp::Div => f64::INFINITY,
            _ => x.mag.max(y.mag),
        };
        if op == BinOp::Div && self.rng.chance(50) {
            // Infinities and NaN meet a comparison, and nothing else.
            let ops = &CmpOp::ALL[..6];
            let op = self.rng.of(ops);
            let c = b.cmp(op, v, x.v);
            self.add(b, c);
            return Some(());
        }
        self.result(b, v, mag)
    }

    /// Divides by something in 1..=128 or -129..=-2.
    fn divide(&mut self, b: &mut Builder, op: BinOp, ty: Type) -> Option<()> {
        self.group(Group::IntegerDivision)?;
        let (x, y) = (self.pick(b, ty), self.pick(b, ty));
        let (low, one) = (b.int(ty, 127), b.int(ty, 1));
        let y = b.bin(BinOp::And, y.v, low);
        let mut y = b.add(y, one);
        if self.rng.chance(30) {
            y = b.un(UnOp::Neg, y);
            y = b.sub(y, one);
        }
        let v = b.bin(op, x.v, y);
        self.add(b, v);
        Some(())
    }

    fn fma(&mut self, b: &mut Builder) -> Option<()> {
        self.group(Group::Fma)?;
        let ty = self.type_where(|t| t.elem.is_float())?;
        let (x, y, z) = (self.pick(b, ty), self.pick(b, ty), self.pick(b, ty));
        let v = b.fma(x.v, y.v, z.v);
        self.result(b, v, x.mag * y.mag + z.mag)
    }

    /// `x y + z` of halves, from floats and back to them.
    fn fma_f16(&mut self, b: &mut Builder) -> Option<()> {
        if !self.allows(Group::Float16) {
            return self.fma(b);
        }
        let halves = self.type_where(|t| t.elem == Elem::I16)?;
        let floats = Type::vector(Elem::F32, halves.lanes / 2);
        if !self.has(floats) {
            return None;
        }
        // 128 × 128 + 128 is far from the largest half.
        let mut pack = |b: &mut Builder| {
            let [x, y] = [(); 2].map(|()| {
                let x = self.pick(b, floats);
                self.tame(b, x, 128.0).v
            });
            b.pack_f16(x, y)
        };
        let [x, y, z] = [(); 3].map(|()| pack(b));
        let sum = b.fma_f16(x, y, z);
        self.add(b, sum);
        b.widen_f16(sum).into_iter().try_for_each(|v| self.result(b, v, 16512.0))
    }

    fn compare(&mut self, b: &mut Builder) -> Option<()> {
        let ty = self.type_where(|_| true)?.mask();
        let e = self.fresh_truth(b, ty);
        self.pool.push(e);
        Some(())
    }

    fn select(&mut self, b: &mut Builder) -> Option<()> {
        let ty = self.type_where(|_| true)?;
        let cond = if self.rng.chance(25) { Type::BOOL } else { ty.mask() };
        let (c, x, y) = (self.pick(b, cond), self.pick(b, ty), self.pick(b, ty));
        let v = b.select(c.v, x.v, y.v);
        self.result(b, v, x.mag.max(y.mag))
    }

    fn convert(&mut self, b: &mut Builder) -> Option<()> {
        self.group(Group::Convert)?;
        let to = self.type_where(|_| true)?;
        let bool_too = to.elem.is_int() && self.rng.chance(15);
        let from = if bool_too { to.mask() } else { self.type_where(|t| t.lanes == to.lanes && t.elem != to.elem)? };
        let ok = |o: &ConvertOp| *o != ConvertOp::Bitcast && check_op(&Op::Convert(*o), &[from], &[to]).is_ok();
        let ops: Vec<ConvertOp> = ConvertOp::ALL.iter().copied().filter(ok).collect();
        if ops.is_empty() {
            return None;
        }
        let op = self.rng.of(&ops);
        let mut x = self.pick(b, from);
        if matches!(op, ConvertOp::FloatToIntEven | ConvertOp::FloatToIntTrunc) {
            x = self.tame(b, x, 1e9);
        }
        let v = b.convert(op, to, x.v);
        let mag = if op == ConvertOp::IntToFloat { 2f64.powi(64) } else { x.mag };
        self.result(b, v, mag)
    }

    fn bitcast(&mut self, b: &mut Builder) -> Option<()> {
        self.group(Group::Bitcast)?;
        let to = self.type_where(|_| true)?;
        let from = self.type_where(|t| t.bits() == to.bits() && t != to)?;
        let x = self.pick(b, from);
        let v = b.bitcast(to, x.v);
        self.result(b, v, f64::INFINITY)
    }

    fn dot(&mut self, b: &mut Builder) -> Option<()> {
        let acc = self.type_where(|t| t.is_vector() && t.elem == Elem::I32)?;
        let four = self.allows(Group::Dot4) && (self.rng.chance(60) || !self.allows(Group::Dot2));
        let factor = if four { Type::vector(Elem::I8, acc.lanes * 4) } else { Type::vector(Elem::I16, acc.lanes * 2) };
        if !self.has(factor) {
            return None;
        }
        let (c, x, y) = (self.pick(b, acc), self.pick(b, factor), self.pick(b, factor));
        let v = if four {
            let signs = match self.caps.dot4 {
                Dot4::UnsignedSigned => DotSigns::UnsignedSigned,
                _ => self.rng.of(DotSigns::ALL),
            };
            if self.allows(Group::Mmla) && self.rng.chance(50) { b.mmla(signs, c.v, x.v, y.v) } else { b.dot4(signs, c.v, x.v, y.v) }
        } else {
            self.group(Group::Dot2)?;
            b.dot2(c.v, x.v, y.v)
        };
        self.add(b, v);
        Some(())
    }

    fn splat(&mut self, b: &mut Builder) -> Option<()> {
        self.group(Group::Splat)?;
        let ty = self.type_where(|t| t.is_vector())?;
        if self.rng.chance(10) && self.allows(Group::MaskValues) {
            let x = self.pick(b, Type::BOOL);
            let v = b.splat(x.v, ty.lanes);
            self.add(b, v);
            return Some(());
        }
        let x = self.pick(b, Type::scalar(ty.elem.scalar()));
        let v = b.splat_to(ty, x.v);
        self.result(b, v, x.mag)
    }

    fn single_lane(&mut self, b: &mut Builder) -> Option<()> {
        self.group(Group::SingleLanes)?;
        let ty = self.type_where(|t| t.is_vector())?;
        let lane = self.rng.below(u64::from(ty.lanes)) as u16;
        let x = self.pick(b, ty);
        if self.rng.chance(50) {
            let v = b.extract_lane(x.v, lane);
            return self.result(b, v, x.mag);
        }
        let y = self.pick(b, Type::scalar(ty.elem.scalar()));
        let v = b.insert_lane(x.v, lane, y.v);
        self.result(b, v, x.mag.max(y.mag))
    }

    fn parts(&mut self, b: &mut Builder) -> Option<()> {
        self.group(Group::Parts)?;
        let part = self.type_where(|t| t.is_vector())?;
        let times = self.rng.of(&[2, 4]);
        let whole = part.with_lanes(part.lanes * times);
        if !self.has(whole) {
            return None;
        }
        if self.rng.chance(60) || times == 4 {
            let x = self.pick(b, whole);
            let i = self.rng.below(u64::from(times)) as u16;
            let v = b.extract_part(x.v, i, part.lanes);
            return self.result(b, v, x.mag);
        }
        let (x, y) = (self.pick(b, part), self.pick(b, part));
        let v = b.concat(x.v, y.v);
        self.result(b, v, x.mag.max(y.mag))
    }

    fn shuffle(&mut self, b: &mut Builder) -> Option<()> {
        self.group(Group::Shuffle)?;
        let ty = self.type_where(|t| t.is_vector())?;
        let mut lanes = ty.lanes;
        if self.rng.chance(20) && self.allows(Group::ShuffleResize) {
            lanes = self.type_where(|t| t.is_vector() && t.elem == ty.elem)?.lanes;
        }
        let n = u64::from(ty.lanes);
        let (x, mut y) = (self.pick(b, ty), self.pick(b, ty));
        let shift = self.rng.below(2 * n);
        let bits = self.rng.below(n);
        let style = self.rng.below(6);
        if style == 5 {
            y = x;
        }
        let at = |rng: &mut super::Rng, i: u64| match style {
            // Rotation, broadcast, butterfly, reversal, interleaving; else anything.
            0 => (i + shift) % (2 * n),
            1 => shift,
            2 => (i ^ bits) % (2 * n),
            3 => (2 * n - 1 - i % (2 * n)) % n,
            4 => i % 2 * n + i / 2 % n,
            _ => rng.below(2 * n),
        };
        let map = (0..u64::from(lanes)).map(|i| at(&mut self.rng, i) as u16).collect();
        let v = b.shuffle(x.v, y.v, map);
        self.result(b, v, x.mag.max(y.mag))
    }

    fn unpack(&mut self, b: &mut Builder) -> Option<()> {
        self.group(Group::Unpack)?;
        let ty = self.type_where(|t| t.is_vector())?;
        let (x, y) = (self.pick(b, ty), self.pick(b, ty));
        let v = if self.rng.chance(50) { b.unpack_lo(x.v, y.v) } else { b.unpack_hi(x.v, y.v) };
        self.result(b, v, x.mag.max(y.mag))
    }

    fn pack(&mut self, b: &mut Builder) -> Option<()> {
        self.group(Group::Pack)?;
        self.group(Group::NarrowVectors)?;
        let ty = self.type_where(|t| t.is_vector() && matches!(t.elem, Elem::I16 | Elem::I32))?;
        let (x, y) = (self.pick(b, ty), self.pick(b, ty));
        let v = if self.rng.chance(50) { b.pack_s(x.v, y.v) } else { b.pack_u(x.v, y.v) };
        self.add(b, v);
        Some(())
    }

    fn table16(&mut self, b: &mut Builder) -> Option<()> {
        self.group(Group::Table16)?;
        let ty = self.type_where(|t| t.elem == Elem::I8)?;
        let (x, y) = (self.pick(b, ty), self.pick(b, ty));
        let v = b.inst(Op::Table16, ty, &[x.v, y.v]);
        self.add(b, v);
        Some(())
    }

    fn reduce(&mut self, b: &mut Builder) -> Option<()> {
        self.group(Group::Reduce)?;
        let ty = self.type_where(|t| t.is_vector() && t.elem.bits() >= 32)?;
        let ops = if ty.elem.is_float() { &ReduceOp::ALL[..3] } else { ReduceOp::ALL };
        let op = self.rng.of(ops);
        let x = self.pick(b, ty);
        let v = b.reduce(op, x.v);
        self.result(b, v, x.mag * f64::from(ty.lanes))
    }

    /// Masks as data.
    fn masks(&mut self, b: &mut Builder) -> Option<()> {
        self.group(Group::MaskValues)?;
        let ty = self.type_where(|_| true)?.mask();
        let (x, y) = (self.pick(b, ty), self.pick(b, ty));
        let v = match self.rng.below(7) {
            0 => b.un(UnOp::Not, x.v),
            1 if ty.is_vector() => {
                let op = self.rng.of(&[ReduceOp::Or, ReduceOp::And]);
                b.reduce(op, x.v)
            }
            2 if ty.is_vector() => b.extract_lane(x.v, self.rng.below(u64::from(ty.lanes)) as u16),
            3 => {
                let c = self.pick(b, ty);
                b.select(c.v, x.v, y.v)
            }
            4 if ty.is_vector() && self.allows(Group::Parts) => {
                let half = ty.lanes / 2;
                self.type_where(|t| t.is_vector() && t.lanes == half)?;
                b.extract_part(x.v, self.rng.below(2) as u16, half)
            }
            5 if ty.is_vector() && self.allows(Group::Parts) => {
                self.type_where(|t| t.lanes == ty.lanes * 2)?;
                b.concat(x.v, y.v)
            }
            _ => {
                let op = self.rng.of(&[BinOp::And, BinOp::Or, BinOp::Xor]);
                b.bin(op, x.v, y.v)
            }
        };
        self.add(b, v);
        Some(())
    }
}
