//! State of one lowering: kernels and weights so far, storage of tensors, steps in the making.
//!
//! Families of operators see a [`Cx`]: they ask for operands, packed weights and workspaces, and append calls. Addresses are
//! symbolic ([`Operand`]) until all graphs are lowered and the memory plan is made.

use super::mac::Mac;
use super::program::{Content, Piece, Recipe};
use super::storage::{Slot, SlotId, SlotRegion};
use crate::error::{CompileError, Place as ErrorPlace, Unsupported};
use crate::ir::{Bytes, DType, Graph, GraphId, Model, Node, Quantization, TensorId, TensorType};
use crate::target::Target;
use std::collections::HashMap;
use std::sync::Arc;
use tflc_kir::{Caps, Kernel};

/// Symbolic address of an operand of a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operand {
    /// In a slot, some bytes in.
    Slot(SlotId, usize),
    /// In a slot, some bytes in, and so many bytes further on in each iteration of the repetition around it.
    Moving(SlotId, usize, i64),
    /// In the weights.
    Weights(usize),
}

impl Operand {
    /// The operand, `bytes` bytes further on in each iteration of a repetition; constants stay where they are.
    pub fn moving(self, bytes: i64) -> Operand {
        match self {
            Operand::Slot(s, at) | Operand::Moving(s, at, _) => Operand::Moving(s, at, bytes),
            Operand::Weights(_) => self,
        }
    }

    /// The operand `bytes` further on.
    pub fn offset(self, bytes: usize) -> Operand {
        match self {
            Operand::Slot(s, at) => Operand::Slot(s, at + bytes),
            Operand::Moving(s, at, step) => Operand::Moving(s, at + bytes, step),
            Operand::Weights(at) => Operand::Weights(at + bytes),
        }
    }
}

/// A step with symbolic addresses.
#[derive(Clone, Debug)]
pub(super) enum SymbolicStep {
    /// Call of a kernel; `step` is its position in time.
    Call { kernel: usize, args: Vec<Operand>, units: u64, grain: u64, node: NodeRef },
    /// Call of a function of the caller's.
    External { name: String, symbol: Option<String>, function: Operand, args: Vec<Operand>, node: NodeRef },
    /// Conditional.
    If { condition: Operand, then: Vec<SymbolicStep>, otherwise: Vec<SymbolicStep> },
    /// The body so many times.
    Repeat { count: u64, body: Vec<SymbolicStep> },
    /// Loop.
    While { test: Vec<SymbolicStep>, condition: Operand, body: Vec<SymbolicStep> },
}

/// The node that a call belongs to.
#[derive(Clone, Debug)]
pub(super) struct NodeRef {
    pub(super) location: crate::ir::Location,
    pub(super) label: String,
}

/// What tells kernels apart.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum KernelKey {
    /// The template's name and its whole specification.
    Text(String),
    /// The same of kernels that multiply with weights: most are, and their specifications long.
    Mac(Arc<Mac>),
}

/// What tells pieces of the weights apart.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum PieceKey {
    /// A tensor and how it is packed.
    Packed(String),
    /// A tensor and the kernel that it is packed for, without its epilogue.
    Mac(String, Mac),
    /// The content itself.
    Bytes(Bytes),
}

/// What a tensor of type resource stands for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Resource {
    /// A variable, by container and name.
    Variable(String, String),
}

/// A variable whose bytes start as `value`; `flag` says whether they have been set.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct FirstValue {
    pub(super) at: Operand,
    pub(super) bytes: usize,
    pub(super) value: u8,
    pub(super) flag: Operand,
}

/// What tells parts of the state apart.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum VariableKey {
    /// A variable tensor.
    Tensor(GraphId, TensorId),
    /// A resource variable, by container and name.
    Named(String, String),
    /// Whether a graph that runs once has run.
    Flag(GraphId),
    /// Whether a variable tensor has its first value.
    Started(GraphId, TensorId),
}

/// Who is told of each kernel, with its position, as soon as it is asked for.
pub(super) struct KernelSink<'a>(pub(super) &'a dyn Fn(usize, &Recipe));

impl std::fmt::Debug for KernelSink<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KernelSink")
    }
}

