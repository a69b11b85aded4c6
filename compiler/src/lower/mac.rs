//! Accumulating kernels with constant weights: one face for matrix products, convolutions, depthwise and transposed convolutions.
//!
//! In: a kernel's specification with its epilogue left open, weights, and the operator's own epilogue. Out: packed weights and the call of
//! the kernel. Integer kernels start from a bias that holds the compensation for zero points, or get it as an operand of its own.

use super::context::{Cx, KernelKey, Operand};
use super::epilogue::{Correction, Sources, compose};
use super::pointwise::emit;
use crate::error::{CompileError, Unsupported};
use crate::ir::{Bytes, DType, Node, TensorId};
use crate::ops::conv_2d::Arithmetic;
use crate::ops::fully_connected::transposed;
use crate::ops::requant;
use half::slice::HalfFloatSliceExt;
use std::sync::Arc;
use tflc_kir::{Caps, Kernel};
use tflc_templates::cpu::conv::{self, ConvSpec};
use tflc_templates::cpu::depthwise::{self, DepthwiseSpec};
use tflc_templates::cpu::epilogue::Epilogue;
use tflc_templates::cpu::gemm::{self, GemmSpec};
use tflc_templates::cpu::mac::WeightFormat;
use tflc_templates::cpu::pointwise::PointwiseSpec;
use tflc_templates::cpu::quantize_rows::Rule;
use tflc_templates::cpu::transpose_conv::{self, TransposeConvSpec};
use tflc_templates::expr::{ExprBuilder, Storage};

/// A kernel that multiplies activations with weights.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Mac {
    /// A matrix product, with the zero point of its activations.
    Gemm(GemmSpec, i32),
    /// A convolution.
    Conv(ConvSpec),
    /// A depthwise convolution.
    Depthwise(DepthwiseSpec),
    /// A transposed convolution.
    Transposed(TransposeConvSpec),
}

impl Mac {
    /// The same kernel on other activations and with another epilogue.
    pub(super) fn with(&self, storage: Storage, zero_point: i32, with: Epilogue) -> Mac {
        let mut mac = self.clone();
        let (a, zero, epilogue) = match &mut mac {
            Mac::Gemm(s, zero) => (&mut s.a_storage, zero, &mut s.epilogue),
            Mac::Conv(s) => (&mut s.a_storage, &mut s.a_zero_point, &mut s.epilogue),
            Mac::Depthwise(s) => (&mut s.a_storage, &mut s.a_zero_point, &mut s.epilogue),
            Mac::Transposed(s) => (&mut s.a_storage, s.a_zero_point.insert(0), &mut s.epilogue),
        };
        (*a, *zero, *epilogue) = (storage, zero_point, with);
        mac
    }

    /// Output channels.
    pub(super) fn columns(&self) -> usize {
        match self {
            Mac::Gemm(s, _) => s.n,
            Mac::Conv(s) => s.output[2],
            Mac::Depthwise(s) => s.channels(),
            Mac::Transposed(s) => s.output[2],
        }
    }

    /// Rows of the result: output pixels of convolutions.
    pub(super) fn rows(&self) -> usize {
        match self {
            Mac::Gemm(s, _) => s.m,
            Mac::Conv(s) => s.batch * s.output[0] * s.output[1],
            Mac::Depthwise(s) => s.batch * s.output[0] * s.output[1],
            Mac::Transposed(s) => s.batch * s.output[0] * s.output[1],
        }
    }

    /// Products that are summed for one output, at most.
    pub(super) fn depth(&self) -> usize {
        match self {
            Mac::Gemm(s, _) => s.k,
            Mac::Conv(s) => s.kernel[0] * s.kernel[1] * s.input[2] / s.groups,
            Mac::Depthwise(s) => s.kernel[0] * s.kernel[1],
            Mac::Transposed(s) => s.kernel[0] * s.kernel[1] * s.input[2],
        }
    }

    /// Elements of the activations.
    pub(super) fn inputs(&self) -> usize {
        match self {
            Mac::Gemm(s, _) => s.m * s.k,
            Mac::Conv(s) => s.batch * s.input.iter().product::<usize>(),
            Mac::Depthwise(s) => s.batch * s.input.iter().product::<usize>(),
            Mac::Transposed(s) => s.batch * s.input.iter().product::<usize>(),
        }
    }

    /// Whether the kernel subtracts zero points itself.
    pub(super) fn is_exact(&self) -> bool {
        matches!(self, Mac::Transposed(_))
    }

