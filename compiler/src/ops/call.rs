//! One application of an operator, as inference and evaluation see it: attributes, operand types and values, declared result types.
//!
//! The same structure serves before a run (types as declared, values of constants only) and during one (real types, all
//! values), so an operator has one function that says what its results look like. Accessors check and give errors with a place.

use crate::error::{CompileError, Place, Unsupported};
use crate::ir::{Affine, Attrs, Bytes, DType, Graph, GraphId, Model, Node, OpKind, Quantization, TensorId, TensorType};
use crate::ops::value::ints;

/// An operand: its type, and its value where that is known.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    /// Type.
    pub ty: &'a TensorType,
    /// Bytes of a constant, or of any tensor during a run.
    pub data: Option<&'a Bytes>,
    /// Whether the model holds it as a constant.
    pub constant: bool,
    /// Whether the tensor keeps its value from run to run.
    pub variable: bool,
}

/// One application of an operator.
#[derive(Clone)]
pub struct Call<'a> {
    /// The model, for graphs that the operator calls.
    pub model: &'a Model,
    /// The graph that holds the node, for tensors named by quantisation.
    pub graph: &'a Graph,
    /// Operator.
    pub op: OpKind,
    /// Options.
    pub attrs: &'a Attrs,
    /// Operands in the schema's order.
    pub inputs: Vec<Option<Operand<'a>>>,
    /// Types that the model declares for the results.
    pub outputs: Vec<&'a TensorType>,
    /// Types of scratch tensors that carry quantisation.
    pub intermediates: Vec<&'a TensorType>,
    /// Where the node is.
    pub place: Place,
}

/// The most bytes of one tensor.
pub const MAX_TENSOR_BYTES: usize = 1 << 32;

/// What inference gives: the types of the results.
pub type Inferred = Result<Vec<TensorType>, CompileError>;