/// Everything that all graphs of a lowering share.
#[derive(Debug)]
pub(super) struct Shared<'a> {
    pub(super) model: &'a Model,
    pub(super) target: &'a Target,
    pub(super) caps: Caps,
    pub(super) kernels: Vec<Recipe>,
    pub(super) kernel_index: HashMap<KernelKey, usize>,
    pub(super) kernel_sink: KernelSink<'a>,
    pub(super) pieces: Vec<Piece>,
    pub(super) piece_index: HashMap<PieceKey, usize>,
    pub(super) weights_bytes: usize,
    pub(super) slots: Vec<Slot>,
    /// Time: increases by one for each node.
    pub(super) now: usize,
    /// Parts of the state so far.
    pub(super) variables: HashMap<VariableKey, (SlotId, usize)>,
    /// Variables of the entry point being lowered that do not start as zeros.
    pub(super) first_values: Vec<FirstValue>,
    /// Outputs of the entry point being lowered whose size is known only at run time: which, along which axis, and where its length is.
    pub(super) open: Vec<(usize, usize, Operand)>,
    /// Graphs being lowered, outermost first.
    pub(super) active: Vec<GraphId>,
    /// Graphs lowered so far, each as often as it is called.
    pub(super) graphs: usize,
    /// Names of constants by their data, with their types.
    pub(super) names: HashMap<(usize, usize), Vec<(TensorType, String)>>,
}

/// Lowering of one graph, at one of its nodes.
#[derive(Debug)]
pub struct Cx<'a, 'b> {
    pub(super) shared: &'b mut Shared<'a>,
    pub(super) graph_id: GraphId,
    pub(super) graph: &'a Graph,
    /// Storage of each tensor of the graph that has any.
    pub(super) storage: Vec<Option<(SlotId, usize)>>,
    /// What tensors of type resource stand for.
    pub(super) resources: HashMap<TensorId, Resource>,
    pub(super) steps: Vec<SymbolicStep>,
    pub(super) node: Option<&'a Node>,
    /// Workspaces whose content later nodes of the graph can use, by what that is.
    pub(super) remembered: HashMap<String, Operand>,
}