    /// Packs weights into zeros.
    fn pack(&self, caps: &Caps, weights: &[u8], out: &mut [u8]) {
        match self {
            Mac::Gemm(s, _) => gemm::pack_b_into(s, caps, weights, out),
            Mac::Conv(s) => out.copy_from_slice(&conv::pack_b(s, caps, weights)),
            Mac::Depthwise(s) => out.copy_from_slice(&depthwise::pack_b(s, caps, weights)),
            Mac::Transposed(s) => out.copy_from_slice(&transpose_conv::pack_b(s, caps, weights)),
        }
    }

    /// Size of what `pack` writes.
    fn packed_bytes(&self, caps: &Caps) -> usize {
        match self {
            Mac::Gemm(s, _) => gemm::packed_bytes(s, caps),
            Mac::Conv(s) => conv::packed_bytes(s, caps),
            Mac::Depthwise(s) => depthwise::packed_bytes(s, caps),
            Mac::Transposed(s) => transpose_conv::packed_bytes(s, caps),
        }
    }

    fn folded_bias(&self, caps: &Caps, bias: Option<&[i32]>, weights: &[u8]) -> Vec<i32> {
        match self {
            Mac::Gemm(s, zero) => gemm::folded_bias(s, caps, bias, weights, *zero),
            Mac::Conv(s) => conv::folded_bias(s, caps, bias, weights),
            Mac::Depthwise(s) => depthwise::folded_bias(s, caps, bias, weights),
            Mac::Transposed(s) => bias.map_or_else(|| vec![0; s.output[2]], <[i32]>::to_vec),
        }
    }

    /// Sum of the weights of each column; of kernels that meet all their weights at every output.
    fn weight_sums(&self, weights: &[u8]) -> Vec<i32> {
        match self {
            Mac::Gemm(s, _) => gemm::weight_sums(s, weights),
            Mac::Conv(s) => conv::weight_sums(s, weights),
            Mac::Depthwise(s) => depthwise::weight_sums(s, weights),
            Mac::Transposed(s) => vec![0; s.output[2]],
        }
    }

    fn units(&self, caps: &Caps) -> (usize, usize) {
        match self {
            Mac::Gemm(s, _) => (gemm::units(s, caps), gemm::grain(s, caps)),
            Mac::Conv(s) => (conv::units(s, caps), conv::grain(s, caps)),
            Mac::Depthwise(s) => (depthwise::units(s), depthwise::grain(s)),
            Mac::Transposed(s) => (transpose_conv::units(s, caps), transpose_conv::grain(s, caps)),
        }
    }

