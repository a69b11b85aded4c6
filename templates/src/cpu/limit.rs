//! A kernel that does the units in front only, as many as memory says at run time.
//!
//! Tensors whose size is known only at run time have room for a bound. What lies behind the run-time size is not worth computing, and indices there must not
//! be followed.

use tflc_kir::{Active, AddrMode, BinOp, Block, Builder, Inst, Kernel, Mem, MemOp, Op, Param, Type, Value};

/// The same kernel with one more parameter behind its own, the address of an `I64`: units from `per_row` times that number on are left out.
pub fn limited(kernel: &Kernel, per_row: usize) -> Kernel {
    let mut k = kernel.clone();
    let number = k.new_value(Type::PTR);
    k.params.push(Param { name: "rows".to_string(), value: number });
    let [rows, factor, product, limit] = [Type::I64; 4].map(|t| k.new_value(t));
    let old = k.end;
    replace(&mut k.body, old, limit);
    let inst =
        |op: Op, args: &[Value], result: Value| Inst { op, args: args.into(), results: [result].into_iter().collect(), blocks: vec![] };
    let access = MemOp { mem: Mem::I64, addr: AddrMode { scale: 0, disp: 0 }, active: Active::All };
    let front = [
        inst(Op::Load(access), &[number], rows),
        inst(Op::Const(per_row as u64), &[], factor),
        inst(Op::Bin(BinOp::Mul), &[rows, factor], product),
        inst(Op::Bin(BinOp::Min), &[old, product], limit),
    ];
    k.body.insts.splice(0..0, front);
    k
}

fn replace(block: &mut Block, old: Value, new: Value) {
    let swap = |v: &mut Value| {
        if *v == old {
            *v = new;
        }
    };
    block.yields.iter_mut().for_each(swap);
    for inst in &mut block.insts {
        inst.args.iter_mut().for_each(swap);
        inst.blocks.iter_mut().for_each(|b| replace(b, old, new));
    }
}

/// Specification of a copy whose tail is replaced: `y[i] = i < rows * per_row ? x[i] : value`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TailSpec {
    /// Elements.
    pub elements: usize,
    /// Size of an element in bytes: 1, 2, 4 or 8.
    pub bytes: usize,
    /// Elements of a row.
    pub per_row: usize,
    /// Bits of the value behind the rows.
    pub value: u64,
}

impl TailSpec {
    /// Builds the kernel: parameters are input, output, the number of rows (`I64`). Work units are elements.
    pub fn build(&self) -> Kernel {
        let mut b = Builder::new("replace_tail");
        let [x, y, number] = ["x", "y", "rows"].map(|n| b.ptr_param(n));
        let (mem, ty) = match self.bytes {
            1 => (Mem::U8, Type::I32),
            2 => (Mem::U16, Type::I32),
            4 => (Mem::S32, Type::I32),
            _ => (Mem::I64, Type::I64),
        };
        let rows = b.load(Type::I64, Mem::I64, tflc_kir::Addr::new(number));
        let limit = b.mul_const(rows, self.per_row as i64);
        let value = b.int(ty, self.value as i64);
        let (begin, end) = (b.begin(), b.end());
        b.for_loop(begin, end, 1, &[], |b, i, _| {
            let place = |p: Value| tflc_kir::Addr::new(p).index(i, self.bytes as u8);
            let v = b.load(ty, mem, place(x));
            let inside = b.cmp(tflc_kir::CmpOp::Lt, i, limit);
            let v = b.select(inside, v, value);
            b.store(mem, tflc_kir::Narrow::Wrap, place(y), v);
            vec![]
        });
        b.finish()
    }
}
