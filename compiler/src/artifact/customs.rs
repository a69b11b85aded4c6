//! Custom operators that the program brings as C functions: their nodes are marked with the functions' symbols, which the object leaves undefined.
//!
//! Types are as the model file declares them: there is no function that infers them here.

use super::name::Name;
use crate::error::{CompileError, Place, Unsupported};
use crate::ir::{AttrValue, GraphId, Model, OpKind};
use crate::ops::Call;
use crate::ops::custom::{NAMES, REGISTERED, SYMBOL, name};
use std::collections::BTreeSet;

/// Marks the custom operators of `customs`, given as names in the model file with symbols of C functions.
///
/// # Errors
/// Where a symbol is no C identifier, the model has no such operator, or it is one of those that are built in.
pub fn link_customs(model: &mut Model, customs: &[(String, String)]) -> Result<(), CompileError> {
    let mut known = BTreeSet::new();
    let mut found = BTreeSet::new();
    for g in 0..model.graphs.len() {
        for i in 0..model.graphs[g].nodes.len() {
            let node = &model.graphs[g].nodes[i];
            if node.op != OpKind::Custom {
                continue;
            }
            let operator = name(&Call::of(model, GraphId(g as u32), node, i)).to_string();
            known.insert(operator.clone());
            let Some((_, symbol)) = customs.iter().find(|c| c.0 == operator) else { continue };
            let place = Place { subgraph: Some(g as u32), operator: Some((node.location.operator, operator.clone())), tensor: None };
            let types = node.reads().chain(node.outputs.iter().copied()).map(|t| model.graphs[g].ty(t).dtype);
            if types.into_iter().any(|d| d.bits() == 0 || d.bits() % 8 != 0) {
                return Err(CompileError::unsupported(place, Unsupported::Types("elements without whole bytes".to_string())));
            }
            let attrs = &mut model.graphs[g].nodes[i].attrs;
            attrs.set(REGISTERED, AttrValue::Bool(true));
            attrs.set(SYMBOL, AttrValue::Str(symbol.clone()));
            found.insert(operator);
        }
    }
    for (operator, symbol) in customs {
        let refuse = |reason: String| Err(CompileError::Target(reason));
        if NAMES.contains(&operator.as_str()) {
            return refuse(format!("{operator} is built in and cannot be replaced"));
        }
        if Name::new(symbol).is_err() {
            return refuse(format!("{symbol:?} is no C identifier; name the function of {operator} with {operator}=FUNCTION"));
        }
        if !found.contains(operator) {
            let known: Vec<&str> = known.iter().map(String::as_str).filter(|n| !NAMES.contains(n)).collect();
            let known = if known.is_empty() { "it has none to bring".to_string() } else { format!("it has {}", known.join(", ")) };
            return refuse(format!("the model has no custom operator {operator}; {known}"));
        }
    }
    Ok(())
}