impl<'a> Cx<'a, '_> {
    /// What templates may use.
    pub fn caps(&self) -> &Caps {
        &self.shared.caps
    }

    /// The target.
    pub fn target(&self) -> &Target {
        self.shared.target
    }

    /// Type of a tensor.
    pub fn ty(&self, t: TensorId) -> &'a TensorType {
        self.graph.ty(t)
    }

    /// The operand `i` of a node.
    ///
    /// # Errors
    /// Where it is absent: the operator's validation should have caught that.
    pub fn input(&self, node: &Node, i: usize) -> Result<TensorId, CompileError> {
        node.inputs.get(i).copied().flatten().ok_or_else(|| self.internal(format!("{} without operand {i}", node.op)))
    }

    /// The operand `i` of a node, where it is there.
    pub fn optional_input(&self, node: &Node, i: usize) -> Option<TensorId> {
        node.inputs.get(i).copied().flatten()
    }

    /// Value of a constant tensor.
    pub fn constant(&self, t: TensorId) -> Option<&'a Bytes> {
        self.graph.tensor(t).data.as_ref()
    }

    /// Value of a tensor that must be constant.
    ///
    /// # Errors
    /// `Unsupported` where it is computed at run time.
    pub fn require_constant(&self, t: TensorId, what: &str) -> Result<&'a Bytes, CompileError> {
        self.constant(t).ok_or_else(|| self.unsupported(Unsupported::Option(what.to_string(), "a computed tensor".to_string())))
    }

    /// Address of a tensor, which is put into the weights as it is where it is constant.
    ///
    /// # Errors
    /// `Internal` where the tensor has no storage.
    pub fn operand(&mut self, t: TensorId) -> Result<Operand, CompileError> {
        if let Some(data) = self.constant(t) {
            let key = format!("raw {}", self.name(t));
            let data = data.clone();
            return Ok(self.weights(key, data.len(), Content::Bytes(data)));
        }
        match self.storage[t.index()] {
            Some((slot, at)) => Ok(Operand::Slot(slot, at)),
            None if self.ty(t).bytes() == 0 => Ok(Operand::Weights(0)),
            None => Err(self.internal(format!("tensor {t} has no storage"))),
        }
    }

    /// Adds a piece of `bytes` bytes to the weights, aligned to 64 bytes, or finds the one with that key.
    ///
    /// Keys name the source tensor and everything that the packing depends on.
    pub fn weights(&mut self, key: String, bytes: usize, content: Content) -> Operand {
        self.piece(PieceKey::Packed(key), bytes, content)
    }

    fn piece(&mut self, key: PieceKey, bytes: usize, content: Content) -> Operand {
        let s = &mut *self.shared;
        if let Some(&at) = s.piece_index.get(&key) {
            return Operand::Weights(at);
        }
        let offset = s.weights_bytes.next_multiple_of(super::program::ARENA_ALIGN);
        s.weights_bytes = offset + bytes;
        s.pieces.push(Piece { offset, bytes, content });
        s.piece_index.insert(key, offset);
        Operand::Weights(offset)
    }

    /// Adds weights made by `pack`, which runs later, in parallel with others, on a zeroed buffer.
    ///
    /// `what` says how the tensor `t` is packed; together they are the key.
    pub fn packed(&mut self, t: TensorId, what: &str, bytes: usize, pack: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Operand {
        let key = format!("{what} {}", self.name(t));
        self.weights(key, bytes, Content::Packed(Arc::new(pack)))
    }

    /// The same for weights of a kernel that multiplies with them.
    pub(super) fn packed_for(
        &mut self,
        t: TensorId,
        what: &str,
        mac: Mac,
        bytes: usize,
        pack: impl Fn(&mut [u8]) + Send + Sync + 'static,
    ) -> Operand {
        let key = format!("{what} {}", self.name(t));
        self.piece(PieceKey::Mac(key, mac), bytes, Content::Packed(Arc::new(pack)))
    }

    /// Name of a constant tensor in keys: the same for tensors of several graphs that have one type and share their data in the file.
    pub fn name(&mut self, t: TensorId) -> String {
        let own = format!("{} {t}", self.graph_id);
        let tensor = self.graph.tensor(t);
        let Some(data) = tensor.data.as_ref().filter(|d| !d.is_empty()) else { return own };
        // Scales of blocks are tensors of the graph, and not told by the type alone.
        if matches!(tensor.ty.quant, Quantization::Blockwise { .. }) {
            return own;
        }
        let known = self.shared.names.entry((data.as_ptr() as usize, data.len())).or_default();
        match known.iter().find(|(ty, _)| *ty == tensor.ty) {
            Some((_, name)) => name.clone(),
            None => {
                known.push((tensor.ty.clone(), own.clone()));
                own
            }
        }
    }

    /// Adds constant bytes that are identified by their content.
    pub fn bytes(&mut self, data: Vec<u8>) -> Operand {
        let data = Bytes::from(data);
        self.piece(PieceKey::Bytes(data.clone()), data.len(), Content::Bytes(data))
    }

    /// A buffer that lives during this node only.
    pub fn workspace(&mut self, bytes: usize) -> Operand {
        let now = self.shared.now;
        let id = self.shared.add_slot(Slot { bytes, region: SlotRegion::Arena, first: now, last: now });
        Operand::Slot(id, 0)
    }

    /// A workspace that this node or an earlier one of the graph has filled, which lives until now, or else what `fill` gives. `key` says what is in it, and
    /// all that it depends on.
    pub(super) fn remembered(&mut self, key: String, fill: impl FnOnce(&mut Self) -> Operand) -> Operand {
        if let Some(workspace) = self.remembered.get(&key).copied() {
            if let Operand::Slot(id, _) = workspace {
                self.shared.slots[id.index()].last = self.shared.now;
            }
            return workspace;
        }
        let workspace = fill(self);
        self.remembered.insert(key, workspace);
        workspace
    }

    /// Appends a call of the kernel that `key` specifies completely.
    pub fn call(&mut self, key: String, build: impl Fn() -> Kernel + Send + Sync + 'static, args: Vec<Operand>, units: u64, grain: u64) {
        self.call_kernel(KernelKey::Text(key), build, args, units, grain);
    }

    /// The same with another kind of key.
    pub(super) fn call_kernel(
        &mut self,
        key: KernelKey,
        build: impl Fn() -> Kernel + Send + Sync + 'static,
        args: Vec<Operand>,
        units: u64,
        grain: u64,
    ) {
        let s = &mut *self.shared;
        let kernel = match s.kernel_index.get(&key) {
            Some(&known) => known,
            None => {
                let next = s.kernels.len();
                let text = match &key {
                    KernelKey::Text(text) => text.clone(),
                    KernelKey::Mac(mac) => mac.kind().to_string(),
                };
                s.kernel_index.insert(key, next);
                s.kernels.push(Recipe { key: text, build: Arc::new(build) });
                (s.kernel_sink.0)(next, &s.kernels[next]);
                next
            }
        };
        let node = self.node_ref();
        self.steps.push(SymbolicStep::Call { kernel, args, units, grain: grain.max(1), node });
    }

    /// Appends the steps that `body` appends, `count` times; operands that move take their next place each time.
    pub(super) fn repeat<E>(&mut self, count: usize, body: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<(), E> {
        if count <= 1 {
            return if count == 1 { body(self) } else { Ok(()) };
        }
        let outer = std::mem::take(&mut self.steps);
        let result = body(self);
        let body = std::mem::replace(&mut self.steps, outer);
        self.steps.push(SymbolicStep::Repeat { count: count as u64, body });
        result
    }

    /// Appends a call of the caller's function for the custom operator `name`: one that a linker finds by its symbol gets `description`, the address of another
    /// is filled in when the program is loaded.
    pub(super) fn external(&mut self, name: &str, symbol: Option<&str>, description: Vec<u8>, args: Vec<Operand>) {
        let node = self.node_ref();
        let content = if symbol.is_some() { description } else { vec![0; 16] };
        let key = format!("function of {name} at {:?}", node.location);
        let function = self.weights(key, content.len(), Content::Bytes(Bytes::from(content)));
        let symbol = symbol.map(str::to_string);
        self.steps.push(SymbolicStep::External { name: name.to_string(), symbol, function, args, node });
    }

    fn node_ref(&self) -> NodeRef {
        match self.node {
            Some(n) => {
                let tail = if n.tail.is_some() { "+POINTWISE" } else { "" };
                NodeRef { location: n.location, label: format!("{}{tail}", n.op) }
            }
            None => NodeRef { location: Default::default(), label: "COPY".to_string() },
        }
    }

    /// The current node as operators see it.
    ///
    /// # Errors
    /// `Internal` between nodes.
    pub fn as_call(&self) -> Result<crate::ops::Call<'a>, CompileError> {
        let node = self.node.ok_or_else(|| self.internal("a call between nodes"))?;
        Ok(crate::ops::Call::of(self.shared.model, self.graph_id, node, node.location.operator as usize))
    }

    /// Place of the current node, for errors.
    pub fn place(&self) -> ErrorPlace {
        ErrorPlace {
            subgraph: Some(self.node.map_or(self.graph_id.0, |n| n.location.subgraph)),
            operator: self.node.map(|n| (n.location.operator, n.op.name().to_string())),
            tensor: None,
        }
    }

    /// An `Unsupported` error at the current node.
    pub fn unsupported(&self, what: Unsupported) -> CompileError {
        CompileError::unsupported(self.place(), what)
    }

    /// An error of the model at the current node.
    pub fn invalid(&self, reason: impl Into<String>) -> CompileError {
        CompileError::invalid(self.place(), reason)
    }

    /// An `Internal` error at the current node.
    pub fn internal(&self, what: impl std::fmt::Display) -> CompileError {
        CompileError::Internal(format!("{}: {what}", self.place()))
    }
}

