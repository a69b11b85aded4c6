//! Custom operators of the caller: Rust functions by name, with shape inference, called by compiled code.
//!
//! Compiled code calls `function(context, arguments) -> status` through two words in the weights, which are filled in when the program is loaded.
//! `compiler/docs/custom-operators.md` has an example and the convention.

use crate::error::{CompileError, Place, Unsupported};
use crate::ir::{AttrValue, GraphId, Location, Model, Node, OpKind, TensorType};
use crate::lower::program::{Program, STATUS_CUSTOM_OPERATOR};
use crate::ops::custom::{REGISTERED, name, options};
use crate::ops::{Call, propagate_types};
use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

/// An operand of a custom operator.
#[derive(Clone, Copy, Debug)]
pub struct CustomInput<'a> {
    /// Type.
    pub ty: &'a TensorType,
    /// Elements: dense, row-major, little-endian.
    pub bytes: &'a [u8],
}

/// A result of a custom operator.
#[derive(Debug)]
pub struct CustomOutput<'a> {
    /// Type.
    pub ty: &'a TensorType,
    /// Where its elements go; all of them have to be written.
    pub bytes: &'a mut [u8],
}

/// A custom operator of the caller's.
///
/// It may be called on any thread, by several instances of a model at once.
pub trait CustomOperator: Send + Sync {
    /// Types of the results from those of the operands and the operator's options, as the model file holds them.
    ///
    /// # Errors
    /// Where the operator does not take these types; the text becomes part of the compiler's error.
    fn infer(&self, inputs: &[TensorType], options: &[u8]) -> Result<Vec<TensorType>, String>;

    /// Computes the results.
    ///
    /// # Errors
    /// Where values make no sense; the run ends with the text.
    fn run(&self, inputs: &[CustomInput<'_>], outputs: &mut [CustomOutput<'_>], options: &[u8]) -> Result<(), String>;
}

/// Registered operators by name.
#[derive(Clone, Default)]
pub(super) struct Customs(pub(super) BTreeMap<String, Arc<dyn CustomOperator>>);

impl fmt::Debug for Customs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// The most rounds in which types go through registered operators.
const ROUNDS: usize = 64;

impl Customs {
    /// Marks the nodes of registered operators, gives their results the types that they infer, and infers those behind them again.
    ///
    /// # Errors
    /// Where an operator refuses its operands, or types behind it do not fit.
    pub(super) fn apply(&self, model: &mut Model) -> Result<(), CompileError> {
        if self.0.is_empty() {
            return Ok(());
        }
        for _ in 0..ROUNDS {
            let mut changed = false;
            for g in 0..model.graphs.len() {
                for i in 0..model.graphs[g].nodes.len() {
                    changed |= self.node(model, GraphId(g as u32), i)?;
                }
            }
            if !changed {
                break;
            }
            propagate_types(model)?.supported()?;
        }
        Ok(())
    }

    /// Marks a node; gives whether a type changed.
    fn node(&self, model: &mut Model, id: GraphId, index: usize) -> Result<bool, CompileError> {
        let node = &model.graphs[id.index()].nodes[index];
        if node.op != OpKind::Custom {
            return Ok(false);
        }
        let call = Call::of(model, id, node, index);
        let Some(operator) = self.0.get(name(&call)) else { return Ok(false) };
        let place = Place { subgraph: Some(id.0), operator: Some((index as u32, name(&call).to_string())), tensor: None };
        let inputs: Vec<TensorType> = call.inputs.iter().flatten().map(|o| o.ty.clone()).collect();
        let types = operator.infer(&inputs, options(&call)).map_err(|reason| CompileError::invalid(place.clone(), reason))?;
        if types.len() != node.outputs.len() {
            return Err(CompileError::invalid(place, format!("{} results inferred; the node has {}", types.len(), node.outputs.len())));
        }
        if types.iter().any(|t| t.dtype.bits() == 0 || t.dtype.bits() % 8 != 0) {
            return Err(CompileError::unsupported(place, Unsupported::Types("elements without whole bytes".to_string())));
        }
        let outputs = node.outputs.clone();
        let graph = &mut model.graphs[id.index()];
        graph.nodes[index].attrs.set(REGISTERED, AttrValue::Bool(true));
        let mut changed = false;
        for (t, ty) in outputs.into_iter().zip(types) {
            let own = &mut graph.tensors[t.index()].ty;
            changed |= *own != ty;
            *own = ty;
        }
        Ok(changed)
    }

