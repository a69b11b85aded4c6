//! Table look-up.

use super::Lower;
use super::values::{Fold, Lanes};
use crate::backend::x86::machine::*;
use crate::backend::x86::opcodes::Vop;
use regalloc2::VReg;
use tflc_kir::{AddrMode, Type, Value};

impl Lower<'_> {
    pub(super) fn table16(&mut self, ty: Type, table: Value, index: Value) -> VReg {
        let w = self.width(ty);
        let x = self.reg(table);
        let y = self.rm(index, w, Fold::Whole);
        self.op3(Vop::Pshufb, w, x, y)
    }

    pub(super) fn table256(&mut self, ty: Type, table: Value, index: Value) -> VReg {
        let w = self.width(ty);
        let x = self.reg(index);
        let at = self.mem(AddrMode { scale: 0, disp: 0 }, &[table]);
        if self.isa.vbmi { self.table256_vbmi(w, x, at) } else { self.table256_rows(w, x, at) }
    }

    /// Two look-ups in 128 bytes each, chosen by the top bit of the index.
    fn table256_vbmi(&mut self, w: Width, x: VReg, at: Mem) -> VReg {
        let z = Width::Z;
        let [low, high] = [0, 128].map(|half| {
            let t = self.op2(Vop::MovupsL, z, at.offset(half));
            self.op_acc(Vop::Permi2b, z, x, t, at.offset(half + 64))
        });
        let code = self.vcode(Vop::Pmovb2m, w);
        let top = self.def(code, MASK, View::K, &[Opnd::Use(x, w.view())]);
        self.blend_lanes(8, w, top, high, low)
    }

    /// Sixteen rows of sixteen bytes: an index outside a row gets its top bit set, for which `vpshufb` gives zero.
    fn table256_rows(&mut self, w: Width, x: VReg, at: Mem) -> VReg {
        let mut index = x;
        let mut result = None;
        for row in 0..16 {
            let t =
                if w == Width::X { self.op2(Vop::MovupsL, w, at.offset(row * 16)) } else { self.broadcast_block(w, at.offset(row * 16)) };
            if row > 0 {
                let step = self.konst(Lanes::splat(16, 1), w, Fold::Whole);
                index = self.op3(Vop::Psubb, w, index, step);
            }
            let guard = self.konst(Lanes::splat(0x70, 1), w, Fold::Whole);
            let control = self.op3(Vop::Paddusb, w, index, guard);
            let part = self.op3(Vop::Pshufb, w, t, control);
            result = Some(match result {
                None => part,
                Some(r) => self.op3(Vop::Por, w, r, part),
            });
        }
        result.unwrap_or(x)
    }

    fn broadcast_block(&mut self, w: Width, at: Mem) -> VReg {
        self.op2_from(Vop::Broadcast128, w, Width::X, at)
    }
}
