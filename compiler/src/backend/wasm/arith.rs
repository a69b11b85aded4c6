//! Arithmetic and comparisons, lane by lane or on scalars.
//!
//! What WebAssembly has in one instruction stands in [`super::tables`]; here is the rest, and the arithmetic of 64-bit scalars, which takes 32 bits
//! where the ranges allow it.

use super::code::Local;
use super::emit::{Emitter, Reason};
use super::tables;
use tflc_kir::{BinOp, CmpOp, ConvertOp, Elem, Inst, Op, Type, UnOp, Value};
use wasm_encoder::{Instruction as I, ValType};

impl Emitter<'_> {
    pub(super) fn unary(&mut self, op: UnOp, ty: Type, x: Local) -> Result<Local, Reason> {
        if ty.is_vector() {
            return match tables::vector_unary(op, ty.elem) {
                Some(i) => Ok(self.c.v128(i, &[x])),
                None if op == UnOp::LeadingZeros => Ok(self.vector_leading_zeros(ty, x)),
                None => Err(format!("{op:?} of {ty}")),
            };
        }
        let home = self.c.ty(x);
        if let Some(i) = tables::scalar_unary(op, ty.elem) {
            return Ok(self.c.op(home, i, &[x]));
        }
        let wide = home == ValType::I64;
        let sub = if wide { I::I64Sub } else { I::I32Sub };
        Ok(match op {
            UnOp::Neg => {
                let zero = self.constant(ty, 0);
                self.c.op(home, sub, &[zero, x])
            }
            UnOp::Not => {
                let ones = self.constant(ty, u64::MAX);
                self.c.op(home, if wide { I::I64Xor } else { I::I32Xor }, &[x, ones])
            }
            UnOp::Abs => {
                let zero = self.constant(ty, 0);
                let negated = self.c.op(home, sub, &[zero, x]);
                let negative = self.c.i32(if wide { I::I64LtS } else { I::I32LtS }, &[x, zero]);
                self.c.select(negative, negated, x)
            }
            _ => return Err(format!("{op:?} of {ty}")),
        })
    }

    /// Lane by lane, in general registers.
    fn vector_leading_zeros(&mut self, ty: Type, x: Local) -> Local {
        self.map_lanes(ty, x, |e, lane| {
            if ty.elem == Elem::I64 {
                return e.c.i64(I::I64Clz, &[lane]);
            }
            let count = e.c.i32(I::I32Clz, &[lane]);
            let extra = e.c.i32_const(32 - ty.elem.bits() as i32);
            e.c.i32(I::I32Sub, &[count, extra])
        })
    }

    /// Applies `f` to every lane as a scalar; lanes of 8 and 16 bits are zero-extended.
    pub(super) fn map_lanes(&mut self, ty: Type, x: Local, mut f: impl FnMut(&mut Self, Local) -> Local) -> Local {
        let mut v = self.lanes_of(ty.elem, 0);
        for lane in 0..ty.lanes {
            let s = self.extract_lane(ty, x, lane);
            let s = f(self, s);
            v = self.insert_lane(ty, v, s, lane);
        }
        v
    }

    pub(super) fn binary(&mut self, op: BinOp, ty: Type, inst: &Inst) -> Result<Local, Reason> {
        let [a, b] = [inst.args[0], inst.args[1]];
        let (x, y) = (self.get(a), self.get(b));
        match op {
            BinOp::Shl | BinOp::ShrU | BinOp::ShrS if ty.is_vector() => return self.shift_lanes(op, ty, a, b),
            BinOp::Shl | BinOp::ShrU | BinOp::ShrS => return Ok(self.shift_scalar(op, ty.elem, x, y, self.known_bits(b))),
            _ => {}
        }
        if ty.is_vector() { self.vector_binary(op, ty.elem, x, y) } else { self.scalar_binary(op, ty, x, y) }
    }

    /// Binary arithmetic of vectors, other than shifts.
    pub(super) fn vector_binary(&mut self, op: BinOp, elem: Elem, x: Local, y: Local) -> Result<Local, Reason> {
        if let Some(i) = tables::vector_binary(op, elem) {
            return Ok(self.c.v128(i, &[x, y]));
        }
        Ok(match (op, elem) {
            // These choose the first operand unless the second is smaller (greater), as the language does the other way round.
            (BinOp::Min, Elem::F32) => self.c.v128(I::F32x4PMin, &[y, x]),
            (BinOp::Max, Elem::F32) => self.c.v128(I::F32x4PMax, &[y, x]),
            (BinOp::Min, Elem::F64) => self.c.v128(I::F64x2PMin, &[y, x]),
            (BinOp::Max, Elem::F64) => self.c.v128(I::F64x2PMax, &[y, x]),
            (BinOp::Min | BinOp::MinU, Elem::I64) => {
                let less = self.less_i64(x, y, op == BinOp::MinU);
                self.pick(less, x, y)
            }
            (BinOp::Max | BinOp::MaxU, Elem::I64) => {
                let less = self.less_i64(y, x, op == BinOp::MaxU);
                self.pick(less, x, y)
            }
            (BinOp::Mul, Elem::I8) => {
                let (low, high) = self.products(Elem::I8, false, x, y);
                self.c.v128(I::I8x16Shuffle(std::array::from_fn(|i| 2 * i as u8)), &[low, high])
            }
            (BinOp::MulHiS | BinOp::MulHiU, Elem::I16 | Elem::I32) => {
                let (low, high) = self.products(elem, op == BinOp::MulHiS, x, y);
                self.upper_halves(elem, low, high)
            }
            (BinOp::MulRoundHi, Elem::I32) => {
                let (low, high) = self.products(elem, true, x, y);
                let half = self.lanes_of(Elem::I64, 1 << 30);
                let [low, high] = [low, high].map(|v| {
                    let v = self.c.v128(I::I64x2Add, &[v, half]);
                    let one = self.c.i32_const(1);
                    self.c.v128(I::I64x2Shl, &[v, one])
                });
                let v = self.upper_halves(elem, low, high);
                // Only the product of the two smallest integers leaves the range, and gives the smallest: flip it to the largest.
                let smallest = self.lanes_of(Elem::I32, 1 << 31);
                let over = self.c.v128(I::I32x4Eq, &[v, smallest]);
                self.c.v128(I::V128Xor, &[v, over])
            }
            _ => return Err(format!("{op:?} of {elem:?} lanes")),
        })
    }

    /// Products in lanes of twice the width: of the lower halves, of the upper halves.
    fn products(&mut self, elem: Elem, signed: bool, x: Local, y: Local) -> (Local, Local) {
        let [low, high] = [false, true].map(|high| {
            let i = tables::extended_product(elem, high, signed).unwrap_or(I::Unreachable);
            self.c.v128(i, &[x, y])
        });
        (low, high)
    }

    /// The upper half of each lane of two vectors whose lanes are twice as wide as `elem`.
    fn upper_halves(&mut self, elem: Elem, low: Local, high: Local) -> Local {
        let bytes = (elem.bits() / 8) as u8;
        self.c.v128(I::I8x16Shuffle(std::array::from_fn(|i| (i as u8 / bytes) * 2 * bytes + bytes + i as u8 % bytes)), &[low, high])
    }

    fn less_i64(&mut self, x: Local, y: Local, unsigned: bool) -> Local {
        let [x, y] = if unsigned { [x, y].map(|v| self.flip_signs(v)) } else { [x, y] };
        self.c.v128(I::I64x2LtS, &[x, y])
    }

    /// 64-bit lanes with their sign flipped, which turns unsigned order into signed.
    fn flip_signs(&mut self, v: Local) -> Local {
        let sign = self.lanes_of(Elem::I64, 1 << 63);
        self.c.v128(I::V128Xor, &[v, sign])
    }

    /// Binary arithmetic of scalars whose locals have the same type, other than shifts.
    fn scalar_binary(&mut self, op: BinOp, ty: Type, x: Local, y: Local) -> Result<Local, Reason> {
        let home = self.c.ty(x);
        let elem = match home {
            ValType::I32 if ty.elem == Elem::I64 => Elem::I32,
            _ => ty.elem,
        };
        if let Some(i) = tables::scalar_binary(op, elem) {
            return Ok(self.c.op(home, i, &[x, y]));
        }
        let chosen = |op: CmpOp| tables::scalar_compare(op, elem).unwrap_or(I::Unreachable);
        Ok(match op {
            BinOp::Min | BinOp::Max | BinOp::MinU | BinOp::MaxU => {
                let (op, a, b) = match op {
                    BinOp::Min => (CmpOp::Lt, x, y),
                    BinOp::Max => (CmpOp::Lt, y, x),
                    BinOp::MinU => (CmpOp::LtU, x, y),
                    _ => (CmpOp::LtU, y, x),
                };
                let first = self.c.i32(chosen(op), &[a, b]);
                self.c.select(first, x, y)
            }
            BinOp::MulHiS | BinOp::MulHiU if elem == Elem::I32 => {
                let [x, y] = [x, y].map(|v| self.c.i64(if op == BinOp::MulHiS { I::I64ExtendI32S } else { I::I64ExtendI32U }, &[v]));
                let product = self.c.i64(I::I64Mul, &[x, y]);
                let width = self.c.i64_const(32);
                let high = self.c.i64(I::I64ShrU, &[product, width]);
                self.c.i32(I::I32WrapI64, &[high])
            }
            BinOp::MulHiS | BinOp::MulHiU => self.mul_hi_i64(op == BinOp::MulHiS, x, y),
            BinOp::MulRoundHi => {
                let [x, y] = [x, y].map(|v| self.c.i64(I::I64ExtendI32S, &[v]));
                let product = self.c.i64(I::I64Mul, &[x, y]);
                let half = self.c.i64_const(1 << 30);
                let sum = self.c.i64(I::I64Add, &[product, half]);
                let width = self.c.i64_const(31);
                let high = self.c.i64(I::I64ShrS, &[sum, width]);
                let most = self.c.i64_const(i64::from(i32::MAX));
                let fits = self.c.i32(I::I64LtS, &[high, most]);
                let high = self.c.select(fits, high, most);
                self.c.i32(I::I32WrapI64, &[high])
            }
            _ => return Err(format!("{op:?} of {ty}")),
        })
    }

    /// High half of a 128-bit product, from four products of halves.
    fn mul_hi_i64(&mut self, signed: bool, x: Local, y: Local) -> Local {
        let low = self.c.i64_const(0xFFFF_FFFF);
        let width = self.c.i64_const(32);
        let [(xl, xh), (yl, yh)] = [x, y].map(|v| (self.c.i64(I::I64And, &[v, low]), self.c.i64(I::I64ShrU, &[v, width])));
        let ll = self.c.i64(I::I64Mul, &[xl, yl]);
        let hl = self.c.i64(I::I64Mul, &[xh, yl]);
        let lh = self.c.i64(I::I64Mul, &[xl, yh]);
        let hh = self.c.i64(I::I64Mul, &[xh, yh]);
        let carry = self.c.i64(I::I64ShrU, &[ll, width]);
        let middle = self.c.i64(I::I64Add, &[hl, carry]);
        let middle_low = self.c.i64(I::I64And, &[middle, low]);
        let middle_high = self.c.i64(I::I64ShrU, &[middle, width]);
        let second = self.c.i64(I::I64Add, &[lh, middle_low]);
        let second = self.c.i64(I::I64ShrU, &[second, width]);
        let high = self.c.i64(I::I64Add, &[hh, middle_high]);
        let mut high = self.c.i64(I::I64Add, &[high, second]);
        if signed {
            let bits = self.c.i64_const(63);
            for (v, other) in [(x, y), (y, x)] {
                let sign = self.c.i64(I::I64ShrS, &[v, bits]);
                let excess = self.c.i64(I::I64And, &[sign, other]);
                high = self.c.i64(I::I64Sub, &[high, excess]);
            }
        }
        high
    }

    pub(super) fn fma(&mut self, ty: Type, inst: &Inst) -> Result<Local, Reason> {
        if !self.relaxed {
            return Err("fma: WebAssembly has none without relaxed SIMD".into());
        }
        let operands = [0, 1, 2].map(|i| self.get(inst.args[i]));
        let (madd, splat, home, first) = match ty.elem {
            Elem::F32 => (I::F32x4RelaxedMadd, I::F32x4Splat, ValType::F32, I::F32x4ExtractLane(0)),
            _ => (I::F64x2RelaxedMadd, I::F64x2Splat, ValType::F64, I::F64x2ExtractLane(0)),
        };
        if ty.is_vector() {
            return Ok(self.c.v128(madd, &operands));
        }
        let operands = operands.map(|v| self.c.v128(splat.clone(), &[v]));
        let v = self.c.v128(madd, &operands);
        Ok(self.c.op(home, first, &[v]))
    }

    pub(super) fn compare(&mut self, op: CmpOp, inst: &Inst) -> Result<Local, Reason> {
        let ty = self.ty(inst.args[0]);
        let [a, b] = [inst.args[0], inst.args[1]];
        if !ty.is_vector() {
            let narrow = ty == Type::I64 && [a, b].iter().all(|&v| self.ranges.fits(v));
            let (x, y) = if narrow { (self.get_low(a), self.get_low(b)) } else { (self.get_full(a), self.get_full(b)) };
            let elem = if narrow { Elem::I32 } else { ty.elem };
            let i = tables::scalar_compare(op, elem).ok_or_else(|| format!("{op:?} of {ty}"))?;
            return Ok(self.c.i32(i, &[x, y]));
        }
        let (x, y) = (self.get(a), self.get(b));
        if let Some(i) = tables::vector_compare(op, ty.elem) {
            return Ok(self.c.v128(i, &[x, y]));
        }
        let signed = if op == CmpOp::LtU { CmpOp::Lt } else { CmpOp::Le };
        let [x, y] = [x, y].map(|v| self.flip_signs(v));
        let i = tables::vector_compare(signed, ty.elem).ok_or_else(|| format!("{op:?} of {ty}"))?;
        Ok(self.c.v128(i, &[x, y]))
    }

    // ---- scalars of 64 bits ----

    /// An instruction that gives an `I64`, in whichever width its operands have.
    pub(super) fn wide_op(&mut self, inst: &Inst) -> Result<Local, Reason> {
        let result = inst.results[0];
        let narrow = self.ranges.is_narrow(result);
        let a = &inst.args;
        let both_fit = |e: &Self| a.iter().chain([&result]).all(|&v| e.ranges.fits(v));
        match &inst.op {
            Op::Un(op @ (UnOp::Neg | UnOp::Not)) if narrow => {
                let x = self.get_low(a[0]);
                self.unary(*op, Type::I32, x)
            }
            Op::Un(op) => {
                let x = self.get_full(a[0]);
                self.unary(*op, Type::I64, x)
            }
            Op::Bin(BinOp::Shl | BinOp::ShrU | BinOp::ShrS) => Ok(self.wide_shift(inst, narrow)),
            Op::Bin(op @ (BinOp::Add | BinOp::Sub | BinOp::Mul | BinOp::And | BinOp::Or | BinOp::Xor)) if narrow => {
                let (x, y) = (self.get_low(a[0]), self.get_low(a[1]));
                self.scalar_binary(*op, Type::I32, x, y)
            }
            Op::Bin(op @ (BinOp::Min | BinOp::Max | BinOp::Div | BinOp::Rem)) if both_fit(self) => {
                let (x, y) = (self.get_low(a[0]), self.get_low(a[1]));
                self.scalar_binary(*op, Type::I32, x, y)
            }
            Op::Bin(op) => {
                let (x, y) = (self.get_full(a[0]), self.get_full(a[1]));
                self.scalar_binary(*op, Type::I64, x, y)
            }
            Op::Select => {
                let c = self.get(a[0]);
                let take = |e: &mut Self, v: Value| if narrow { e.get_low(v) } else { e.get_full(v) };
                let (x, y) = (take(self, a[1]), take(self, a[2]));
                Ok(self.c.select(c, x, y))
            }
            Op::Const(bits) if narrow => Ok(self.c.i32_const(*bits as i32)),
            Op::Convert(ConvertOp::ExtS | ConvertOp::ExtU) if narrow => Ok(self.get_low(a[0])),
            _ => self.value_op(inst, Type::I64),
        }
    }

    /// Shifts, in 32 bits where the result is narrow and the amount known.
    fn wide_shift(&mut self, inst: &Inst, narrow: bool) -> Local {
        let Op::Bin(op) = inst.op else { unreachable!("a shift") };
        let [a, b] = [inst.args[0], inst.args[1]];
        let known = self.known_bits(b);
        let in_low = op == BinOp::Shl || (self.ranges.fits(a) && (op == BinOp::ShrS || self.ranges.is_non_negative(a)));
        if narrow && in_low && known.is_some() {
            let (x, y) = (self.get_low(a), self.get_low(b));
            return self.shift_scalar(op, Elem::I32, x, y, known);
        }
        let (x, y) = (self.get_full(a), self.get_full(b));
        self.shift_scalar(op, Elem::I64, x, y, known)
    }
}
