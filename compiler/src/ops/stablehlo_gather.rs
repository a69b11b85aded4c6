//! STABLEHLO_GATHER: boxes of the operand at starts that rows of indices name. STABLEHLO_SCATTER: updates combined into the operand.
//!
//! Starts are clamped so that boxes fit (gather); updates outside are dropped (scatter). Sources: the StableHLO specification,
//! `gather` and `scatter`; TFLite `kernels/stablehlo_{gather,scatter}.cc`.

use crate::error::{CompileError, Unsupported};
use crate::ir::AttrValue;
use crate::ir::DType::{BFloat16, Bool, Float16, Float32, Float64, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64};
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::shapes::{count, strides};
use crate::ops::stablehlo::reducer;
use tflc_templates::expr::Binary;

/// STABLEHLO_GATHER.
pub(super) const GATHER: Operator = Operator::new(infer_gather, Eval::Direct(gather));
/// STABLEHLO_SCATTER.
pub(super) const SCATTER: Operator = Operator::new(infer_scatter, Eval::Direct(scatter));

/// Axes from an attribute, each below `rank`, none twice.
fn axes(call: &Call<'_>, name: &str, rank: usize) -> Result<Vec<usize>, CompileError> {
    let list = match call.attrs.get(name) {
        Some(AttrValue::Ints(v)) => v.as_slice(),
        _ => &[],
    };
    let mut out = vec![];
    for v in list {
        match usize::try_from(*v) {
            Ok(a) if a < rank && !out.contains(&a) => out.push(a),
            _ => return Err(call.invalid(format!("{name} = {list:?} of {rank} dimensions"))),
        }
    }
    Ok(out)
}

/// How indices, boxes and the blown-up tensor relate; "full" is the operand, "small" the gathered or scattered tensor.
pub(crate) struct Boxes {
    /// Axes of the small tensor that run through a box.
    pub(crate) offset: Vec<usize>,
    /// Axes of the full tensor that boxes lack.
    pub(crate) collapsed: Vec<usize>,
    /// Axis of the full tensor of each index component.
    pub(crate) map: Vec<usize>,
    /// Axis of the indices that holds components; their rank where they are scalars.
    pub(crate) vector: usize,
    /// Size of boxes along each axis of the full tensor.
    pub(crate) sizes: Vec<usize>,
}

impl Boxes {
    /// Shape of the indices without their components.
    fn batch(&self, indices: &[usize]) -> Vec<usize> {
        indices.iter().enumerate().filter(|(d, _)| *d != self.vector).map(|(_, n)| *n).collect()
    }

    /// Sizes of the box's axes that stay.
    fn kept(&self) -> Vec<usize> {
        self.sizes.iter().enumerate().filter(|(d, _)| !self.collapsed.contains(d)).map(|(_, n)| *n).collect()
    }

    /// Shape of the small tensor.
    fn small(&self, call: &Call<'_>, indices: &[usize]) -> Result<Vec<usize>, CompileError> {
        let (batch, kept) = (self.batch(indices), self.kept());
        let rank = batch.len() + kept.len();
        if self.offset.len() != kept.len() || !self.offset.is_sorted() || self.offset.iter().any(|o| *o >= rank) {
            return Err(call.invalid(format!("offset dimensions {:?} of {rank}", self.offset)));
        }
        let (mut b, mut k) = (batch.into_iter(), kept.into_iter());
        Ok((0..rank).map(|d| if self.offset.contains(&d) { k.next() } else { b.next() }.unwrap_or(1)).collect())
    }

    fn check(&self, call: &Call<'_>, full: &[usize], indices: &[usize]) -> Result<(), CompileError> {
        let components = indices.get(self.vector).copied().unwrap_or(1);
        let fits = self.sizes.len() == full.len() && self.sizes.iter().zip(full).all(|(s, n)| s <= n);
        if !fits || components != self.map.len() || self.vector > indices.len() || self.collapsed.iter().any(|d| self.sizes[*d] != 1) {
            return Err(call.invalid(format!("boxes {:?} of {full:?}, {components} components for axes {:?}", self.sizes, self.map)));
        }
        Ok(())
    }