    /// The kind of product, for readers.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Mac::Gemm(..) => "gemm",
            Mac::Conv(_) => "conv",
            Mac::Depthwise(_) => "depthwise",
            Mac::Transposed(_) => "transpose_conv",
        }
    }

    fn build(&self, caps: &Caps) -> Kernel {
        match self {
            Mac::Gemm(s, _) => gemm::build(s, caps),
            Mac::Conv(s) => conv::build(s, caps),
            Mac::Depthwise(s) => depthwise::build(s, caps),
            Mac::Transposed(s) => transpose_conv::build(s, caps),
        }
    }

    /// What the packing depends on: everything but the epilogue.
    fn packing(&self) -> Mac {
        let mut mac = self.clone();
        *match &mut mac {
            Mac::Gemm(s, _) => &mut s.epilogue,
            Mac::Conv(s) => &mut s.epilogue,
            Mac::Depthwise(s) => &mut s.epilogue,
            Mac::Transposed(s) => &mut s.epilogue,
        } = Epilogue::identity(Storage::I32);
        mac
    }

    /// Packs the weights for this kernel.
    pub(super) fn packed(&self, cx: &mut Cx<'_, '_>, w: &Weights) -> Operand {
        let caps = cx.caps().clone();
        let bytes = self.packed_bytes(&caps);
        let (mac, w) = (self.clone(), w.clone());
        let form = w.form.clone();
        cx.packed_for(w.tensor, &form, self.packing(), bytes, move |out| mac.pack(&caps, &(w.expand)(), out))
    }

    /// The bias `bias` with this kernel's compensation.
    pub(super) fn compensated(&self, cx: &mut Cx<'_, '_>, w: &Weights, bias: Option<TensorId>) -> Result<Operand, CompileError> {
        if let Some(t) = bias.filter(|t| cx.constant(*t).is_none()) {
            return self.added(cx, w, t);
        }
        let values = int_bias(cx, bias)?;
        let (mac, caps) = (self.clone(), cx.caps().clone());
        let name = bias.map(|t| cx.name(t));
        Ok(self.per_column(cx, w, &format!("bias {name:?}"), move |w| mac.folded_bias(&caps, values.as_deref(), w)))
    }

    /// A computed bias plus this kernel's compensation.
    fn added(&self, cx: &mut Cx<'_, '_>, w: &Weights, bias: TensorId) -> Result<Operand, CompileError> {
        let columns = self.columns();
        if cx.ty(bias).dtype != DType::Int32 || cx.ty(bias).elements() != columns {
            return Err(cx.unsupported(Unsupported::Types(format!("a computed bias of {}", cx.ty(bias).dtype))));
        }
        let fixed = self.compensated(cx, w, None)?;
        let (from, out) = (cx.operand(bias)?, cx.workspace(columns * 4));
        let mut b = ExprBuilder::new([Storage::I32, Storage::I32]);
        let (x, y) = (b.input(0), b.input(1));
        let sum = b.add(x, y);
        let spec = PointwiseSpec::new(&[columns], vec![vec![1], vec![1]], vec![1], b.finish(sum, Storage::I32));
        emit(cx, spec, vec![from, fixed, out]);
        Ok(out)
    }

    /// Sums of the weights.
    pub(super) fn sums(&self, cx: &mut Cx<'_, '_>, w: &Weights) -> Operand {
        let mac = self.clone();
        self.per_column(cx, w, "sums", move |w| mac.weight_sums(w))
    }

    fn per_column(&self, cx: &mut Cx<'_, '_>, w: &Weights, what: &str, of: impl Fn(&[u8]) -> Vec<i32> + Send + Sync + 'static) -> Operand {
        let w = w.clone();
        cx.packed_for(w.tensor, &format!("{what} {}", w.form), self.packing(), self.columns() * 4, move |out| {
            for (to, v) in out.as_chunks_mut().0.iter_mut().zip(of(&(w.expand)())) {
                *to = v.to_le_bytes();
            }
        })
    }

    /// Appends the call; arguments are activations, packed weights and result, then what the epilogue reads.
    pub(super) fn call(self, cx: &mut Cx<'_, '_>, args: Vec<Operand>) {
        let caps = cx.caps().clone();
        let (units, grain) = self.units(&caps);
        // The kernel does not depend on the zero point, which is for its bias.
        let mac = Arc::new(if let Mac::Gemm(spec, _) = self { Mac::Gemm(spec, 0) } else { self });
        cx.call_kernel(KernelKey::Mac(mac.clone()), move || mac.build(&caps), args, units as u64, grain as u64);
    }
}

/// An accumulating operator: its kernel and everything around it.
#[derive(Clone, Debug)]
pub(super) struct Product {
    /// The kernel, on the activations as they are stored; its epilogue is not looked at.
    pub(super) mac: Mac,
    /// Weights.
    pub(super) weights: Weights,
    /// What the operator does with accumulators.
    pub(super) base: requant::Epilogue,
    /// Its bias.
    pub(super) bias: Option<TensorId>,
    /// Kind of arithmetic.
    pub(super) arithmetic: Arithmetic,
    /// How activations are quantised in hybrid arithmetic.
    pub(super) rule: Rule,
    /// Activations.
    pub(super) source: Operand,
    /// Their type.
    pub(super) storage: Storage,
    /// Their zero point.
    pub(super) zero_point: i32,
    /// Result.
    pub(super) out: Operand,
}

impl Product {
    /// The product with weights of halves, where the target accumulates in them. A channel of a depthwise convolution sums a few products of activations, which
    /// would have to become halves first: that takes longer than it saves.
    fn in_halves(self, cx: &Cx<'_, '_>) -> Product {
        if !cx.caps().f16 || self.arithmetic != Arithmetic::Float || matches!(self.mac, Mac::Depthwise(_)) {
            return self;
        }
        let weights = self.weights.rounded_to_halves();
        let mut mac = self.mac;
        match &mut mac {
            Mac::Gemm(s, _) => s.weights = weights.format,
            Mac::Conv(s) => s.weights = weights.format,
            Mac::Depthwise(s) => s.weights = weights.format,
            Mac::Transposed(s) => s.weights = weights.format,
        }
        Product { mac, weights, ..self }
    }

