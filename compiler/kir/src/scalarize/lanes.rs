//! Arithmetic on single lanes. Those of 8 and 16 bits come and go as sign-extended `I32`: each function takes and gives that form.

use super::{Lanes, Scalarizer, held};
use crate::interp::lanes::signed;
use crate::kernel::Value;
use crate::op::*;
use crate::types::{Elem, Type};

/// Whether lanes of this kind live in wider scalars.
fn narrow(elem: Elem) -> bool {
    matches!(elem, Elem::I8 | Elem::I16)
}

impl Scalarizer<'_> {
    /// A constant lane of these bits.
    pub(super) fn constant(&mut self, elem: Elem, bits: u64) -> Value {
        match elem {
            Elem::I8 | Elem::I16 | Elem::I32 => self.b.i32(signed(bits, elem.bits()) as i32),
            Elem::I64 => self.b.i64(bits as i64),
            _ => self.b.inst(Op::Const(bits), held(elem), &[]),
        }
    }

    fn shifted(&mut self, op: BinOp, x: Value, by: u32) -> Value {
        let by = self.b.int(self.b.ty(x), i64::from(by));
        self.b.bin(op, x, by)
    }

    /// A lane from a scalar whose low bits it is.
    pub(super) fn fit(&mut self, elem: Elem, x: Value) -> Value {
        if !narrow(elem) {
            return x;
        }
        let up = self.shifted(BinOp::Shl, x, 32 - elem.bits());
        self.shifted(BinOp::ShrS, up, 32 - elem.bits())
    }

    /// A lane as an unsigned number; of 32 bits and more, as it is.
    pub(super) fn unsigned(&mut self, elem: Elem, x: Value) -> Value {
        match elem {
            Elem::I8 => {
                let low = self.b.i32(0xFF);
                self.b.bin(BinOp::And, x, low)
            }
            Elem::I16 => {
                let up = self.shifted(BinOp::Shl, x, 16);
                self.shifted(BinOp::ShrU, up, 16)
            }
            _ => x,
        }
    }

    fn clamp(&mut self, x: Value, least: i64, most: i64) -> Value {
        let ty = self.b.ty(x);
        let (least, most) = (self.b.int(ty, least), self.b.int(ty, most));
        let x = self.b.max(x, least);
        self.b.min(x, most)
    }

    pub(super) fn unary(&mut self, op: UnOp, elem: Elem, x: Value) -> Value {
        match op {
            UnOp::LeadingZeros if narrow(elem) => {
                let x = self.unsigned(elem, x);
                let zeros = self.b.un(op, x);
                let above = self.b.i32(32 - elem.bits() as i32);
                self.b.bin(BinOp::Sub, zeros, above)
            }
            UnOp::Neg | UnOp::Abs => {
                let v = self.b.un(op, x);
                self.fit(elem, v)
            }
            _ => self.b.un(op, x),
        }
    }

    pub(super) fn binary(&mut self, op: BinOp, elem: Elem, x: Value, y: Value) -> Value {
        let bits = elem.bits();
        if !narrow(elem) {
            return self.b.bin(op, x, y);
        }
        let (least, most) = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1);
        match op {
            // The sign extension of a lane compares as the lane does, signed and unsigned.
            BinOp::Min | BinOp::Max | BinOp::MinU | BinOp::MaxU | BinOp::And | BinOp::Or | BinOp::Xor => self.b.bin(op, x, y),
            BinOp::Add | BinOp::Sub | BinOp::Mul => {
                let v = self.b.bin(op, x, y);
                self.fit(elem, v)
            }
            BinOp::Shl => {
                let y = self.unsigned(elem, y);
                let v = self.b.bin(op, x, y);
                self.fit(elem, v)
            }
            BinOp::ShrU => {
                let (x, y) = (self.unsigned(elem, x), self.unsigned(elem, y));
                let v = self.b.bin(op, x, y);
                self.fit(elem, v)
            }
            BinOp::ShrS => {
                let y = self.unsigned(elem, y);
                self.b.bin(op, x, y)
            }
            BinOp::AddSatS | BinOp::SubSatS => {
                let v = self.b.bin(if op == BinOp::AddSatS { BinOp::Add } else { BinOp::Sub }, x, y);
                self.clamp(v, least, most)
            }
            BinOp::AddSatU | BinOp::SubSatU => {
                let (x, y) = (self.unsigned(elem, x), self.unsigned(elem, y));
                let v = self.b.bin(if op == BinOp::AddSatU { BinOp::Add } else { BinOp::Sub }, x, y);
                let v = self.clamp(v, 0, (1 << bits) - 1);
                self.fit(elem, v)
            }
            BinOp::MulHiS => {
                let v = self.b.mul(x, y);
                self.shifted(BinOp::ShrS, v, bits)
            }
            BinOp::MulHiU => {
                let (x, y) = (self.unsigned(elem, x), self.unsigned(elem, y));
                let v = self.b.mul(x, y);
                // The arithmetic shift leaves the upper half of the product as a lane.
                self.shifted(BinOp::ShrS, v, bits)
            }
            BinOp::MulRoundHi => {
                let v = self.b.mul(x, y);
                let half = self.b.i32(1 << (bits - 2));
                let v = self.b.add(v, half);
                let v = self.shifted(BinOp::ShrS, v, bits - 1);
                let most = self.b.i32(most as i32);
                self.b.min(v, most)
            }
            BinOp::Div | BinOp::Rem => unreachable!("of scalars only"),
        }
    }

    /// Every conversion but the reinterpretation of bits.
    pub(super) fn convert(&mut self, op: ConvertOp, from: Elem, to: Elem, x: Value) -> Value {
        let ty = held(to);
        match op {
            ConvertOp::ExtS | ConvertOp::ExtU => {
                let x = if op == ConvertOp::ExtU { self.unsigned(from, x) } else { x };
                if self.b.ty(x) == ty { x } else { self.b.convert(op, ty, x) }
            }
            ConvertOp::Wrap => {
                let x = if self.b.ty(x) == ty { x } else { self.b.convert(op, ty, x) };
                self.fit(to, x)
            }
            ConvertOp::SatS | ConvertOp::SatU if narrow(to) => {
                let bits = to.bits();
                let (least, most) = if op == ConvertOp::SatS { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
                let x = self.clamp(x, least, most);
                let x = if self.b.ty(x) == ty { x } else { self.b.convert(ConvertOp::Wrap, ty, x) };
                if op == ConvertOp::SatS { x } else { self.fit(to, x) }
            }
            _ => self.b.convert(op, ty, x),
        }
    }

    /// Reinterprets the bits of all lanes.
    pub(super) fn bitcast(&mut self, from: Elem, to: Elem, lanes: &[Value]) -> Lanes {
        let integer = |e: Elem| match e.bits() {
            8 => Elem::I8,
            16 => Elem::I16,
            32 => Elem::I32,
            _ => Elem::I64,
        };
        let (narrower, wider) = (integer(from), integer(to));
        if narrower == wider {
            return self.each(&[lanes], |s, x| s.b.bitcast(held(to), x[0]));
        }
        let lanes = self.each(&[lanes], |s, x| s.b.bitcast(held(narrower), x[0]));
        let lanes = if from.bits() > to.bits() {
            let mut out: Lanes = vec![];
            for (i, &x) in lanes.iter().enumerate() {
                // Equal neighbours, as of a splat, are split once.
                if i > 0 && lanes[i - 1] == x {
                    out.extend_from_within(out.len() - (from.bits() / to.bits()) as usize..);
                } else {
                    out.extend(self.split(x, from.bits(), wider));
                }
            }
            out
        } else {
            lanes.chunks((to.bits() / from.bits()) as usize).map(|c| self.join(c, narrower, to.bits())).collect()
        };
        self.each(&[&lanes], |s, x| s.b.bitcast(held(to), x[0]))
    }

    /// A lane of `bits` bits as narrower ones, the lowest first.
    fn split(&mut self, x: Value, bits: u32, to: Elem) -> Lanes {
        if bits == 64 {
            let high = self.shifted(BinOp::ShrU, x, 32);
            let halves = [x, high].map(|v| self.b.convert(ConvertOp::Wrap, Type::I32, v));
            return if to == Elem::I32 { halves.to_vec() } else { halves.into_iter().flat_map(|v| self.split(v, 32, to)).collect() };
        }
        let parts = bits / to.bits();
        (0..parts)
            .map(|i| {
                let up = bits.max(32) - (i + 1) * to.bits();
                // The uppermost part of a lane of 16 bits is below its sign extension.
                let x = if bits == 16 && i + 1 == parts { return self.shifted(BinOp::ShrS, x, to.bits()) } else { x };
                let x = if up == 0 { x } else { self.shifted(BinOp::Shl, x, up) };
                self.shifted(BinOp::ShrS, x, 32 - to.bits())
            })
            .collect()
    }

    /// Narrow lanes, the lowest first, as one of `bits` bits.
    fn join(&mut self, lanes: &[Value], from: Elem, bits: u32) -> Value {
        if bits == 64 {
            let (low, high) = lanes.split_at(lanes.len() / 2);
            let [low, high] = [low, high].map(|half| {
                let v = if let [v] = half { *v } else { self.join(half, from, 32) };
                self.b.convert(ConvertOp::ExtU, Type::I64, v)
            });
            let high = self.shifted(BinOp::Shl, high, 32);
            return self.b.bin(BinOp::Or, low, high);
        }
        let mut all = self.unsigned(from, lanes[0]);
        for (i, &x) in lanes.iter().enumerate().skip(1) {
            // The last one brings the sign with it.
            let x = if i + 1 == lanes.len() { x } else { self.unsigned(from, x) };
            let x = self.shifted(BinOp::Shl, x, i as u32 * from.bits());
            all = self.b.bin(BinOp::Or, all, x);
        }
        all
    }

    /// Bytes of two vectors as numbers of their signs.
    pub(super) fn factors(&mut self, signs: DotSigns, x: &[Value], y: &[Value]) -> (Lanes, Lanes) {
        let of = |s: &mut Self, v: &[Value], unsigned: bool| {
            if unsigned { s.each(&[v], |s, x| s.unsigned(Elem::I8, x[0])) } else { v.to_vec() }
        };
        let x = of(self, x, signs != DotSigns::Signed);
        let y = of(self, y, signs == DotSigns::Unsigned);
        (x, y)
    }

    /// `acc` plus the products of `x` and `y`.
    pub(super) fn dot(&mut self, acc: Value, x: &[Value], y: &[Value]) -> Value {
        x.iter().zip(y).fold(acc, |acc, (&x, &y)| {
            let product = self.b.mul(x, y);
            self.b.add(acc, product)
        })
    }

    /// All lanes to one, by halves.
    pub(super) fn reduce(&mut self, op: ReduceOp, lanes: Lanes) -> Value {
        let op = op.of_two();
        let mut lanes = lanes;
        while lanes.len() > 1 {
            let (low, high) = lanes.split_at(lanes.len() / 2);
            lanes = low.iter().zip(high).map(|(&x, &y)| self.b.bin(op, x, y)).collect();
        }
        lanes[0]
    }
}
