//! Which instruction does what to which lanes: tables only.

use tflc_kir::{BinOp, CmpOp, Elem, UnOp};
use wasm_encoder::Instruction as I;

/// Unary arithmetic of whole vectors, where one instruction has it.
pub(super) fn vector_unary(op: UnOp, elem: Elem) -> Option<I<'static>> {
    use Elem::*;
    Some(match (op, elem) {
        (UnOp::Not, _) => I::V128Not,
        (UnOp::Neg, I8) => I::I8x16Neg,
        (UnOp::Neg, I16) => I::I16x8Neg,
        (UnOp::Neg, I32) => I::I32x4Neg,
        (UnOp::Neg, I64) => I::I64x2Neg,
        (UnOp::Neg, F32) => I::F32x4Neg,
        (UnOp::Neg, F64) => I::F64x2Neg,
        (UnOp::Abs, I8) => I::I8x16Abs,
        (UnOp::Abs, I16) => I::I16x8Abs,
        (UnOp::Abs, I32) => I::I32x4Abs,
        (UnOp::Abs, I64) => I::I64x2Abs,
        (UnOp::Abs, F32) => I::F32x4Abs,
        (UnOp::Abs, F64) => I::F64x2Abs,
        (UnOp::Sqrt, F32) => I::F32x4Sqrt,
        (UnOp::Sqrt, F64) => I::F64x2Sqrt,
        (UnOp::RoundEven, F32) => I::F32x4Nearest,
        (UnOp::RoundEven, F64) => I::F64x2Nearest,
        (UnOp::Floor, F32) => I::F32x4Floor,
        (UnOp::Floor, F64) => I::F64x2Floor,
        (UnOp::Ceil, F32) => I::F32x4Ceil,
        (UnOp::Ceil, F64) => I::F64x2Ceil,
        (UnOp::Trunc, F32) => I::F32x4Trunc,
        (UnOp::Trunc, F64) => I::F64x2Trunc,
        _ => return None,
    })
}

/// Unary arithmetic of scalars, where one instruction has it.
pub(super) fn scalar_unary(op: UnOp, elem: Elem) -> Option<I<'static>> {
    use Elem::*;
    Some(match (op, elem) {
        (UnOp::Not, Bool) => I::I32Eqz,
        (UnOp::LeadingZeros, I32) => I::I32Clz,
        (UnOp::LeadingZeros, I64) => I::I64Clz,
        (UnOp::Neg, F32) => I::F32Neg,
        (UnOp::Neg, F64) => I::F64Neg,
        (UnOp::Abs, F32) => I::F32Abs,
        (UnOp::Abs, F64) => I::F64Abs,
        (UnOp::Sqrt, F32) => I::F32Sqrt,
        (UnOp::Sqrt, F64) => I::F64Sqrt,
        (UnOp::RoundEven, F32) => I::F32Nearest,
        (UnOp::RoundEven, F64) => I::F64Nearest,
        (UnOp::Floor, F32) => I::F32Floor,
        (UnOp::Floor, F64) => I::F64Floor,
        (UnOp::Ceil, F32) => I::F32Ceil,
        (UnOp::Ceil, F64) => I::F64Ceil,
        (UnOp::Trunc, F32) => I::F32Trunc,
        (UnOp::Trunc, F64) => I::F64Trunc,
        _ => return None,
    })
}

