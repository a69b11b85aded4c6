//! EMBEDDING_LOOKUP: rows of a table by index. HASHTABLE_LOOKUP: rows by key. EMBEDDING_LOOKUP_SPARSE: weighted sums of rows.
//!
//! Quantised tables give floats by their scales where the result is float.

use crate::error::Unsupported;
use crate::ir::DType::{Float32, Int2, Int4, Int8, Int32, String, UInt8};
use crate::ops::blockwise::Blocks;
use crate::ops::call::{Call, Inferred};
use crate::ops::gather::check_indices;
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::shapes::count;
use crate::ops::value::Value;

/// EMBEDDING_LOOKUP.
pub(super) const EMBEDDING_LOOKUP: Operator = Operator::new(infer_lookup, Eval::Direct(lookup));
/// HASHTABLE_LOOKUP.
pub(super) const HASHTABLE_LOOKUP: Operator = Operator::new(infer_hashtable, Eval::Direct(hashtable));
/// EMBEDDING_LOOKUP_SPARSE.
pub(super) const EMBEDDING_LOOKUP_SPARSE: Operator = Operator::new(infer_sparse, Eval::Direct(sparse));

fn infer_lookup(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    call.dtype_among(0, &[Int32])?;
    let [n] = call.dims::<1>(0)?;
    let table = call.input(1)?;
    let dtype = table.dtype;
    if table.shape.len() < 2 {
        return Err(call.invalid(format!("a table of shape {:?}", table.shape)));
    }
    let out = call.output(0)?.dtype;
    if out != dtype || dtype.bits() < 8 {
        if out != Float32 || !matches!(dtype, Int8 | UInt8 | Int4 | Int2) {
            return Err(call.unsupported(Unsupported::Types(format!("{dtype} to {out}"))));
        }
        let rows = table.shape[0];
        if Blocks::stored(call, table, rows, count(&table.shape[1..]))?.is_none() {
            call.weight_quant(table, 0, rows)?;
        }
    }
    let shape = [&[n], &table.shape[1..]].concat();
    Ok(vec![call.result(0, out, shape)?])
}

fn lookup(args: &Args<'_>) -> Results {
    let table = args.value(1)?;
    let rows = args.ints(0)?;
    check_indices(args, &rows, table.ty.shape[0])?;
    let inner = count(&table.ty.shape[1..]);
    if args.ty().dtype == table.ty.dtype {
        let row = inner * args.width(1)?;
        return args.result(rows.iter().flat_map(|r| table.bytes()[*r as usize * row..][..row].iter().copied()).collect());
    }
    let stored: Vec<i64> = match table.to_i8() {
        Some(v) => v.iter().map(|v| *v as i64).collect(),
        None => args.ints(1)?,
    };
    let mut out = Vec::with_capacity(args.ty().elements());
    if let Some(blocks) = Blocks::stored(args.call, args.call.input(1)?, table.ty.shape[0], inner)? {
        for r in rows {
            let scales = &blocks.scales[r as usize * (inner / blocks.size)..];
            let row = stored[r as usize * inner..][..inner].chunks(blocks.size);
            out.extend(row.zip(scales).flat_map(|(block, scale)| block.iter().map(move |v| *v as f32 * scale)));
        }
        return args.result(out);
    }
    let q = args.call.weight_quant(args.call.input(1)?, 0, table.ty.shape[0])?;
    for r in rows {
        let c = if q.scale.len() > 1 { r as usize } else { 0 };
        let row = &stored[r as usize * inner..][..inner];
        out.extend(row.iter().map(|v| (v - q.zero_point[c]) as f32 * q.scale[c]));
    }
    args.result(out)
}

fn infer_hashtable(call: &Call<'_>) -> Inferred {
    call.arity(3, 3, 2)?;
    call.dtype_among(0, &[Int32])?;
    call.dtype_among(1, &[Int32])?;
    let dtype = call.input(2)?.dtype;
    if dtype.bits() < 8 && dtype != String {
        return Err(call.unsupported(Unsupported::Types(dtype.to_string())));
    }
    let ([n], [keys]) = (call.dims::<1>(0)?, call.dims::<1>(1)?);
    let values = call.input(2)?;
    if values.shape.first() != Some(&keys) {
        return Err(call.invalid(format!("{keys} keys for values {:?}", values.shape)));
    }
    let shape = [&[n], &values.shape[1..]].concat();
    Ok(vec![call.result(0, dtype, shape)?, call.result(1, UInt8, [n])?])
}