    /// For each element of the small tensor: its place in the full one along each axis, starts as in the indices.
    fn places(
        &self,
        full: &[usize],
        small: &[usize],
        indices: &[usize],
        values: &[i64],
        clamp: bool,
        mut f: impl FnMut(usize, Option<usize>),
    ) {
        let (own, outer, at) = (strides(full), strides(small), strides(indices));
        let batch_axes: Vec<usize> = (0..small.len()).filter(|d| !self.offset.contains(d)).collect();
        let index_axes: Vec<usize> = (0..indices.len()).filter(|d| *d != self.vector).collect();
        let kept: Vec<usize> = (0..full.len()).filter(|d| !self.collapsed.contains(d)).collect();
        for e in 0..count(small) {
            let coordinate = |d: usize| e / outer[d] % small[d];
            let row: usize = batch_axes.iter().zip(&index_axes).map(|(b, i)| coordinate(*b) * at[*i]).sum();
            let mut place = vec![0i64; full.len()];
            for (component, axis) in self.map.iter().enumerate() {
                let step = if self.vector < indices.len() { at[self.vector] } else { 0 };
                let start = values[row + component * step];
                place[*axis] = if clamp { start.clamp(0, (full[*axis] - self.sizes[*axis]) as i64) } else { start };
            }
            for (o, axis) in self.offset.iter().zip(&kept) {
                place[*axis] = place[*axis].saturating_add(coordinate(*o) as i64);
            }
            let inside = place.iter().zip(full).all(|(p, n)| *p >= 0 && *p < *n as i64);
            f(e, inside.then(|| place.iter().zip(&own).map(|(p, s)| *p as usize * s).sum()));
        }
    }
}

/// The boxes of a STABLEHLO_GATHER.
pub(crate) fn gather_boxes(call: &Call<'_>) -> Result<Boxes, CompileError> {
    let (full, indices) = (&call.input(0)?.shape, &call.input(1)?.shape);
    let sizes = match call.attrs.get("slice_sizes") {
        Some(AttrValue::Ints(v)) => {
            v.iter().map(|v| usize::try_from(*v).map_err(|_| call.invalid("slice_sizes"))).collect::<Result<Vec<_>, _>>()?
        }
        // TFLite's converter may hold them in a third operand.
        _ => super::scatter::sizes(call, 2)?,
    };
    let vector = usize::try_from(call.attrs.int("index_vector_dim", 0)).map_err(|_| call.invalid("index_vector_dim"))?;
    let boxes = Boxes {
        offset: axes(call, "offset_dims", full.len() + indices.len())?,
        collapsed: axes(call, "collapsed_slice_dims", full.len())?,
        map: axes(call, "start_index_map", full.len())?,
        vector,
        sizes,
    };
    boxes.check(call, full, indices)?;
    Ok(boxes)
}

fn infer_gather(call: &Call<'_>) -> Inferred {
    call.arity(2, 3, 1)?;
    call.dtype_among(1, &[Int32, Int64])?;
    let x = call.input(0)?;
    if x.dtype.bits() < 8 {
        return Err(call.unsupported(Unsupported::Types(x.dtype.to_string())));
    }
    let shape = gather_boxes(call)?.small(call, &call.input(1)?.shape)?;
    Ok(vec![call.result(0, x.dtype, shape)?])
}

fn gather(args: &Args<'_>) -> Results {
    let boxes = gather_boxes(args.call)?;
    let (x, width) = (args.value(0)?, args.width(0)?);
    let mut out = vec![0; args.ty().bytes()];
    boxes.places(&x.ty.shape, &args.ty().shape, &args.value(1)?.ty.shape, &args.ints(1)?, true, |e, from| {
        if let Some(from) = from {
            out[e * width..(e + 1) * width].copy_from_slice(&x.bytes()[from * width..(from + 1) * width]);
        }
    });
    args.result(out)
}

/// The boxes of a STABLEHLO_SCATTER.
pub(crate) fn scatter_boxes(call: &Call<'_>) -> Result<Boxes, CompileError> {
    let (full, indices, updates) = (&call.input(0)?.shape, &call.input(1)?.shape, &call.input(2)?.shape);
    let offset = axes(call, "update_window_dims", updates.len())?;
    let collapsed = axes(call, "inserted_window_dims", full.len())?;
    let mut windows = offset.iter().map(|d| updates[*d]);
    let sizes = (0..full.len()).map(|d| if collapsed.contains(&d) { 1 } else { windows.next().unwrap_or(1) }).collect();
    let vector = usize::try_from(call.attrs.int("index_vector_dim", 0)).map_err(|_| call.invalid("index_vector_dim"))?;
    let boxes = Boxes { offset, collapsed, map: axes(call, "scatter_dims_to_operand_dims", full.len())?, vector, sizes };
    boxes.check(call, full, indices)?;
    if boxes.small(call, indices)? != *updates {
        return Err(call.invalid(format!("updates of shape {updates:?}")));
    }
    Ok(boxes)
}