/// Binary arithmetic of whole vectors, where one instruction has it. The pseudo-minimum and -maximum of floats are not here: they take
/// their operands in the other order.
pub(super) fn vector_binary(op: BinOp, elem: Elem) -> Option<I<'static>> {
    use Elem::*;
    Some(match (op, elem) {
        (BinOp::And, _) => I::V128And,
        (BinOp::Or, _) => I::V128Or,
        (BinOp::Xor, _) => I::V128Xor,
        (BinOp::Add, I8) => I::I8x16Add,
        (BinOp::Add, I16) => I::I16x8Add,
        (BinOp::Add, I32) => I::I32x4Add,
        (BinOp::Add, I64) => I::I64x2Add,
        (BinOp::Add, F32) => I::F32x4Add,
        (BinOp::Add, F64) => I::F64x2Add,
        (BinOp::Sub, I8) => I::I8x16Sub,
        (BinOp::Sub, I16) => I::I16x8Sub,
        (BinOp::Sub, I32) => I::I32x4Sub,
        (BinOp::Sub, I64) => I::I64x2Sub,
        (BinOp::Sub, F32) => I::F32x4Sub,
        (BinOp::Sub, F64) => I::F64x2Sub,
        (BinOp::Mul, I16) => I::I16x8Mul,
        (BinOp::Mul, I32) => I::I32x4Mul,
        (BinOp::Mul, I64) => I::I64x2Mul,
        (BinOp::Mul, F32) => I::F32x4Mul,
        (BinOp::Mul, F64) => I::F64x2Mul,
        (BinOp::Div, F32) => I::F32x4Div,
        (BinOp::Div, F64) => I::F64x2Div,
        (BinOp::Min, I8) => I::I8x16MinS,
        (BinOp::Min, I16) => I::I16x8MinS,
        (BinOp::Min, I32) => I::I32x4MinS,
        (BinOp::Max, I8) => I::I8x16MaxS,
        (BinOp::Max, I16) => I::I16x8MaxS,
        (BinOp::Max, I32) => I::I32x4MaxS,
        (BinOp::MinU, I8) => I::I8x16MinU,
        (BinOp::MinU, I16) => I::I16x8MinU,
        (BinOp::MinU, I32) => I::I32x4MinU,
        (BinOp::MaxU, I8) => I::I8x16MaxU,
        (BinOp::MaxU, I16) => I::I16x8MaxU,
        (BinOp::MaxU, I32) => I::I32x4MaxU,
        (BinOp::AddSatS, I8) => I::I8x16AddSatS,
        (BinOp::AddSatS, I16) => I::I16x8AddSatS,
        (BinOp::AddSatU, I8) => I::I8x16AddSatU,
        (BinOp::AddSatU, I16) => I::I16x8AddSatU,
        (BinOp::SubSatS, I8) => I::I8x16SubSatS,
        (BinOp::SubSatS, I16) => I::I16x8SubSatS,
        (BinOp::SubSatU, I8) => I::I8x16SubSatU,
        (BinOp::SubSatU, I16) => I::I16x8SubSatU,
        (BinOp::MulRoundHi, I16) => I::I16x8Q15MulrSatS,
        _ => return None,
    })
}

/// Binary arithmetic of scalars, where one instruction has it. Shifts do not saturate their amounts.
pub(super) fn scalar_binary(op: BinOp, elem: Elem) -> Option<I<'static>> {
    use Elem::*;
    Some(match (op, elem) {
        (BinOp::Add, I32) => I::I32Add,
        (BinOp::Add, I64) => I::I64Add,
        (BinOp::Add, F32) => I::F32Add,
        (BinOp::Add, F64) => I::F64Add,
        (BinOp::Sub, I32) => I::I32Sub,
        (BinOp::Sub, I64) => I::I64Sub,
        (BinOp::Sub, F32) => I::F32Sub,
        (BinOp::Sub, F64) => I::F64Sub,
        (BinOp::Mul, I32) => I::I32Mul,
        (BinOp::Mul, I64) => I::I64Mul,
        (BinOp::Mul, F32) => I::F32Mul,
        (BinOp::Mul, F64) => I::F64Mul,
        (BinOp::Div, I32) => I::I32DivS,
        (BinOp::Div, I64) => I::I64DivS,
        (BinOp::Div, F32) => I::F32Div,
        (BinOp::Div, F64) => I::F64Div,
        (BinOp::Rem, I32) => I::I32RemS,
        (BinOp::Rem, I64) => I::I64RemS,
        (BinOp::And, Bool | I32) => I::I32And,
        (BinOp::And, I64) => I::I64And,
        (BinOp::Or, Bool | I32) => I::I32Or,
        (BinOp::Or, I64) => I::I64Or,
        (BinOp::Xor, Bool | I32) => I::I32Xor,
        (BinOp::Xor, I64) => I::I64Xor,
        (BinOp::Shl, I32) => I::I32Shl,
        (BinOp::Shl, I64) => I::I64Shl,
        (BinOp::ShrU, I32) => I::I32ShrU,
        (BinOp::ShrU, I64) => I::I64ShrU,
        (BinOp::ShrS, I32) => I::I32ShrS,
        (BinOp::ShrS, I64) => I::I64ShrS,
        _ => return None,
    })
}