fn hashtable(args: &Args<'_>) -> Results {
    let (queries, keys, values) = (args.ints(0)?, args.ints(1)?, args.value(2)?);
    // Keys are sorted, as LiteRT asks.
    let found: Vec<Option<usize>> = queries.iter().map(|q| keys.binary_search(q).ok()).collect();
    let hits = Value::new(args.types[1].clone(), found.iter().map(|f| f.is_some() as u8).collect());
    let inner = count(&values.ty.shape[1..]);
    if values.ty.dtype == String {
        let strings = values.strings().ok_or_else(|| args.error("broken strings"))?;
        let out: Vec<&[u8]> =
            found.iter().flat_map(|f| (0..inner).map(|i| f.map_or(&b""[..], |f| strings[f * inner + i])).collect::<Vec<_>>()).collect();
        return Ok(vec![Value::from_strings(args.ty().clone(), &out), hits]);
    }
    let row = inner * args.width(2)?;
    let mut out = Vec::with_capacity(args.ty().bytes());
    for f in found {
        match f {
            Some(f) => out.extend_from_slice(&values.bytes()[f * row..(f + 1) * row]),
            None => out.resize(out.len() + row, 0),
        }
    }
    Ok(vec![Value::new(args.ty().clone(), out), hits])
}

fn infer_sparse(call: &Call<'_>) -> Inferred {
    call.arity(5, 5, 1)?;
    call.dtype_among(0, &[Int32])?;
    call.dtype_among(1, &[Int32])?;
    call.dtype_among(2, &[Int32])?;
    call.dtype_among(3, &[Float32])?;
    call.dtype_among(4, &[Float32])?;
    let ([n], [rows, depth], [m]) = (call.dims::<1>(0)?, call.dims::<2>(1)?, call.dims::<1>(3)?);
    let table = call.input(4)?;
    if n != rows || n != m || depth == 0 || table.shape.is_empty() {
        return Err(call.invalid(format!("{n} ids, {rows} indices, {m} weights")));
    }
    let shape = super::scatter::sizes(call, 2)?;
    if shape.len() != depth {
        return Err(call.invalid(format!("indices of {depth} for shape {shape:?}")));
    }
    let out = [&shape[..depth - 1], &table.shape[1..]].concat();
    Ok(vec![call.result(0, Float32, out)?])
}

/// Source: TFLite `kernels/embedding_lookup_sparse.cc`.
fn sparse(args: &Args<'_>) -> Results {
    let (ids, indices, weights, table) = (args.ints(0)?, args.ints(1)?, args.floats(3)?, args.floats(4)?);
    let table_ty = &args.value(4)?.ty;
    check_indices(args, &ids, table_ty.shape[0])?;
    let inner = count(&table_ty.shape[1..]);
    let depth = args.value(1)?.ty.shape[1];
    let rows = args.ty().elements() / inner.max(1);
    let combiner = args.call.attrs.name("combiner", "SUM").to_string();
    let mut out = vec![0f32; args.ty().elements()];
    let (mut total, mut squares) = (vec![0f32; rows], vec![0f32; rows]);
    for (i, id) in ids.iter().enumerate() {
        let mut row = 0;
        for (k, n) in indices[i * depth..(i + 1) * depth - 1].iter().zip(&args.ty().shape) {
            check_indices(args, &[*k], *n)?;
            row = row * n + *k as usize;
        }
        total[row] += weights[i];
        squares[row] += weights[i] * weights[i];
        let from = &table[*id as usize * inner..][..inner];
        for (o, v) in out[row * inner..(row + 1) * inner].iter_mut().zip(from) {
            *o += v * weights[i];
        }
    }
    for r in 0..rows {
        let by = match combiner.as_str() {
            "MEAN" => total[r],
            "SQRTN" => squares[r].sqrt(),
            _ => 1.0,
        };
        if by != 0.0 {
            out[r * inner..(r + 1) * inner].iter_mut().for_each(|o| *o /= by);
        }
    }
    args.result(out)
}