/// How updates meet the operand: `None` replaces it.
pub(crate) fn update(call: &Call<'_>) -> Result<Option<Binary>, CompileError> {
    let graph = super::control::target(call, "update_computation_subgraph_index")?;
    if graph.nodes.is_empty() && graph.inputs.len() == 2 && graph.outputs.first() == graph.inputs.get(1) {
        return Ok(None);
    }
    reducer(call, "update_computation_subgraph_index").map(Some)
}

fn infer_scatter(call: &Call<'_>) -> Inferred {
    call.arity(3, 3, 1)?;
    call.dtype_among(1, &[Int32, Int64])?;
    let dtype =
        call.dtype_among(0, &[Float32, Float64, Float16, BFloat16, Int8, UInt8, Int16, UInt16, Int32, UInt32, Int64, UInt64, Bool])?;
    call.same_dtype(0, 2)?;
    scatter_boxes(call)?;
    if matches!(update(call)?, Some(Binary::Max | Binary::Min)) && dtype == UInt64 {
        return Err(call.unsupported(Unsupported::Types("uint64 compared".into())));
    }
    Ok(vec![call.result(0, dtype, call.input(0)?.shape.clone())?])
}

fn scatter(args: &Args<'_>) -> Results {
    let boxes = scatter_boxes(args.call)?;
    let op = update(args.call)?;
    let (full, small, indices) = (&args.ty().shape, &args.value(2)?.ty.shape, &args.value(1)?.ty.shape);
    let at = args.ints(1)?;
    macro_rules! combine {
        ($t:ty, $meet:expr) => {{
            let mut out = args.elements::<$t>(0)?.into_owned();
            let updates = args.elements::<$t>(2)?;
            boxes.places(full, small, indices, &at, false, |e, to| {
                if let Some(to) = to {
                    out[to] = $meet(out[to], updates[e]);
                }
            });
            args.result(out)
        }};
    }
    macro_rules! floats {
        ($t:ty, $wide:expr, $narrow:expr) => {
            combine!($t, |a: $t, b: $t| match op {
                None => b,
                Some(Binary::Add) => $narrow($wide(a) + $wide(b)),
                Some(Binary::Mul) => $narrow($wide(a) * $wide(b)),
                Some(Binary::Max) =>
                    if a > b {
                        a
                    } else {
                        b
                    },
                Some(_) =>
                    if a < b {
                        a
                    } else {
                        b
                    },
            })
        };
    }
    macro_rules! integers {
        ($t:ty) => {
            combine!($t, |a: $t, b: $t| match op {
                None => b,
                Some(Binary::Add) => a.wrapping_add(b),
                Some(Binary::Mul) => a.wrapping_mul(b),
                Some(Binary::Max) => a.max(b),
                Some(Binary::And) => a & b,
                Some(_) => a.min(b),
            })
        };
    }
    match args.ty().dtype {
        Float32 => floats!(f32, |v: f32| v, |v: f32| v),
        Float64 => floats!(f64, |v: f64| v, |v: f64| v),
        Float16 => floats!(half::f16, half::f16::to_f32, half::f16::from_f32),
        BFloat16 => floats!(half::bf16, half::bf16::to_f32, half::bf16::from_f32),
        Int8 => integers!(i8),
        UInt8 => integers!(u8),
        Int16 => integers!(i16),
        UInt16 => integers!(u16),
        Int32 => integers!(i32),
        UInt32 => integers!(u32),
        // Truth values are 0 or 1: a sum is their disjunction.
        Bool => combine!(u8, |a: u8, b: u8| match op {
            None => b,
            Some(Binary::Add | Binary::Max | Binary::Or) => a | b,
            Some(_) => a & b,
        }),
        _ => integers!(i64),
    }
}