/// Comparison of whole vectors; the unsigned ones of 64-bit lanes are not there.
pub(super) fn vector_compare(op: CmpOp, elem: Elem) -> Option<I<'static>> {
    use CmpOp::*;
    use Elem::*;
    Some(match (op, elem) {
        (Eq, I8) => I::I8x16Eq,
        (Eq, I16) => I::I16x8Eq,
        (Eq, I32) => I::I32x4Eq,
        (Eq, I64) => I::I64x2Eq,
        (Eq, F32) => I::F32x4Eq,
        (Eq, F64) => I::F64x2Eq,
        (Ne, I8) => I::I8x16Ne,
        (Ne, I16) => I::I16x8Ne,
        (Ne, I32) => I::I32x4Ne,
        (Ne, I64) => I::I64x2Ne,
        (Ne, F32) => I::F32x4Ne,
        (Ne, F64) => I::F64x2Ne,
        (Lt, I8) => I::I8x16LtS,
        (Lt, I16) => I::I16x8LtS,
        (Lt, I32) => I::I32x4LtS,
        (Lt, I64) => I::I64x2LtS,
        (Lt, F32) => I::F32x4Lt,
        (Lt, F64) => I::F64x2Lt,
        (Le, I8) => I::I8x16LeS,
        (Le, I16) => I::I16x8LeS,
        (Le, I32) => I::I32x4LeS,
        (Le, I64) => I::I64x2LeS,
        (Le, F32) => I::F32x4Le,
        (Le, F64) => I::F64x2Le,
        (Gt, I8) => I::I8x16GtS,
        (Gt, I16) => I::I16x8GtS,
        (Gt, I32) => I::I32x4GtS,
        (Gt, I64) => I::I64x2GtS,
        (Gt, F32) => I::F32x4Gt,
        (Gt, F64) => I::F64x2Gt,
        (Ge, I8) => I::I8x16GeS,
        (Ge, I16) => I::I16x8GeS,
        (Ge, I32) => I::I32x4GeS,
        (Ge, I64) => I::I64x2GeS,
        (Ge, F32) => I::F32x4Ge,
        (Ge, F64) => I::F64x2Ge,
        (LtU, I8) => I::I8x16LtU,
        (LtU, I16) => I::I16x8LtU,
        (LtU, I32) => I::I32x4LtU,
        (LeU, I8) => I::I8x16LeU,
        (LeU, I16) => I::I16x8LeU,
        (LeU, I32) => I::I32x4LeU,
        _ => return None,
    })
}

/// Comparison of scalars.
pub(super) fn scalar_compare(op: CmpOp, elem: Elem) -> Option<I<'static>> {
    use CmpOp::*;
    use Elem::*;
    Some(match (op, elem) {
        (Eq, I32 | Ptr) => I::I32Eq,
        (Eq, I64) => I::I64Eq,
        (Eq, F32) => I::F32Eq,
        (Eq, F64) => I::F64Eq,
        (Ne, I32 | Ptr) => I::I32Ne,
        (Ne, I64) => I::I64Ne,
        (Ne, F32) => I::F32Ne,
        (Ne, F64) => I::F64Ne,
        (Lt, I32) => I::I32LtS,
        (Lt, I64) => I::I64LtS,
        (Lt, F32) => I::F32Lt,
        (Lt, F64) => I::F64Lt,
        (Le, I32) => I::I32LeS,
        (Le, I64) => I::I64LeS,
        (Le, F32) => I::F32Le,
        (Le, F64) => I::F64Le,
        (Gt, I32) => I::I32GtS,
        (Gt, I64) => I::I64GtS,
        (Gt, F32) => I::F32Gt,
        (Gt, F64) => I::F64Gt,
        (Ge, I32) => I::I32GeS,
        (Ge, I64) => I::I64GeS,
        (Ge, F32) => I::F32Ge,
        (Ge, F64) => I::F64Ge,
        (LtU, I32 | Ptr) => I::I32LtU,
        (LtU, I64) => I::I64LtU,
        (LeU, I32 | Ptr) => I::I32LeU,
        (LeU, I64) => I::I64LeU,
        _ => return None,
    })
}

