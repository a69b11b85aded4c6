//! Expressions to kir: arithmetic on values in registers, and loads and stores of storage types.
//!
//! Compute types map to lanes: `F32` to `F32`, `I32` to `I32`, `I64` to `I64`, `Bool` to masks (scalar `Bool` for one lane). Loads extend and
//! stores narrow, so no register type narrower than the compute type appears, but for table indices.

use super::{Binary, Cast, Compare, Const, Expr, Node, Storage, Ty, Unary, math};
use tflc_kir::{Addr, BinOp, Builder, Caps, CmpOp, ConvertOp, Elem, Mem, Narrow, Type, UnOp, Value};

/// Lane kind of a compute type.
pub const fn elem(ty: Ty) -> Elem {
    match ty {
        Ty::F32 => Elem::F32,
        Ty::F64 => Elem::F64,
        Ty::I32 => Elem::I32,
        Ty::I64 => Elem::I64,
        Ty::Bool => Elem::Bool,
    }
}

/// The number of lanes in which `expr` can be emitted for a target: full registers of its widest compute type, 1 where no legal vector
/// holds every compute type; binary64 is rare and goes one by one.
pub fn lanes(caps: &Caps, expr: &Expr) -> u16 {
    if expr.has_binary64() {
        return 1;
    }
    let wide = expr.types().contains(&Ty::I64) || expr.inputs.iter().any(|s| s.ty() == Ty::I64);
    match (wide, caps.vector_bytes) {
        (false, _) => caps.lanes(Elem::F32),
        (true, 16) => 1,
        (true, _) => caps.lanes(Elem::I64),
    }
}

/// The 256-byte tables that `expr` reads, in the order in which [`emit`] expects their addresses.
pub fn tables(expr: &Expr) -> Vec<&[u8]> {
    expr.nodes
        .iter()
        .filter_map(|n| match n {
            Node::Table { table, .. } => Some(table.as_slice()),
            _ => None,
        })
        .collect()
}

/// Emits `expr` on vectors of `lanes` lanes (scalars for 1) and gives its result, in the compute type of its output.
///
/// `inputs` holds the value of each expression input in its compute type, then the address of each of [`tables`].
pub fn emit(b: &mut Builder, caps: &Caps, expr: &Expr, lanes: u16, inputs: &[Value]) -> Value {
    let mut e = Emitter { b, caps, lanes, values: Vec::with_capacity(expr.nodes.len()) };
    let mut needed = vec![false; expr.nodes.len()];
    needed[expr.result.0 as usize] = true;
    for (i, node) in expr.nodes.iter().enumerate().rev() {
        if needed[i] {
            node.operands().for_each(|id| needed[id.0 as usize] = true);
        }
    }
    let mut tables = inputs[expr.inputs.len()..].iter();
    for (i, node) in expr.nodes.iter().enumerate() {
        let table = matches!(node, Node::Table { .. }).then(|| *tables.next().expect("an address for each table"));
        if !needed[i] {
            // A placeholder that nothing reads.
            e.values.push(inputs[0]);
            continue;
        }
        let v = match node {
            Node::Input(i) => inputs[*i as usize],
            Node::Table { signed_result, index, .. } => {
                let table = table.expect("taken above");
                let index = e.values[index.0 as usize];
                e.table(table, *signed_result, index)
            }
            node => e.node(node),
        };
        e.values.push(v);
    }
    e.values[expr.result.0 as usize]
}

/// Loads elements of `storage` into `lanes` lanes of its compute type; only the first `active` touch memory, the others are zero.
pub fn load_storage(b: &mut Builder, storage: Storage, lanes: u16, addr: impl Into<Addr>, active: u16) -> Value {
    let ty = Type::vector(elem(storage.ty()), lanes);
    if storage == Storage::Bool {
        let wide = ty.with_elem(Elem::I32);
        let v = b.load_first(wide, Mem::U8, addr, active);
        let zero = b.int(wide, 0);
        return b.cmp(CmpOp::Ne, v, zero);
    }
    b.load_first(ty, mem(storage), addr, active)
}

