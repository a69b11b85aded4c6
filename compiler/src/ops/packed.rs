//! Integers of less than a byte: two or four to a byte in memory, the first in the lowest bits.
//!
//! Operators that only move elements work on them as on bytes: inference and evaluation see a call whose packed tensors are int8 or uint8, and what comes
//! out is packed again. The pass `widen-packed` does the same to graphs.

use crate::error::Unsupported;
use crate::ir::{DType, OpKind, TensorType};
use crate::ops::call::{Call, Inferred, Operand};
use crate::ops::value::{Value, unpack};

/// The type of bytes that holds the elements of a packed type; `None` for all others.
pub fn byte_type(dtype: DType) -> Option<DType> {
    match dtype {
        DType::Int4 | DType::Int2 => Some(DType::Int8),
        DType::UInt4 => Some(DType::UInt8),
        _ => None,
    }
}

/// A type with bytes in the place of packed integers.
pub(super) fn in_bytes(ty: &TensorType) -> TensorType {
    TensorType { dtype: byte_type(ty.dtype).unwrap_or(ty.dtype), ..ty.clone() }
}

/// Packs the low bits of bytes; what is left of the last byte is zero.
pub fn pack(dtype: DType, elements: &[u8]) -> Vec<u8> {
    let bits = dtype.bits();
    let mask = (1u8 << bits) - 1;
    let join = |part: &[u8]| part.iter().enumerate().fold(0, |byte, (i, e)| byte | (e & mask) << (i * bits));
    elements.chunks(8 / bits).map(join).collect()
}

/// A packed value as one of bytes.
pub(super) fn widened(value: &Value) -> Option<Value> {
    let dtype = byte_type(value.ty.dtype)?;
    let elements = unpack(value.ty.dtype, value.bytes(), value.ty.elements());
    Some(Value::new(TensorType { dtype, ..value.ty.clone() }, elements))
}

/// A value of bytes as a packed one of the type `ty`.
pub(super) fn narrowed(value: &Value, ty: TensorType) -> Value {
    let data = pack(ty.dtype, value.bytes());
    Value::new(ty, data)
}

/// The packed type whose elements an operator moves, from the types of its operands and results; `None` where none of them is packed, where they
/// differ, or where the operator does not take them. LiteRT moves int4, and uint4 in TRANSPOSE.
pub fn moved(op: OpKind, mut types: impl Iterator<Item = DType> + Clone) -> Option<DType> {
    let takes = matches!(op, OpKind::Concatenation | OpKind::Transpose | OpKind::Slice | OpKind::Gather | OpKind::DynamicUpdateSlice);
    let packed = types.clone().find(|d| byte_type(*d).is_some()).filter(|_| takes)?;
    let fits = |d: DType| d == packed || byte_type(d).is_none() && Some(d) != byte_type(packed);
    types.all(fits).then_some(packed)
}

/// A call with bytes in the place of packed integers.
pub(super) struct Widened {
    inputs: Vec<Option<TensorType>>,
    outputs: Vec<TensorType>,
    packed: DType,
}

impl Widened {
    /// The types of a call that moves packed integers.
    pub(super) fn of(call: &Call<'_>) -> Option<Widened> {
        let operands = call.inputs.iter().flatten().map(|o| o.ty.dtype);
        let packed = moved(call.op, operands.chain(call.outputs.iter().map(|t| t.dtype)))?;
        let inputs = call.inputs.iter().map(|o| o.as_ref().map(|o| in_bytes(o.ty))).collect();
        Some(Widened { inputs, outputs: call.outputs.iter().map(|t| in_bytes(t)).collect(), packed })
    }

    /// The call of bytes.
    pub(super) fn call<'a>(&'a self, call: &Call<'a>) -> Call<'a> {
        let operand = |(o, ty): (&Option<Operand<'a>>, &'a Option<TensorType>)| {
            let (o, ty) = (o.as_ref()?, ty.as_ref()?);
            let data = o.data.filter(|_| ty.dtype == o.ty.dtype);
            Some(Operand { ty, data, ..*o })
        };
        let inputs = call.inputs.iter().zip(&self.inputs).map(operand).collect();
        Call { inputs, outputs: self.outputs.iter().collect(), ..call.clone() }
    }

    /// Types of results that are packed again.
    fn packed(&self, types: Vec<TensorType>) -> Vec<TensorType> {
        let narrow = |t: TensorType| if Some(t.dtype) == byte_type(self.packed) { TensorType { dtype: self.packed, ..t } } else { t };
        types.into_iter().map(narrow).collect()
    }

    /// What inference gives for the call of bytes, packed again; the declared results must be packed too.
    pub(super) fn infer(&self, call: &Call<'_>, infer: impl Fn(&Call<'_>) -> Inferred) -> Inferred {
        if let Some(t) = call.outputs.iter().find(|t| t.dtype != self.packed) {
            return Err(call.unsupported(Unsupported::Types(format!("{} to {}", self.packed, t.dtype))));
        }
        Ok(self.packed(infer(&self.call(call))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Attrs;
    use crate::ops::table::tests::apply;

    #[test]
    fn elements_go_back_where_they_came_from() {
        assert_eq!(pack(DType::Int4, &[1, 0xff, 7]), [0xf1, 0x07]);
        assert_eq!(pack(DType::Int2, &[1, 0xfe, 0, 3, 2]), [0b11_00_10_01, 0b10]);
        assert_eq!(unpack(DType::UInt4, &[0xf1, 0x07], 3), [1, 15, 7]);
    }

    #[test]
    fn rows_of_odd_length_are_turned() {
        let x = Value::new(TensorType::new(DType::Int4, [2, 3]), pack(DType::Int4, &[1, 2, 3, 4, 5, 6]));
        let order = Value::new(TensorType::new(DType::Int32, [2]), vec![1i32, 0]);
        let y = apply(OpKind::Transpose, Attrs::new(), &[&x, &order], &[TensorType::new(DType::Int4, [3, 2])]).unwrap();
        assert_eq!(unpack(DType::Int4, y[0].bytes(), 6), [1, 4, 2, 5, 3, 6]);
    }

    #[test]
    fn bytes_and_packed_integers_do_not_mix() {
        use DType::{Int4, Int8, Int32};
        assert_eq!(moved(OpKind::Concatenation, [Int4, Int4].into_iter()), Some(Int4));
        assert_eq!(moved(OpKind::Concatenation, [Int4, Int8].into_iter()), None);
        assert_eq!(moved(OpKind::Gather, [Int4, Int32].into_iter()), Some(Int4));
        assert_eq!(moved(OpKind::Pad, [Int4].into_iter()), None);
    }
}
