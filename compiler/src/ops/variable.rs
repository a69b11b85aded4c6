//! VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE: resource variables. HASHTABLE and its kin: tables of integers and strings.
//!
//! A resource tensor holds an integer handle; values live in the evaluator's state.

use crate::error::Unsupported;
use crate::ir::DType::{Int32, Int64, Resource, String};
use crate::ir::{AttrValue, DType};
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, EvalError, Operator, Results};
use crate::ops::state::State;
use crate::ops::value::Value;

/// VAR_HANDLE.
pub(super) const VAR_HANDLE: Operator = Operator::new(infer_handle, Eval::Stateful(handle));
/// READ_VARIABLE.
pub(super) const READ_VARIABLE: Operator = Operator::new(infer_read, Eval::Stateful(read));
/// ASSIGN_VARIABLE.
pub(super) const ASSIGN_VARIABLE: Operator = Operator::new(infer_assign, Eval::Stateful(assign));
/// HASHTABLE.
pub(super) const HASHTABLE: Operator = Operator::new(infer_handle, Eval::Stateful(handle));
/// HASHTABLE_IMPORT.
pub(super) const HASHTABLE_IMPORT: Operator = Operator::new(infer_import, Eval::Stateful(import));
/// HASHTABLE_FIND.
pub(super) const HASHTABLE_FIND: Operator = Operator::new(infer_find, Eval::Stateful(find));
/// HASHTABLE_SIZE.
pub(super) const HASHTABLE_SIZE: Operator = Operator::new(infer_size, Eval::Stateful(size));

fn text(call: &Call<'_>, name: &str) -> std::string::String {
    match call.attrs.get(name) {
        Some(AttrValue::Str(s)) => s.clone(),
        Some(AttrValue::Int(i)) => i.to_string(),
        _ => std::string::String::new(),
    }
}

fn infer_handle(call: &Call<'_>) -> Inferred {
    call.arity(0, 0, 1)?;
    let shape = call.output(0)?.shape.clone();
    if call.output(0)?.elements() != 1 {
        return Err(call.invalid(format!("a handle of shape {shape:?}")));
    }
    Ok(vec![call.result(0, Resource, shape)?])
}

fn handle(args: &Args<'_>, state: &mut State) -> Results {
    let table = args.call.op == crate::ir::OpKind::Hashtable;
    let (container, name) = if table {
        ("table".to_string(), text(args.call, "table_id"))
    } else {
        (text(args.call, "container"), text(args.call, "shared_name"))
    };
    args.result(vec![state.handle(&container, &name)])
}

fn resource(call: &Call<'_>) -> Result<(), crate::error::CompileError> {
    call.dtype_among(0, &[Resource])?;
    if call.input(0)?.elements() != 1 { Err(call.invalid("a handle is one element")) } else { Ok(()) }
}

fn handle_of(args: &Args<'_>) -> Result<i32, EvalError> {
    args.elements::<i32>(0)?.first().copied().ok_or_else(|| args.error("no handle"))
}

fn infer_read(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    resource(call)?;
    // The shape is that of the last assignment; models declare it.
    Ok(vec![call.sized(call.output(0)?.clone())?])
}

fn read(args: &Args<'_>, state: &mut State) -> Results {
    match state.variables.get(&handle_of(args)?) {
        Some(v) if v.ty.dtype == args.ty().dtype => Ok(vec![v.clone()]),
        Some(v) => Err(args.error(format!("the variable holds {}", v.ty.dtype))),
        // XNNPACK reads variables that nobody assigned as zeros.
        None => Ok(vec![Value::zeros(args.ty().clone())]),
    }
}

fn infer_assign(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 0)?;
    resource(call)?;
    Ok(vec![])
}

fn assign(args: &Args<'_>, state: &mut State) -> Results {
    state.variables.insert(handle_of(args)?, args.value(1)?.clone());
    Ok(vec![])
}

fn pair(call: &Call<'_>, keys: DType, values: DType) -> Result<(), crate::error::CompileError> {
    match (keys, values) {
        (Int64, String) | (String, Int64) => Ok(()),
        _ => Err(call.unsupported(Unsupported::Types(format!("{keys} to {values}")))),
    }
}

fn infer_import(call: &Call<'_>) -> Inferred {
    call.arity(3, 3, 0)?;
    resource(call)?;
    let (keys, values) = (call.input(1)?, call.input(2)?);
    pair(call, keys.dtype, values.dtype)?;
    if keys.elements() != values.elements() {
        return Err(call.invalid(format!("{} keys for {} values", keys.elements(), values.elements())));
    }
    Ok(vec![])
}

/// Elements as bytes: strings, or eight bytes each.
fn items<'a>(args: &Args<'a>, i: usize) -> Result<Vec<&'a [u8]>, EvalError> {
    let v = args.value(i)?;
    match v.ty.dtype {
        String => v.strings().ok_or_else(|| args.error("broken strings")),
        _ => Ok(v.bytes().chunks_exact(8).collect()),
    }
}

fn import(args: &Args<'_>, state: &mut State) -> Results {
    let table = state.tables.entry(handle_of(args)?).or_default();
    if !std::mem::replace(&mut table.filled, true) {
        for (k, v) in items(args, 1)?.into_iter().zip(items(args, 2)?) {
            table.entries.entry(k.to_vec()).or_insert_with(|| v.to_vec());
        }
    }
    Ok(vec![])
}

fn infer_find(call: &Call<'_>) -> Inferred {
    call.arity(3, 3, 1)?;
    resource(call)?;
    let (keys, default) = (call.input(1)?, call.input(2)?);
    pair(call, keys.dtype, default.dtype)?;
    if default.elements() != 1 {
        return Err(call.invalid("the default is not one element"));
    }
    Ok(vec![call.result(0, default.dtype, keys.shape.clone())?])
}

fn find(args: &Args<'_>, state: &mut State) -> Results {
    let table = state.tables.entry(handle_of(args)?).or_default();
    let default = items(args, 2)?[0];
    let found: Vec<&[u8]> = items(args, 1)?.into_iter().map(|k| table.entries.get(k).map_or(default, |v| v)).collect();
    if args.ty().dtype == String {
        return Ok(vec![Value::from_strings(args.ty().clone(), &found)]);
    }
    args.result(found.concat())
}

fn infer_size(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    resource(call)?;
    let dtype = call.output(0)?.dtype;
    if !matches!(dtype, Int64 | Int32) {
        return Err(call.invalid(format!("a size of {dtype}")));
    }
    Ok(vec![call.result(0, dtype, call.output(0)?.shape.clone())?])
}

fn size(args: &Args<'_>, state: &mut State) -> Results {
    let n = state.tables.entry(handle_of(args)?).or_default().entries.len();
    match args.ty().dtype {
        Int64 => args.result(vec![n as i64; args.ty().elements()]),
        _ => args.result(vec![n as i32; args.ty().elements()]),
    }
}
