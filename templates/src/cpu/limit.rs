//! A kernel that does the units in front only, as many as memory says at run time.
//!
//! Tensors whose size is known only at run time have room for a bound. What lies behind the run-time size is not worth computing, and indices there must not
//! be followed.

use tflc_kir::{Active, AddrMode, BinOp, Block, Inst, Kernel, Mem, MemOp, Op, Param, Type, Value};

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
