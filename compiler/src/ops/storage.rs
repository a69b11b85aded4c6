//! Memory types of pointwise expressions for element types of tensors, and how integers and floats move into compute types.

use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, TensorType};
use crate::ops::call::Call;
use tflc_templates::expr::{ExprBuilder, Storage};

/// The memory type of an element type; `None` for those that expressions lack.
pub fn storage(dtype: DType) -> Option<Storage> {
    Some(match dtype {
        DType::Float32 => Storage::F32,
        DType::Float64 => Storage::F64,
        DType::Float16 => Storage::F16,
        DType::BFloat16 => Storage::BF16,
        DType::Int8 => Storage::I8,
        DType::UInt8 => Storage::U8,
        DType::Int16 => Storage::I16,
        DType::UInt16 => Storage::U16,
        DType::Int32 | DType::Resource => Storage::I32,
        DType::UInt32 => Storage::U32,
        DType::Int64 | DType::UInt64 => Storage::I64,
        DType::Bool => Storage::Bool,
        _ => return None,
    })
}

/// The memory type of a tensor's elements, or the error that the operator does not take it.
pub fn storage_of(call: &Call<'_>, ty: &TensorType) -> Result<Storage, CompileError> {
    storage(ty.dtype).ok_or_else(|| call.unsupported(Unsupported::Types(ty.dtype.to_string())))
}

/// An expression over all present operands.
pub fn over_operands(call: &Call<'_>) -> Result<ExprBuilder, CompileError> {
    let inputs = call.inputs.iter().flatten().map(|o| storage_of(call, o.ty)).collect::<Result<Vec<_>, _>>()?;
    Ok(ExprBuilder::new(inputs))
}