impl Shared<'_> {
    pub(super) fn add_slot(&mut self, slot: Slot) -> SlotId {
        self.slots.push(slot);
        SlotId(self.slots.len() as u32 - 1)
    }

    /// The part of the state that `key` names, of `bytes` bytes; `None` where it has another size.
    pub(super) fn variable(&mut self, key: VariableKey, bytes: usize) -> Option<Operand> {
        if let Some(&(slot, size)) = self.variables.get(&key) {
            return (size == bytes).then_some(Operand::Slot(slot, 0));
        }
        let slot = self.add_slot(Slot { bytes, region: SlotRegion::State, first: 0, last: 0 });
        self.variables.insert(key, (slot, bytes));
        Some(Operand::Slot(slot, 0))
    }

    /// State of a variable tensor; one of int8 starts as its zero point, like LiteRT's.
    pub(super) fn variable_tensor(&mut self, graph: GraphId, t: TensorId) -> Operand {
        let ty = self.model.graphs[graph.index()].ty(t);
        let at = self.variable(VariableKey::Tensor(graph, t), ty.bytes()).unwrap_or(Operand::Weights(0));
        if let (DType::Int8, Some((_, zero))) = (ty.dtype, ty.quant.per_tensor())
            && zero != 0
            && let Some(flag) = self.variable(VariableKey::Started(graph, t), 1)
        {
            let first = FirstValue { at, bytes: ty.bytes(), value: zero as u8, flag };
            if !self.first_values.contains(&first) {
                self.first_values.push(first);
            }
        }
        at
    }
}
