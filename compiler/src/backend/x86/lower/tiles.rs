//! Tiles (AMX): each operator is one instruction, whose tiles kir has chosen.
//!
//! Source of the layout of a configuration: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2A, LDTILECFG.

use super::Lower;
use crate::backend::x86::machine::*;
use iced_x86::Code;
use tflc_kir::{AddrMode, DotSigns, TileOp, TileProduct, TileShape, Value};

impl Lower<'_> {
    pub(super) fn tile(&mut self, op: &TileOp, args: &[Value]) {
        match *op {
            TileOp::Config(ref shapes) => {
                let id = self.f.consts.intern(&configuration(shapes));
                self.emit(Code::VEX_Ldtilecfg_m512, &[Opnd::Mem(Mem::at(Base::Const(id), 0))]);
            }
            TileOp::Zero(tile) => self.emit(Code::VEX_Tilezero_tmm, &[Opnd::Tile(tile)]),
            TileOp::Load { tile, disp } => {
                let rows = self.tile_rows(disp, args);
                self.emit(Code::VEX_Tileloadd_tmm_sibmem, &[Opnd::Tile(tile), rows]);
            }
            TileOp::Store { tile, disp } => {
                let rows = self.tile_rows(disp, args);
                self.emit(Code::VEX_Tilestored_sibmem_tmm, &[rows, Opnd::Tile(tile)]);
            }
            TileOp::Dot { product, acc, a, b } => {
                let code = match product {
                    TileProduct::Bytes(DotSigns::UnsignedSigned) => Code::VEX_Tdpbusd_tmm_tmm_tmm,
                    TileProduct::Bytes(DotSigns::Signed) => Code::VEX_Tdpbssd_tmm_tmm_tmm,
                    TileProduct::Bytes(DotSigns::Unsigned) => Code::VEX_Tdpbuud_tmm_tmm_tmm,
                    TileProduct::Bf16 => Code::VEX_Tdpbf16ps_tmm_tmm_tmm,
                };
                self.emit(code, &[acc, a, b].map(Opnd::Tile));
            }
        }
    }

    /// Where the rows of a tile lie: the index register holds their distance.
    fn tile_rows(&mut self, disp: i32, args: &[Value]) -> Opnd {
        let stride = self.reg(args[1]);
        let mut rows = self.mem(AddrMode { scale: 0, disp }, &args[..1]);
        if let Some(index) = rows.index.replace((stride, 1, View::Q)) {
            let address = self.def(Code::Lea_r64_m, GPR, View::Q, &[Opnd::Mem(Mem { index: Some(index), ..rows })]);
            rows = Mem { index: Some((stride, 1, View::Q)), ..Mem::at(Base::Reg(address), 0) };
        }
        Opnd::Mem(rows)
    }
}

/// A configuration in memory: palette 1, bytes of the rows of each tile from byte 16 on, rows from byte 48 on.
fn configuration(shapes: &[TileShape]) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    for (i, shape) in shapes.iter().enumerate() {
        bytes[16 + 2 * i] = shape.row_bytes;
        bytes[48 + i] = shape.rows;
    }
    bytes
}
