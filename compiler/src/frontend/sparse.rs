//! Expands sparse constants: stored elements with an index structure per dimension become dense, row-major bytes.
//!
//! The scheme is TACO's as TFLite uses it: dimensions in a traversal order, block dimensions last, each dense or in compressed rows.

use super::schema::{DimensionType, Int32Vector, Ref, SparseIndexVector, SparsityParameters, Uint8Vector, Uint16Vector, UnionRef};
use crate::ir::TensorType;

/// The most dimensions of a sparse tensor, block dimensions included.
const MAX_DIMS: usize = 16;

/// One dimension of the traversal.
enum Level {
    /// All indices, in order.
    Dense(usize),
    /// Indices of each row.
    Compressed { segments: Vec<usize>, indices: Vec<usize> },
}

/// The dense bytes of a sparse tensor.
///
/// # Errors
/// A reason where the encoding contradicts the shape or the data.
pub(super) fn expand(sparsity: Ref<'_, SparsityParameters>, ty: &TensorType, data: &[u8]) -> Result<Vec<u8>, String> {
    let bits = ty.dtype.bits();
    if bits == 0 || !bits.is_multiple_of(8) {
        return Err(format!("{} elements are not whole bytes", ty.dtype));
    }
    let rank = ty.shape.len();
    let order: Vec<usize> = positions(sparsity.traversal_order().iter(), MAX_DIMS)?;
    let blocks: Vec<usize> = positions(sparsity.block_map().iter(), rank.max(1))?;
    if order.len() != rank + blocks.len() || order.len() > MAX_DIMS {
        return Err(format!("{} traversed dimensions for a tensor of {rank} and {} block dimensions", order.len(), blocks.len()));
    }
    let mut seen = [false; MAX_DIMS];
    for &d in &order {
        if d >= order.len() || std::mem::replace(&mut seen[d], true) {
            return Err(format!("traversal order {order:?} is no permutation"));
        }
    }
    let levels = sparsity.dim_metadata().iter().map(|m| {
        if m.format() == DimensionType::SPARSE_CSR {
            let (segments, indices) = (indices(m.array_segments())?, indices(m.array_indices())?);
            // Rows that overlap would make a small file cost any amount of time.
            if !segments.is_sorted() {
                return Err("segments that overlap".to_string());
            }
            Ok(Level::Compressed { segments, indices })
        } else {
            usize::try_from(m.dense_size()).map(Level::Dense).map_err(|_| format!("dense size {}", m.dense_size()))
        }
    });
    let levels: Vec<Level> = levels.collect::<Result<_, String>>()?;
    if levels.len() != order.len() {
        return Err(format!("{} dimension formats for {} dimensions", levels.len(), order.len()));
    }
    // Dense loops visit no more than the tensor's elements, whatever the file says.
    let visits = levels.iter().try_fold(1usize, |n, l| if let Level::Dense(d) = l { n.checked_mul((*d).max(1)) } else { Some(n) });
    if visits.is_none_or(|n| n > ty.elements()) {
        return Err("dense dimensions are larger than the tensor".to_string());
    }
    // Extents of block dimensions are those of their levels; an outer index steps by its block's extent.
    let mut block_size = vec![1usize; rank];
    for (b, &d) in blocks.iter().enumerate() {
        let at = order.iter().position(|&o| o == rank + b).unwrap_or(0);
        match levels.get(at) {
            Some(Level::Dense(n)) if d < rank => block_size[d] = *n,
            _ => return Err("a block dimension is not dense".to_string()),
        }
    }
    let width = bits / 8;
    let mut walk = Walk {
        levels: &levels,
        order: &order,
        blocks: &blocks,
        block_size: &block_size,
        shape: &ty.shape,
        width,
        data,
        next: 0,
        out: vec![0; ty.bytes()],
    };
    walk.level(0, 0, &mut vec![0; order.len()])?;
    if walk.next * width != data.len() {
        return Err(format!("{} elements stored, {} used", data.len() / width, walk.next));
    }
    Ok(walk.out)
}

fn positions(values: impl Iterator<Item = i32>, limit: usize) -> Result<Vec<usize>, String> {
    values.map(|v| usize::try_from(v).ok().filter(|&v| v < limit).ok_or_else(|| format!("dimension {v}"))).collect()
}

fn indices(vector: UnionRef<'_, SparseIndexVector>) -> Result<Vec<usize>, String> {
    let wide = |v: i32| usize::try_from(v).map_err(|_| format!("index {v}"));
    if let Some(v) = vector.get::<Int32Vector>() {
        v.values().iter().map(wide).collect()
    } else if let Some(v) = vector.get::<Uint16Vector>() {
        Ok(v.values().iter().map(usize::from).collect())
    } else if let Some(v) = vector.get::<Uint8Vector>() {
        Ok(v.values().iter().map(usize::from).collect())
    } else {
        Err("a compressed dimension without indices".to_string())
    }
}

struct Walk<'a> {
    levels: &'a [Level],
    order: &'a [usize],
    blocks: &'a [usize],
    block_size: &'a [usize],
    shape: &'a [usize],
    width: usize,
    data: &'a [u8],
    next: usize,
    out: Vec<u8>,
}

impl Walk<'_> {
    /// Visits level `depth`, whose rows are numbered `row`; `index` holds the index of each traversed dimension.
    fn level(&mut self, depth: usize, row: usize, index: &mut Vec<usize>) -> Result<(), String> {
        let Some(level) = self.levels.get(depth) else { return self.element(index) };
        let dim = self.order[depth];
        match level {
            Level::Dense(n) => {
                for i in 0..*n {
                    index[dim] = i;
                    self.level(depth + 1, row.saturating_mul(*n).saturating_add(i), index)?;
                }
            }
            Level::Compressed { segments, indices } => {
                let (Some(&start), Some(&end)) = (segments.get(row), segments.get(row + 1)) else {
                    return Err(format!("row {row} of {} in dimension {dim}", segments.len().saturating_sub(1)));
                };
                let Some(list) = indices.get(start..end) else {
                    return Err(format!("row {row} takes indices {start} to {end} of {}", indices.len()));
                };
                for (k, &i) in list.iter().enumerate() {
                    index[dim] = i;
                    self.level(depth + 1, start + k, index)?;
                }
            }
        }
        Ok(())
    }

    /// Puts the next stored element where the indices say.
    fn element(&mut self, index: &[usize]) -> Result<(), String> {
        let rank = self.shape.len();
        let mut flat = 0usize;
        for (d, (&n, &block)) in self.shape.iter().zip(self.block_size).enumerate() {
            let inner = self.blocks.iter().position(|&b| b == d).map_or(0, |b| index[rank + b]);
            let at = index[d].saturating_mul(block).saturating_add(inner);
            if at >= n {
                return Err(format!("index {at} in dimension {d} of size {n}"));
            }
            flat = flat * n + at;
        }
        let from = self.next * self.width;
        let (Some(source), Some(target)) =
            (self.data.get(from..from + self.width), self.out.get_mut(flat * self.width..(flat + 1) * self.width))
        else {
            return Err(format!("only {} elements are stored", self.data.len() / self.width));
        };
        target.copy_from_slice(source);
        self.next += 1;
        Ok(())
    }
}
