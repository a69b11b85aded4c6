//! Loads, stores and tables, lane by lane.

use super::{Lanes, Scalarizer};
use crate::builder::Addr;
use crate::kernel::{Inst, Value};
use crate::op::*;
use crate::types::{Elem, Type};

/// The element that a narrow lane, in a scalar of 32 bits, comes from or goes to.
fn element(elem: Elem, mem: Mem) -> Mem {
    match (elem, mem) {
        (Elem::I8, _) => Mem::S8,
        (Elem::I16, Mem::U16) => Mem::S16,
        (_, mem) => mem,
    }
}

/// Whether a store of a narrow lane as `mem` keeps all of it.
fn keeps(elem: Elem, mem: Mem) -> bool {
    mem.bytes() * 8 == elem.bits()
}

impl Scalarizer<'_> {
    /// The address of a memory operation, whose accesses reach `bytes` bytes further.
    pub(super) fn address(&mut self, inst: &Inst, mode: AddrMode, bytes: i32) -> Addr {
        let mut base = self.values[inst.args[0].index()][0];
        let mut disp = mode.disp;
        if disp.checked_add(bytes).is_none() {
            base = self.b.ptr_add_const(base, i64::from(disp));
            disp = 0;
        }
        let index = (mode.scale != 0).then(|| (self.values[inst.args[1].index()][0], mode.scale));
        Addr { base, index, disp }
    }

    pub(super) fn load_lane(&mut self, elem: Elem, mem: Mem, addr: Addr) -> Value {
        self.b.load(super::held(elem), element(elem, mem), addr)
    }

    pub(super) fn load(&mut self, inst: &Inst, m: MemOp) -> Lanes {
        let ty = self.ty(inst.results[0]);
        let addr = self.address(inst, m.addr, i32::from(ty.lanes) * m.mem.bytes() as i32);
        let at = |i: u16| addr.offset(i64::from(i) * i64::from(m.mem.bytes()));
        let zero = (m.active != Active::All).then(|| self.constant(ty.elem, 0));
        (0..ty.lanes)
            .map(|i| match (m.active, zero) {
                (Active::First(n), Some(zero)) if i >= n => zero,
                (Active::Mask, Some(zero)) => {
                    let set = self.values[inst.args[inst.args.len() - 1].index()][usize::from(i)];
                    let (held, mem) = (super::held(ty.elem), element(ty.elem, m.mem));
                    self.b.if_else(set, |b| vec![b.load(held, mem, at(i))], |_| vec![zero])[0]
                }
                _ => self.load_lane(ty.elem, m.mem, at(i)),
            })
            .collect()
    }

    pub(super) fn store(&mut self, inst: &Inst, m: MemOp, narrow: Narrow) {
        let data = inst.args[inst.args.len() - 1];
        let ty = self.ty(data);
        let addr = self.address(inst, m.addr, i32::from(ty.lanes) * m.mem.bytes() as i32);
        let narrow = if keeps(ty.elem, m.mem) { Narrow::Wrap } else { narrow };
        for i in 0..ty.lanes {
            let v = self.values[data.index()][usize::from(i)];
            let at = addr.offset(i64::from(i) * i64::from(m.mem.bytes()));
            match m.active {
                Active::First(n) if i >= n => {}
                Active::Mask => {
                    let set = self.values[inst.args[inst.args.len() - 2].index()][usize::from(i)];
                    self.b.if_then(set, |b| b.store(m.mem, narrow, at, v));
                }
                _ => self.b.store(m.mem, narrow, at, v),
            }
        }
    }

    pub(super) fn gather(&mut self, inst: &Inst, m: MemOp) -> Lanes {
        let elem = self.ty(inst.results[0]).elem;
        let base = self.values[inst.args[0].index()][0];
        let index = self.values[inst.args[1].index()].clone();
        self.each(&[&index], |s, x| {
            let index = s.b.convert(ConvertOp::ExtS, Type::I64, x[0]);
            s.load_lane(elem, m.mem, Addr::new(base).index(index, m.addr.scale).offset(i64::from(m.addr.disp)))
        })
    }

    /// Byte `x` of a table in memory, as a lane.
    pub(super) fn table256(&mut self, table: Value, x: Value) -> Value {
        let index = self.unsigned(Elem::I8, x);
        let index = self.b.convert(ConvertOp::ExtU, Type::I64, index);
        self.b.load(Type::I32, Mem::S8, Addr::new(table).index(index, 1))
    }

    /// Bytes of a table in registers, which goes to memory for it; indices below zero give zero.
    pub(super) fn table16(&mut self, table: &[Value], index: &[Value]) -> Lanes {
        let mut out = vec![];
        for (table, index) in table.chunks(16).zip(index.chunks(16)) {
            let scratch = self.b.scratch(16, 16);
            for (i, &x) in table.iter().enumerate() {
                self.b.store(Mem::S8, Narrow::Wrap, Addr::new(scratch).offset(i as i64), x);
            }
            out.extend(self.each(&[index], |s, x| {
                let (low, zero) = (s.b.i32(15), s.b.i32(0));
                let at = s.b.bin(BinOp::And, x[0], low);
                let at = s.b.convert(ConvertOp::ExtU, Type::I64, at);
                let found = s.b.load(Type::I32, Mem::S8, Addr::new(scratch).index(at, 1));
                let outside = s.b.cmp(CmpOp::Lt, x[0], zero);
                s.b.select(outside, zero, found)
            }));
        }
        out
    }
}