    /// The product with weights of halves, where they are stored so and the target multiplies such as fast.
    fn as_stored(self, cx: &Cx<'_, '_>) -> Product {
        if self.arithmetic != Arithmetic::Float || self.weights.halves.is_none() || !cx.target().widens_halves() {
            return self;
        }
        let mut mac = self.mac.clone();
        match &mut mac {
            Mac::Gemm(s, _) if gemm::suits_halves(s, cx.caps()) => s.weights = WeightFormat::F16,
            Mac::Conv(s) if conv::suits_halves(s, cx.caps()) => s.weights = WeightFormat::F16,
            _ => return self,
        }
        Product { mac, weights: self.weights.as_halves(), ..self }
    }

    /// Appends the calls.
    ///
    /// # Errors
    /// `Unsupported` for types that no kernel takes.
    pub(super) fn lower(self, cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
        match self.arithmetic {
            Arithmetic::Hybrid => super::hybrid::lower(cx, node, self),
            Arithmetic::Quantized16 => {
                let source = self.source;
                super::wide::lower(cx, node, self, source, None)
            }
            Arithmetic::Float | Arithmetic::Quantized => {
                let product = self.in_halves(cx).as_stored(cx);
                let integer = product.arithmetic == Arithmetic::Quantized;
                let correction = if integer && !product.mac.is_exact() { Correction::Folded } else { Correction::None };
                let composed = compose(cx, node, &product.base, if integer { Storage::I32 } else { Storage::F32 }, correction)?;
                let mac = product.mac.with(product.storage, product.zero_point, composed.epilogue.clone());
                let packed = mac.packed(cx, &product.weights);
                let mut from = Sources::default();
                if correction == Correction::Folded {
                    from.bias = Some(mac.compensated(cx, &product.weights, product.bias)?);
                    from.compensation = from.bias;
                } else if let Some(t) = product.bias {
                    from.bias = Some(cx.operand(t)?);
                }
                let mut args = vec![product.source, packed, product.out];
                args.extend(composed.operands(cx, &from)?);
                mac.call(cx, args);
                Ok(())
            }
        }
    }
}

/// Constant weights as kernels pack them: unpacked or widened when asked for.
#[derive(Clone)]
pub(super) struct Weights {
    pub(super) tensor: TensorId,
    pub(super) format: WeightFormat,
    /// What tells this form of the tensor from others.
    pub(super) form: String,
    pub(super) expand: Arc<dyn Fn() -> Bytes + Send + Sync>,
    /// The same as halves, where the model has them so.
    pub(super) halves: Option<Bytes>,
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Weights").field("tensor", &self.tensor).field("format", &self.format).field("form", &self.form).finish()
    }
}

impl Weights {
    /// The weights in a constant tensor.
    ///
    /// # Errors
    /// `Unsupported` where they are computed, or of a type that no kernel takes.
    pub(super) fn of(cx: &Cx<'_, '_>, t: TensorId, zero_point: i32) -> Result<Weights, CompileError> {
        let ty = cx.ty(t);
        let data = cx.require_constant(t, "weights")?.clone();
        let (dtype, elements, stored) = (ty.dtype, ty.elements(), data.clone());
        let format = match dtype {
            DType::Float32 | DType::Float16 => WeightFormat::F32,
            DType::Int8 | DType::Int4 | DType::Int2 if zero_point == 0 => WeightFormat::I8,
            // Bytes are stored 128 higher, so that one format has zero points.
            DType::Int8 | DType::Int4 | DType::Int2 => WeightFormat::U8 { zero_point: zero_point + 128 },
            DType::UInt8 => WeightFormat::U8 { zero_point },
            other => return Err(cx.unsupported(Unsupported::Types(format!("weights of {other}")))),
        };
        let flip = if dtype != DType::UInt8 && matches!(format, WeightFormat::U8 { .. }) { 0x80 } else { 0 };
        let expand = move || match dtype {
            DType::Float16 => {
                let mut wide = vec![0f32; data.len() / 2];
                // The bytes may lie anywhere: a few at a time go where halves may.
                let mut halves = [half::f16::ZERO; 512];
                for (wide, data) in wide.chunks_mut(512).zip(data.chunks(1024)) {
                    let halves = &mut halves[..wide.len()];
                    bytemuck::cast_slice_mut(halves).copy_from_slice(data);
                    halves.convert_to_f32_slice(wide);
                }
                crate::ops::value::bytes_of(wide)
            }
            DType::Int4 | DType::Int2 => {
                let values = crate::ops::value::unpack(dtype, &data, elements);
                Bytes::from(values.into_iter().map(|v| v as u8 ^ flip).collect::<Vec<u8>>())
            }
            _ if flip != 0 => Bytes::from(data.iter().map(|v| v ^ flip).collect::<Vec<u8>>()),
            _ => data.clone(),
        };
        let halves = (dtype == DType::Float16).then_some(stored);
        Ok(Weights { tensor: t, format, form: String::new(), expand: Arc::new(expand), halves })
    }