/// Loads one element of `storage` into every one of `lanes` lanes of its compute type.
pub fn load_storage_splat(b: &mut Builder, storage: Storage, lanes: u16, addr: impl Into<Addr>) -> Value {
    let ty = Type::vector(elem(storage.ty()), lanes);
    if lanes == 1 {
        return load_storage(b, storage, 1, addr, 1);
    }
    if storage == Storage::Bool {
        let wide = ty.with_elem(Elem::I32);
        let v = b.load_splat(wide, Mem::U8, addr);
        let zero = b.int(wide, 0);
        return b.cmp(CmpOp::Ne, v, zero);
    }
    b.load_splat(ty, mem(storage), addr)
}

/// Stores the first `active` lanes of a value of the compute type of `storage`, integers narrowed as `narrow` says.
pub fn store_storage(b: &mut Builder, storage: Storage, narrow: Narrow, addr: impl Into<Addr>, value: Value, active: u16) {
    let value = if storage == Storage::Bool {
        let wide = b.ty(value).with_elem(Elem::I32);
        let (one, zero) = (b.int(wide, 1), b.int(wide, 0));
        b.select(value, one, zero)
    } else {
        value
    };
    b.store_first(mem(storage), narrow, addr, value, active);
}

/// Memory element of a storage type.
pub const fn mem(storage: Storage) -> Mem {
    match storage {
        Storage::F32 => Mem::F32,
        Storage::F64 => Mem::F64,
        Storage::F16 => Mem::F16,
        Storage::BF16 => Mem::BF16,
        Storage::I8 => Mem::S8,
        Storage::U8 | Storage::Bool => Mem::U8,
        Storage::I16 => Mem::S16,
        Storage::U16 => Mem::U16,
        Storage::I32 => Mem::S32,
        Storage::U32 => Mem::U32,
        Storage::I64 => Mem::I64,
    }
}

struct Emitter<'a> {
    b: &'a mut Builder,
    caps: &'a Caps,
    lanes: u16,
    values: Vec<Value>,
}