    /// What the calls of a program need, by the node that they belong to.
    pub(super) fn bind(&self, model: &Model, program: &Program) -> Result<HashMap<Location, Box<Bound>>, CompileError> {
        let mut all = HashMap::new();
        for external in program.externals() {
            let internal = || CompileError::Internal(format!("the custom operator {} has no node of its own", external.name));
            let operator = self.0.get(&external.name).ok_or_else(internal)?;
            let nodes = model.graphs.iter().enumerate().flat_map(|(g, graph)| {
                let here = move |(at, n): (usize, &Node)| {
                    (n.op == OpKind::Custom && n.location == external.location).then_some((GraphId(g as u32), at))
                };
                graph.nodes.iter().enumerate().filter_map(here)
            });
            // A call is told by the place of its node in the file, which has to be one.
            let nodes: Vec<(GraphId, usize)> = nodes.collect();
            let &[(id, at)] = &nodes[..] else { return Err(internal()) };
            let graph = &model.graphs[id.index()];
            let call = Call::of(model, id, &graph.nodes[at], at);
            let bound = Bound {
                operator: operator.clone(),
                name: external.name.clone(),
                options: options(&call).to_vec(),
                inputs: call.inputs.iter().flatten().map(|o| o.ty.clone()).collect(),
                outputs: call.outputs.iter().map(|ty| (*ty).clone()).collect(),
                failure: Mutex::new(None),
            };
            all.insert(external.location, Box::new(bound));
        }
        Ok(all)
    }
}

/// A registered operator at one node.
pub(super) struct Bound {
    operator: Arc<dyn CustomOperator>,
    pub(super) name: String,
    options: Vec<u8>,
    inputs: Vec<TensorType>,
    outputs: Vec<TensorType>,
    /// Why the last call failed.
    pub(super) failure: Mutex<Option<String>>,
}

impl Bound {
    /// The two words that compiled code calls it by: function and context, which must stay where it is as long as the code may run.
    pub(super) fn words(&self) -> [u8; 16] {
        let function = run_bound as unsafe extern "C" fn(*const c_void, *const *mut u8) -> i32 as usize as u64;
        let context = std::ptr::from_ref(self) as usize as u64;
        let mut words = [0; 16];
        words[..8].copy_from_slice(&function.to_le_bytes());
        words[8..].copy_from_slice(&context.to_le_bytes());
        words
    }
}

/// Runs a bound operator on the addresses of its operands, then of its results; gives 0 or [`STATUS_CUSTOM_OPERATOR`].
///
/// # Safety
/// `context` is a [`Bound`], and `arguments` holds as many addresses of buffers as it has operands and results, of the sizes of their types; those of
/// results are written by nobody else meanwhile.
unsafe extern "C" fn run_bound(context: *const c_void, arguments: *const *mut u8) -> i32 {
    // SAFETY: the caller's promise.
    let bound = unsafe { &*context.cast::<Bound>() };
    // SAFETY: the caller's promise: one address for each operand and result.
    let addresses = unsafe { std::slice::from_raw_parts(arguments, bound.inputs.len() + bound.outputs.len()) };
    let (from, to) = addresses.split_at(bound.inputs.len());
    let inputs: Vec<CustomInput<'_>> = bound
        .inputs
        .iter()
        .zip(from)
        // SAFETY: the caller's promise: readable buffers of the types' sizes.
        .map(|(ty, p)| CustomInput { ty, bytes: unsafe { std::slice::from_raw_parts(*p, ty.bytes()) } })
        .collect();
    let mut outputs: Vec<CustomOutput<'_>> = bound
        .outputs
        .iter()
        .zip(to)
        // SAFETY: the caller's promise: writable buffers of the types' sizes, which nobody else looks at.
        .map(|(ty, p)| CustomOutput { ty, bytes: unsafe { std::slice::from_raw_parts_mut(*p, ty.bytes()) } })
        .collect();
    // A panic must not pass through compiled code.
    let outcome = catch_unwind(AssertUnwindSafe(|| bound.operator.run(&inputs, &mut outputs, &bound.options)));
    let reason = match outcome {
        Ok(Ok(())) => return 0,
        Ok(Err(reason)) => reason,
        Err(_) => "it panicked".to_string(),
    };
    if let Ok(mut failure) = bound.failure.lock() {
        *failure = Some(reason);
    }
    STATUS_CUSTOM_OPERATOR
}