    /// The same weights as halves, where these hold every value of theirs; models with weights of float16 have such ones.
    pub(super) fn as_halves(self) -> Weights {
        if let (WeightFormat::F32, Some(halves)) = (self.format, self.halves.clone()) {
            let form = format!("{} halves", self.form);
            return Weights { format: WeightFormat::F16, form, expand: Arc::new(move || halves.clone()), ..self };
        }
        self.halves_where(is_half)
    }

    /// The same weights rounded to halves, where none becomes infinite.
    fn rounded_to_halves(self) -> Weights {
        self.halves_where(|v| half::f16::from_f32(v).is_finite())
    }

    fn halves_where(self, holds: impl Fn(f32) -> bool) -> Weights {
        let all = |bytes: &[u8]| bytes.as_chunks().0.iter().all(|b| holds(f32::from_le_bytes(*b)));
        if self.format != WeightFormat::F32 || !all(&(self.expand)()) {
            return self;
        }
        let wide = self.expand.clone();
        let expand = move || {
            let halves = wide().as_chunks().0.iter().map(|b| half::f16::from_f32(f32::from_le_bytes(*b))).collect::<Vec<_>>();
            crate::ops::value::bytes_of(halves)
        };
        Weights { format: WeightFormat::F16, form: format!("{} halves", self.form), expand: Arc::new(expand), ..self }
    }

    /// Matrix `i` of a batch of `[k, n]` matrices of bytes, as `[n, k]`.
    pub(super) fn matrix(&self, i: usize, k: usize, n: usize, turned: bool) -> Weights {
        let all = self.expand.clone();
        let expand = move || {
            let all = all();
            let matrix = &all[i * k * n..(i + 1) * k * n];
            if turned { Bytes::from(matrix.to_vec()) } else { Bytes::from(transposed(matrix, k, n)) }
        };
        Weights { form: format!("matrix {i} {turned}"), expand: Arc::new(expand), halves: None, ..self.clone() }
    }
}

/// Whether a half has the value.
fn is_half(v: f32) -> bool {
    let bits = v.to_bits();
    // Exponents that halves have; the others are few.
    if matches!(bits >> 23 & 0xFF, 113..=142) {
        return bits & 0x1FFF == 0;
    }
    half::f16::from_f32(v).to_f32().to_bits() == v.to_bits()
}

/// Activations as the kernels multiply them, or make something of them, and their storage; halves are widened.
pub(super) fn activations(cx: &mut Cx<'_, '_>, t: TensorId) -> Result<(Operand, Storage), CompileError> {
    let base = cx.operand(t)?;
    match cx.ty(t).dtype {
        DType::Float32 => Ok((base, Storage::F32)),
        DType::Float16 => {
            let elements = cx.ty(t).elements();
            Ok((widened(cx, base, elements), Storage::F32))
        }
        DType::Int8 => Ok((base, Storage::I8)),
        DType::UInt8 => Ok((base, Storage::U8)),
        DType::Int16 => Ok((base, Storage::I16)),
        other => Err(cx.unsupported(Unsupported::Types(other.to_string()))),
    }
}

/// Halves as binary32, in a workspace.
pub(super) fn widened(cx: &mut Cx<'_, '_>, halves: Operand, elements: usize) -> Operand {
    let wide = cx.workspace(elements * 4);
    let mut b = ExprBuilder::new([Storage::F16]);
    let v = b.input(0);
    emit(cx, PointwiseSpec::new(&[elements], vec![vec![1]], vec![1], b.finish(v, Storage::F32)), vec![halves, wide]);
    wide
}

/// Values of an integer bias; `None` inside where there is none.
fn int_bias(cx: &Cx<'_, '_>, bias: Option<TensorId>) -> Result<Option<Vec<i32>>, CompileError> {
    let Some(t) = bias else { return Ok(None) };
    let data = cx.require_constant(t, "bias")?;
    match cx.ty(t).dtype {
        DType::Int32 => Ok(Some(data.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect())),
        other => Err(cx.unsupported(Unsupported::Types(format!("bias of {other}")))),
    }
}