impl<'a> Call<'a> {
    /// The node `index` of the graph `id` with types as declared; a fused tail is ignored, so the first result has the type before it.
    ///
    /// # Panics
    /// Where the node names tensors that the graph lacks (the verifier has seen to that).
    pub fn of(model: &'a Model, id: GraphId, node: &'a Node, index: usize) -> Call<'a> {
        let graph = &model.graphs[id.index()];
        Call::with(model, id, node, index, |t| {
            let t = graph.tensor(t);
            Operand { ty: &t.ty, data: t.data.as_ref(), constant: t.data.is_some(), variable: t.variable }
        })
    }

    /// The same with operands from a function.
    ///
    /// # Panics
    /// Where the node names tensors that the graph lacks.
    pub fn with(model: &'a Model, id: GraphId, node: &'a Node, index: usize, operand: impl Fn(TensorId) -> Operand<'a>) -> Call<'a> {
        let graph = &model.graphs[id.index()];
        let mut outputs: Vec<&TensorType> = node.outputs.iter().map(|t| graph.ty(*t)).collect();
        if let (Some(tail), Some(first)) = (&node.tail, outputs.first_mut()) {
            *first = &tail.result;
        }
        Call {
            model,
            graph,
            op: node.op,
            attrs: &node.attrs,
            inputs: node.inputs.iter().map(|t| t.map(&operand)).collect(),
            outputs,
            intermediates: node.intermediates.iter().map(|t| graph.ty(*t)).collect(),
            place: Place { subgraph: Some(id.0), operator: Some((index as u32, node.op.name().to_string())), tensor: None },
        }
    }

    /// An error of the model at this operator.
    pub fn invalid(&self, reason: impl Into<String>) -> CompileError {
        CompileError::invalid(self.place.clone(), reason)
    }

    /// Something that this operator lacks.
    pub fn unsupported(&self, what: Unsupported) -> CompileError {
        CompileError::unsupported(self.place.clone(), what)
    }

    /// An error of quantisation that this operator lacks.
    pub fn bad_quantization(&self, what: impl Into<String>) -> CompileError {
        self.unsupported(Unsupported::Quantization(what.into()))
    }

    /// Checks that there are between `min` and `max` operands, the first `min` present, and `outputs` results.
    pub fn arity(&self, min: usize, max: usize, outputs: usize) -> Result<(), CompileError> {
        if self.inputs.len() < min || self.inputs.len() > max {
            return Err(self.invalid(format!("{} operands where the operator takes {min} to {max}", self.inputs.len())));
        }
        if let Some(i) = self.inputs[..min].iter().position(Option::is_none) {
            return Err(self.invalid(format!("operand {i} is missing")));
        }
        if self.outputs.len() != outputs {
            return Err(self.invalid(format!("{} results where the operator has {outputs}", self.outputs.len())));
        }
        Ok(())
    }

    /// The operand `i`.
    pub fn operand(&self, i: usize) -> Result<Operand<'a>, CompileError> {
        self.optional(i).ok_or_else(|| self.invalid(format!("operand {i} is missing")))
    }

    /// The operand `i`, which may be absent.
    pub fn optional(&self, i: usize) -> Option<Operand<'a>> {
        self.inputs.get(i).copied().flatten()
    }

    /// Type of the operand `i`.
    pub fn input(&self, i: usize) -> Result<&'a TensorType, CompileError> {
        Ok(self.operand(i)?.ty)
    }

    /// Shape of the operand `i`, which has exactly `N` dimensions.
    pub fn dims<const N: usize>(&self, i: usize) -> Result<[usize; N], CompileError> {
        let ty = self.input(i)?;
        <[usize; N]>::try_from(&ty.shape[..])
            .map_err(|_| self.invalid(format!("operand {i} has shape {:?}; {N} dimensions are needed", ty.shape)))
    }

    /// The declared type of the result `i`.
    pub fn output(&self, i: usize) -> Result<&'a TensorType, CompileError> {
        self.outputs.get(i).copied().ok_or_else(|| self.invalid(format!("result {i} is missing")))
    }

    /// Checks that operand `i` has one of these element types.
    pub fn dtype_among(&self, i: usize, dtypes: &[DType]) -> Result<DType, CompileError> {
        let dtype = self.input(i)?.dtype;
        if dtypes.contains(&dtype) { Ok(dtype) } else { Err(self.unsupported(Unsupported::Types(format!("{dtype} as operand {i}")))) }
    }

    /// Checks that two operands have the same element type.
    pub fn same_dtype(&self, a: usize, b: usize) -> Result<(), CompileError> {
        let (x, y) = (self.input(a)?.dtype, self.input(b)?.dtype);
        if x == y { Ok(()) } else { Err(self.invalid(format!("operands {a} and {b} have types {x} and {y}"))) }
    }

    /// Integers of operand `i`, which is an integer tensor of at most `max` elements.
    /// Where its value is not known, the shape is known only at run time.
    pub fn ints(&self, i: usize, max: usize) -> Result<Vec<i64>, CompileError> {
        let operand = self.operand(i)?;
        if !matches!(operand.ty.dtype, DType::Int8 | DType::UInt8 | DType::Int16 | DType::Int32 | DType::Int64 | DType::UInt32) {
            return Err(self.unsupported(Unsupported::Types(format!("{} as operand {i}", operand.ty.dtype))));
        }
        if operand.ty.elements() > max {
            return Err(self.invalid(format!("operand {i} has {} elements; at most {max} make sense", operand.ty.elements())));
        }
        let data = operand.data.ok_or_else(|| self.unsupported(Unsupported::DynamicShape))?;
        match ints(operand.ty.dtype, data) {
            Some(v) if v.len() == operand.ty.elements() => Ok(v),
            _ => Err(self.invalid(format!("operand {i} has {} bytes", data.len()))),
        }
    }

    /// The one integer of operand `i`.
    pub fn int(&self, i: usize) -> Result<i64, CompileError> {
        match self.ints(i, 1)?[..] {
            [v] => Ok(v),
            _ => Err(self.invalid(format!("operand {i} is empty"))),
        }
    }

    /// Per-tensor scale and zero point of a type that must be quantised.
    pub fn quant(&self, ty: &TensorType) -> Result<(f32, i32), CompileError> {
        match self.operand_quant(ty)? {
            (0.0, _) => Err(self.invalid("scale 0".to_string())),
            q => Ok(q),
        }
    }

    /// The same of an operand whose scale nothing is divided by: it may be 0, which converters give tensors that are 0 throughout.
    pub fn operand_quant(&self, ty: &TensorType) -> Result<(f32, i32), CompileError> {
        let (scale, zero) =
            ty.quant.per_tensor().ok_or_else(|| self.bad_quantization(format!("{} needs one scale and zero point", ty.dtype)))?;
        let range = ty.dtype.int_range().unwrap_or((i32::MIN as i64, i32::MAX as i64));
        if !(scale.is_finite() && scale >= 0.0) {
            return Err(self.invalid(format!("scale {scale}")));
        }
        if zero < range.0 || zero > range.1 {
            return Err(self.invalid(format!("zero point {zero} of {}", ty.dtype)));
        }
        Ok((scale, zero as i32))
    }

    /// Scales of weights, one or `channels` along `axis`, and their zero points.
    pub fn weight_quant(&self, ty: &'a TensorType, axis: usize, channels: usize) -> Result<&'a Affine, CompileError> {
        let q = ty.quant.affine().ok_or_else(|| self.bad_quantization(format!("weights of {}", ty.dtype)))?;
        if q.scale.len() != q.zero_point.len() || q.scale.is_empty() {
            return Err(self.invalid(format!("{} scales and {} zero points", q.scale.len(), q.zero_point.len())));
        }
        if q.scale.len() > 1 && (q.scale.len() != channels || q.axis != axis) {
            return Err(self.invalid(format!("{} scales along axis {} for {channels} channels along axis {axis}", q.scale.len(), q.axis)));
        }
        if let Some(s) = q.scale.iter().find(|s| !s.is_finite()) {
            return Err(self.invalid(format!("scale {s}")));
        }
        Ok(q)
    }

    /// The type of result `i` with this element type and shape, and the declared quantisation.
    pub fn result(&self, i: usize, dtype: DType, shape: impl Into<Vec<usize>>) -> Result<TensorType, CompileError> {
        let declared = self.output(i)?;
        if declared.dtype != dtype {
            return Err(self.invalid(format!("result {i} is declared as {}; the operator gives {dtype}", declared.dtype)));
        }
        self.sized(TensorType { dtype, shape: shape.into(), quant: declared.quant.clone() })
    }

    /// Checks that a type is not too large.
    pub fn sized(&self, ty: TensorType) -> Result<TensorType, CompileError> {
        let elements = ty.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let bytes = elements.and_then(|n| n.checked_mul(ty.dtype.bits().max(8)).map(|b| b.div_ceil(8)));
        match bytes {
            Some(b) if b <= MAX_TENSOR_BYTES && ty.shape.len() <= MAX_RANK => Ok(ty),
            _ => Err(CompileError::LimitExceeded {
                place: self.place.clone(),
                reason: format!("a tensor of shape {:?}; at most {MAX_TENSOR_BYTES} bytes and {MAX_RANK} dimensions", ty.shape),
            }),
        }
    }

    /// The axis `axis` of `rank` dimensions, which counts from the end where negative.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize, CompileError> {
        let at = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
        at.and_then(|a| usize::try_from(a).ok())
            .filter(|a| *a < rank)
            .ok_or_else(|| self.invalid(format!("axis {axis} of {rank} dimensions")))
    }

    /// Whether operand `i` is quantised per tensor like result 0.
    pub fn same_quant(&self, a: &TensorType, b: &TensorType) -> bool {
        a.quant.per_tensor() == b.quant.per_tensor()
    }

    /// An attribute that is a positive size no larger than 2^31.
    pub fn size_attr(&self, name: &str, default: i64) -> Result<usize, CompileError> {
        let v = self.attrs.int(name, default);
        usize::try_from(v).ok().filter(|v| (1..=1 << 31).contains(v)).ok_or_else(|| self.invalid(format!("{name} = {v}")))
    }
}

/// The most dimensions of one tensor.
pub const MAX_RANK: usize = 16;

/// Whether a type is quantised with scales.
pub fn is_quantized(ty: &TensorType) -> bool {
    matches!(ty.dtype, DType::Int8 | DType::UInt8 | DType::Int16) && !matches!(ty.quant, Quantization::None)
}