impl Emitter<'_> {
    fn ty(&self, ty: Ty) -> Type {
        Type::vector(elem(ty), self.lanes)
    }

    fn node(&mut self, node: &Node) -> Value {
        let at = |id: super::Id| self.values[id.0 as usize];
        match *node {
            Node::Const(c) => self.constant(c),
            Node::Unary(op, a) => self.unary(op, at(a)),
            Node::Binary(op, a, c) => self.binary(op, at(a), at(c)),
            Node::MulAdd(x, y, z) => {
                let (x, y, z) = (at(x), at(y), at(z));
                if self.caps.fma {
                    self.b.fma(x, y, z)
                } else {
                    let p = self.b.mul(x, y);
                    self.b.add(p, z)
                }
            }
            Node::Compare(op, x, y) => {
                let (x, y) = (at(x), at(y));
                if self.b.ty(x).elem == Elem::Bool {
                    // Truth values differ where exactly one holds.
                    let differ = self.b.bin(BinOp::Xor, x, y);
                    return if op == Compare::Ne { differ } else { self.b.un(UnOp::Not, differ) };
                }
                self.b.cmp(compare(op), x, y)
            }
            Node::Select(c, x, y) => {
                let (c, x, y) = (at(c), at(x), at(y));
                self.select(c, x, y)
            }
            Node::Cast(cast, to, a) => self.cast(cast, to, at(a)),
            Node::Input(_) | Node::Table { .. } => unreachable!("emitted by the caller"),
        }
    }

    fn constant(&mut self, c: Const) -> Value {
        match c {
            Const::F32(bits) => self.b.f32_const(self.ty(Ty::F32), f32::from_bits(bits)),
            Const::F64(bits) => self.b.float(self.ty(Ty::F64), f64::from_bits(bits)),
            Const::I32(v) => self.b.int(self.ty(Ty::I32), i64::from(v)),
            Const::I64(v) => self.b.int(self.ty(Ty::I64), v),
            Const::Bool(v) => self.b.int(self.ty(Ty::Bool), i64::from(v)),
        }
    }

    /// `cond ? x : y`, of truth values by logic.
    fn select(&mut self, cond: Value, x: Value, y: Value) -> Value {
        if self.b.ty(x).elem != Elem::Bool {
            return self.b.select(cond, x, y);
        }
        let not = self.b.un(UnOp::Not, cond);
        let (l, r) = (self.b.bin(BinOp::And, cond, x), self.b.bin(BinOp::And, not, y));
        self.b.bin(BinOp::Or, l, r)
    }

    fn unary(&mut self, op: Unary, a: Value) -> Value {
        let op = match op {
            Unary::Neg => UnOp::Neg,
            Unary::Abs => UnOp::Abs,
            Unary::Not => UnOp::Not,
            Unary::Sqrt => UnOp::Sqrt,
            Unary::RoundEven => UnOp::RoundEven,
            Unary::Floor => UnOp::Floor,
            Unary::Ceil => UnOp::Ceil,
            Unary::Trunc => UnOp::Trunc,
            Unary::Exp | Unary::Expm1 | Unary::Log | Unary::Tanh | Unary::Logistic | Unary::Sin | Unary::Cos | Unary::Erf => {
                return math::unary(self.b, self.caps, op, a);
            }
        };
        self.b.un(op, a)
    }

    fn binary(&mut self, op: Binary, x: Value, y: Value) -> Value {
        let float = self.b.ty(x).elem.is_float();
        let op = match op {
            Binary::Add => BinOp::Add,
            Binary::Sub => BinOp::Sub,
            Binary::Mul => BinOp::Mul,
            Binary::Div if float => BinOp::Div,
            Binary::Div => return self.divide(BinOp::Div, x, y),
            Binary::Rem if !float => return self.divide(BinOp::Rem, x, y),
            Binary::Rem | Binary::Pow | Binary::Atan2 => return math::binary(self.b, self.caps, op, x, y),
            Binary::Min => BinOp::Min,
            Binary::Max => BinOp::Max,
            Binary::And => BinOp::And,
            Binary::Or => BinOp::Or,
            Binary::Xor => BinOp::Xor,
            Binary::Shl => BinOp::Shl,
            Binary::Shr => BinOp::ShrS,
            Binary::MulRoundHi => BinOp::MulRoundHi,
        };
        self.b.bin(op, x, y)
    }

    /// Integer quotient or remainder, lane by lane: no target divides vectors of integers.
    fn divide(&mut self, op: BinOp, x: Value, y: Value) -> Value {
        if self.lanes == 1 {
            return self.divide_scalar(op, x, y);
        }
        let mut out = self.b.int(self.b.ty(x), 0);
        for lane in 0..self.lanes {
            let (p, q) = (self.b.extract_lane(x, lane), self.b.extract_lane(y, lane));
            let r = self.divide_scalar(op, p, q);
            out = self.b.insert_lane(out, lane, r);
        }
        out
    }

    /// Scalar quotient or remainder that gives 0 where kir leaves it undefined.
    fn divide_scalar(&mut self, op: BinOp, x: Value, y: Value) -> Value {
        let b = &mut *self.b;
        let ty = b.ty(x);
        let smallest = if ty.elem == Elem::I64 { i64::MIN } else { i64::from(i32::MIN) };
        let (zero, one, minus_one, smallest) = (b.int(ty, 0), b.int(ty, 1), b.int(ty, -1), b.int(ty, smallest));
        let by_zero = b.cmp(CmpOp::Eq, y, zero);
        let by_minus_one = b.cmp(CmpOp::Eq, y, minus_one);
        let of_smallest = b.cmp(CmpOp::Eq, x, smallest);
        let overflow = b.bin(BinOp::And, by_minus_one, of_smallest);
        let undefined = b.bin(BinOp::Or, by_zero, overflow);
        let divisor = b.select(undefined, one, y);
        let q = b.bin(op, x, divisor);
        b.select(undefined, zero, q)
    }

    fn cast(&mut self, cast: Cast, to: Ty, a: Value) -> Value {
        let ty = self.ty(to);
        let from = self.b.ty(a).elem;
        match (cast, from, to) {
            (Cast::Bits, ..) => self.b.bitcast(ty, a),
            (Cast::RoundEven, ..) => self.b.convert(ConvertOp::FloatToIntEven, ty, a),
            (Cast::Value, from, to) if from == elem(to) => a,
            (Cast::Value, Elem::Bool, Ty::F32 | Ty::F64) => {
                let (one, zero) = (self.b.float(ty, 1.0), self.b.float(ty, 0.0));
                self.b.select(a, one, zero)
            }
            (Cast::Value, Elem::Bool, _) => {
                let (one, zero) = (self.b.int(ty, 1), self.b.int(ty, 0));
                self.b.select(a, one, zero)
            }
            (Cast::Value, Elem::F32 | Elem::F64, Ty::Bool) => {
                let zero = self.b.float(self.b.ty(a), 0.0);
                self.b.cmp(CmpOp::Ne, a, zero)
            }
            (Cast::Value, _, Ty::Bool) => {
                let zero = self.b.int(self.b.ty(a), 0);
                self.b.cmp(CmpOp::Ne, a, zero)
            }
            (Cast::Value, Elem::F32 | Elem::F64, Ty::F32 | Ty::F64) => self.b.convert(ConvertOp::FloatToFloat, ty, a),
            (Cast::Value, Elem::F32 | Elem::F64, _) => self.float_to_int(ty, a),
            (Cast::Value, _, Ty::F32 | Ty::F64) => self.b.convert(ConvertOp::IntToFloat, ty, a),
            (Cast::Value, _, Ty::I64) => self.b.convert(ConvertOp::ExtS, ty, a),
            (Cast::Value, _, Ty::I32) => self.b.convert(ConvertOp::Wrap, ty, a),
        }
    }

    /// Towards zero, saturating; NaN gives 0.
    fn float_to_int(&mut self, ty: Type, a: Value) -> Value {
        let b = &mut *self.b;
        let fty = b.ty(a);
        // The largest number of the type below 2^31 (2^63), and the power itself.
        let (below, limit, max) = match (ty.elem, fty.elem) {
            (Elem::I64, Elem::F64) => (9_223_372_036_854_774_784.0, 9_223_372_036_854_775_808.0, i64::MAX),
            (Elem::I64, _) => (9_223_371_487_098_961_920.0, 9_223_372_036_854_775_808.0, i64::MAX),
            (_, Elem::F64) => (2_147_483_647.0, 2_147_483_648.0, i64::from(i32::MAX)),
            _ => (2_147_483_520.0, 2_147_483_648.0, i64::from(i32::MAX)),
        };
        let (lo, hi, limit) = (b.float(fty, -limit), b.float(fty, below), b.float(fty, limit));
        let clamped = b.max(a, lo);
        let clamped = b.min(clamped, hi);
        let int = b.convert(ConvertOp::FloatToIntTrunc, ty, clamped);
        let above = b.cmp(CmpOp::Ge, a, limit);
        let max = b.int(ty, max);
        let int = b.select(above, max, int);
        let ordered = b.cmp(CmpOp::Eq, a, a);
        let zero = b.int(ty, 0);
        b.select(ordered, int, zero)
    }

    /// Looks the low byte of each lane up; where the narrow index vector would be no register, the bytes of the wide one
    /// are all looked up and the upper three of each lane dropped.
    fn table(&mut self, table: Value, signed: bool, index: Value) -> Value {
        let b = &mut *self.b;
        let ty = b.ty(index);
        if self.lanes == 1 {
            let mask = b.int(ty, 255);
            let low = b.bin(BinOp::And, index, mask);
            let low = b.convert(ConvertOp::ExtU, Type::I64, low);
            return b.load(Type::I32, if signed { Mem::S8 } else { Mem::U8 }, Addr::new(table).index(low, 1));
        }
        if self.lanes >= 16 {
            let narrow = ty.with_elem(Elem::I8);
            let low = b.convert(ConvertOp::Wrap, narrow, index);
            let found = b.inst(tflc_kir::Op::Table256, narrow, &[table, low]);
            return b.convert(if signed { ConvertOp::ExtS } else { ConvertOp::ExtU }, ty, found);
        }
        let bytes = Type::vector(Elem::I8, self.lanes * 4);
        let all = b.bitcast(bytes, index);
        let found = b.inst(tflc_kir::Op::Table256, bytes, &[table, all]);
        let found = b.bitcast(ty, found);
        let shift = b.int(ty, 24);
        let up = b.bin(BinOp::Shl, found, shift);
        b.bin(if signed { BinOp::ShrS } else { BinOp::ShrU }, up, shift)
    }
}

fn compare(op: Compare) -> CmpOp {
    match op {
        Compare::Eq => CmpOp::Eq,
        Compare::Ne => CmpOp::Ne,
        Compare::Lt => CmpOp::Lt,
        Compare::Le => CmpOp::Le,
        Compare::Gt => CmpOp::Gt,
        Compare::Ge => CmpOp::Ge,
    }
}