/// Shift of all lanes by one amount, modulo the lane width.
pub(super) fn vector_shift(op: BinOp, elem: Elem) -> Option<I<'static>> {
    use Elem::*;
    Some(match (op, elem) {
        (BinOp::Shl, I8) => I::I8x16Shl,
        (BinOp::Shl, I16) => I::I16x8Shl,
        (BinOp::Shl, I32) => I::I32x4Shl,
        (BinOp::Shl, I64) => I::I64x2Shl,
        (BinOp::ShrU, I8) => I::I8x16ShrU,
        (BinOp::ShrU, I16) => I::I16x8ShrU,
        (BinOp::ShrU, I32) => I::I32x4ShrU,
        (BinOp::ShrU, I64) => I::I64x2ShrU,
        (BinOp::ShrS, I8) => I::I8x16ShrS,
        (BinOp::ShrS, I16) => I::I16x8ShrS,
        (BinOp::ShrS, I32) => I::I32x4ShrS,
        (BinOp::ShrS, I64) => I::I64x2ShrS,
        _ => return None,
    })
}

/// Lanes of half of a vector, widened to twice their width.
pub(super) fn extend(elem: Elem, high: bool, signed: bool) -> Option<I<'static>> {
    use Elem::*;
    Some(match (elem, high, signed) {
        (I8, false, true) => I::I16x8ExtendLowI8x16S,
        (I8, true, true) => I::I16x8ExtendHighI8x16S,
        (I8, false, false) => I::I16x8ExtendLowI8x16U,
        (I8, true, false) => I::I16x8ExtendHighI8x16U,
        (I16, false, true) => I::I32x4ExtendLowI16x8S,
        (I16, true, true) => I::I32x4ExtendHighI16x8S,
        (I16, false, false) => I::I32x4ExtendLowI16x8U,
        (I16, true, false) => I::I32x4ExtendHighI16x8U,
        (I32, false, true) => I::I64x2ExtendLowI32x4S,
        (I32, true, true) => I::I64x2ExtendHighI32x4S,
        (I32, false, false) => I::I64x2ExtendLowI32x4U,
        (I32, true, false) => I::I64x2ExtendHighI32x4U,
        _ => return None,
    })
}

/// Products of half of two vectors, in lanes of twice the width.
pub(super) fn extended_product(elem: Elem, high: bool, signed: bool) -> Option<I<'static>> {
    use Elem::*;
    Some(match (elem, high, signed) {
        (I8, false, _) => I::I16x8ExtMulLowI8x16U,
        (I8, true, _) => I::I16x8ExtMulHighI8x16U,
        (I16, false, true) => I::I32x4ExtMulLowI16x8S,
        (I16, true, true) => I::I32x4ExtMulHighI16x8S,
        (I16, false, false) => I::I32x4ExtMulLowI16x8U,
        (I16, true, false) => I::I32x4ExtMulHighI16x8U,
        (I32, false, true) => I::I64x2ExtMulLowI32x4S,
        (I32, true, true) => I::I64x2ExtMulHighI32x4S,
        (I32, false, false) => I::I64x2ExtMulLowI32x4U,
        (I32, true, false) => I::I64x2ExtMulHighI32x4U,
        _ => return None,
    })
}
