//! Text form of models; [`crate::ir::parse`] is its inverse. `compiler/docs/ir.md` describes the language.
//!
//! ```text
//! graph @0 "main" (%0) -> (%3) {
//!   %0: int8[1,8,8,4] {scale 0.02, zero 3} "image"
//!   %1: int8[16,1,1,4] {scale 0.01, zero 0} = const splat 1
//!   %3: int8[1,8,8,16] {scale 0.1, zero -5} = CONV_2D(%0, %1, _) {padding = SAME, stride_h = 1, stride_w = 1} at 0:7
//!     tail (int32[1,8,8,16]) (i32) -> i8 { i8(max(in0, 0)) }
//! }
//! ```
//! Constants come right before the first node that reads them. Any model prints, also one that does not verify; the text depends on nothing
//! but the model.

use crate::ir::literal;
use crate::ir::{Affine, AttrValue, Graph, GraphId, Model, Node, Open, Quantization, Tensor, TensorId, TensorType};
use std::collections::HashSet;
use std::fmt::{self, Display, Write};
use tflc_templates::text::{float, hex, quote};

/// What a text leaves out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrintOptions {
    /// Lists and constants of more elements are replaced by their size and checksum; such a text does not parse.
    pub most_elements: usize,
    /// Whether tensors that nothing refers to are declared.
    pub dead_tensors: bool,
}

impl PrintOptions {
    /// Everything: parsing gives the same model.
    pub const FULL: PrintOptions = PrintOptions { most_elements: usize::MAX, dead_tensors: true };
    /// For reading: what is long is left out.
    pub const SHORT: PrintOptions = PrintOptions { most_elements: 16, dead_tensors: false };
    /// For tests: everything but dead tensors.
    pub const LIVE: PrintOptions = PrintOptions { most_elements: usize::MAX, dead_tensors: false };
}

/// Constants of more elements are written as bytes.
const MAX_NUMBERS: usize = 64;
/// Constants of more elements that are all equal are written as one.
const MIN_SPLAT: usize = 4;
/// The most bytes of all `splat` constants of a text: a short text must not make a large model.
pub(super) const SPLAT_BYTES: usize = 64 << 20;

/// The full text form of a model.
pub fn print(model: &Model) -> String {
    print_with(model, PrintOptions::FULL)
}

/// The text form of a model.
pub fn print_with(model: &Model, options: PrintOptions) -> String {
    let mut p = Printer { options, splat_bytes: SPLAT_BYTES, out: String::new() };
    // Writing to a string cannot fail.
    let _ = p.model(model);
    p.out
}

/// A type and a value of it, `float32[2] [1.0, 2.0]`, as [`crate::ir::parse::parse_value`] reads it.
pub fn print_value(ty: &TensorType, data: &[u8]) -> String {
    let mut p = Printer { options: PrintOptions::FULL, splat_bytes: SPLAT_BYTES, out: String::new() };
    let value = p.constant(ty, data);
    format!("{} {value}", p.ty(ty))
}

struct Printer {
    options: PrintOptions,
    /// How many more bytes of splat constants the text may hold.
    splat_bytes: usize,
    out: String,
}

/// Items in text, separated by commas.
fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let mut out = String::new();
    for (i, item) in items.into_iter().enumerate() {
        let _ = write!(out, "{}{item}", if i == 0 { "" } else { ", " });
    }
    out
}

fn operand(t: &Option<TensorId>) -> String {
    t.map_or_else(|| "_".to_string(), |t| t.to_string())
}

fn is_name(s: &str) -> bool {
    s.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Words that mean something else where an enumeration value may stand.
pub(super) const RESERVED: &[&str] = &["true", "false", "inf", "nan", "hex", "enum", "floats"];

impl Printer {
    fn model(&mut self, model: &Model) -> fmt::Result {
        if !model.description.is_empty() {
            writeln!(self.out, "model {}", quote(&model.description))?;
        }
        for (name, data) in &model.metadata {
            let data = self.bytes(data);
            writeln!(self.out, "metadata {} = {data}", quote(name))?;
        }
        for s in &model.signatures {
            let named = |l: &[(String, TensorId)]| list(l.iter().map(|(n, t)| format!("{} = {t}", quote(n))));
            writeln!(self.out, "signature {} {} ({}) -> ({})", quote(&s.key), s.graph, named(&s.inputs), named(&s.outputs))?;
        }
        for (i, graph) in model.graphs.iter().enumerate() {
            if !self.out.is_empty() {
                self.out.push('\n');
            }
            self.graph(GraphId(i as u32), graph)?;
        }
        Ok(())
    }

    fn graph(&mut self, id: GraphId, graph: &Graph) -> fmt::Result {
        let name = if graph.name.is_empty() { String::new() } else { format!("{} ", quote(&graph.name)) };
        writeln!(self.out, "graph {id} {name}({}) -> ({}) {{", list(&graph.inputs), list(&graph.outputs))?;
        let mut declared: HashSet<TensorId> = graph.nodes.iter().flat_map(|n| &n.outputs).copied().collect();
        for t in &graph.inputs {
            self.declare_all(graph, *t, &mut declared)?;
        }
        for node in &graph.nodes {
            for t in node.reads().chain(node.intermediates.iter().copied()).chain(node.outputs.iter().copied()) {
                self.declare_all(graph, t, &mut declared)?;
            }
            self.node(graph, node)?;
        }
        for t in &graph.outputs {
            self.declare_all(graph, *t, &mut declared)?;
        }
        if self.options.dead_tensors {
            for t in 0..graph.tensors.len() {
                self.declare(graph, TensorId(t as u32), &mut declared)?;
            }
        }
        writeln!(self.out, "}}")
    }

    /// Declares a tensor that no node produces, and the tensors that its quantisation names, where that was not done yet.
    fn declare_all(&mut self, graph: &Graph, t: TensorId, declared: &mut HashSet<TensorId>) -> fmt::Result {
        if let Some(Tensor { ty: TensorType { quant: Quantization::Blockwise { scales, zero_points, .. }, .. }, .. }) =
            graph.tensors.get(t.index())
        {
            self.declare(graph, *scales, declared)?;
            if let Some(z) = zero_points {
                self.declare(graph, *z, declared)?;
            }
        }
        for open in graph.open_axes(t) {
            self.declare(graph, open.extent, declared)?;
        }
        self.declare(graph, t, declared)
    }

    fn declare(&mut self, graph: &Graph, t: TensorId, declared: &mut HashSet<TensorId>) -> fmt::Result {
        let Some(tensor) = graph.tensors.get(t.index()) else { return Ok(()) };
        if !declared.insert(t) {
            return Ok(());
        }
        write!(self.out, "  {}", self.tensor(graph, t, tensor))?;
        if tensor.variable || tensor.data.is_some() {
            write!(self.out, " =")?;
        }
        if tensor.variable {
            write!(self.out, " variable")?;
        }
        if let Some(data) = &tensor.data {
            let value = self.constant(&tensor.ty, data);
            write!(self.out, " const {value}")?;
        }
        writeln!(self.out)
    }

    fn tensor(&self, graph: &Graph, id: TensorId, tensor: &Tensor) -> String {
        let mut s = format!("{id}: {}", self.ty(&tensor.ty));
        if !tensor.name.is_empty() {
            let _ = write!(s, " {}", quote(&tensor.name));
        }
        if let Some(dims) = &tensor.signature {
            let _ = write!(s, " signature [{}]", list(dims));
        }
        if let Some(dims) = graph.bounds.get(&id) {
            let _ = write!(s, " most [{}]", list(dims));
        }
        match graph.open.get(&id) {
            Some(Open::Along(axes)) => {
                for o in axes {
                    let _ = write!(s, " open {} by {}", o.axis, o.extent);
                }
            }
            Some(Open::Unknown) => s.push_str(" open unknown"),
            None => {}
        }
        s
    }

    fn ty(&self, ty: &TensorType) -> String {
        let dims: Vec<String> = ty.shape.iter().map(usize::to_string).collect();
        let s = format!("{}[{}]", ty.dtype, dims.join(","));
        match &ty.quant {
            Quantization::None => s,
            q => format!("{s} {{{}}}", self.quant(q)),
        }
    }

    fn quant(&self, quant: &Quantization) -> String {
        match quant {
            Quantization::None => String::new(),
            Quantization::Affine(Affine { scale, zero_point, axis: 0 }) if scale.len() == 1 && zero_point.len() == 1 => {
                format!("scale {}, zero {}", float(scale[0]), zero_point[0])
            }
            Quantization::Affine(Affine { scale, zero_point, axis }) => format!("{}, axis {axis}", self.scales(scale, zero_point)),
            Quantization::MultiAxis { scale, zero_point, axes } => {
                format!("{}, axes [{}]", self.scales(scale, zero_point), list(axes))
            }
            Quantization::Blockwise { scales, zero_points, block_size } => {
                let zeros = zero_points.map(|z| format!(", zeros {z}")).unwrap_or_default();
                format!("scales {scales}{zeros}, block {block_size}")
            }
            Quantization::Custom(data) => format!("custom {}", self.bytes(data)),
        }
    }

    /// Scales, and zero points: one number where all are equal.
    fn scales(&self, scale: &[f32], zero_point: &[i64]) -> String {
        let zero = match zero_point {
            [z, rest @ ..] if zero_point.len() == scale.len() && rest.iter().all(|r| r == z) => z.to_string(),
            _ => self.list(zero_point, i64::to_string),
        };
        format!("scale {}, zero {zero}", self.list(scale, |s| float(*s)))
    }

    /// A list in brackets, or what stands for it where it is too long.
    fn list<T>(&self, items: &[T], text: impl Fn(&T) -> String) -> String {
        let full = list(items.iter().map(text));
        if items.len() > self.options.most_elements { elided(items.len(), "elements", full.as_bytes()) } else { format!("[{full}]") }
    }

    fn bytes(&self, data: &[u8]) -> String {
        if data.len() > self.options.most_elements { elided(data.len(), "bytes", data) } else { hex(data) }
    }

    fn constant(&mut self, ty: &TensorType, data: &[u8]) -> String {
        // A malformed type may claim more elements than there can be.
        let count = ty.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| *n <= data.len().saturating_mul(8));
        let Some(count) = count else { return self.bytes(data) };
        if let Some(element) = self.equal_elements(ty, count, data) {
            self.splat_bytes -= data.len();
            return format!("splat {element}");
        }
        if count > self.options.most_elements {
            return elided(data.len(), "bytes", data);
        }
        let numbers = if count <= MAX_NUMBERS { literal::elements(ty.dtype, count, data) } else { None };
        match numbers {
            Some(elements) => format!("[{}]", list(elements.iter().filter_map(|e| literal::text(ty.dtype, *e)))),
            None => self.bytes(data),
        }
    }

    /// The text of the element that all elements are equal to, where the constant may be written so.
    fn equal_elements(&self, ty: &TensorType, count: usize, data: &[u8]) -> Option<String> {
        if count <= MIN_SPLAT || data.len() > self.splat_bytes || ty.dtype.bytes(count) != Some(data.len()) {
            return None;
        }
        let bits = ty.dtype.bits();
        if bits < 8 {
            let first = u64::from(*data.first()?) & ((1 << bits) - 1);
            return literal::text(ty.dtype, first).filter(|_| literal::splat(ty.dtype, first, count) == data);
        }
        let (first, _) = data.split_at_checked(bits / 8)?;
        let element = *literal::elements(ty.dtype, 1, first)?.first()?;
        data.chunks_exact(bits / 8).all(|c| c == first).then(|| literal::text(ty.dtype, element)).flatten()
    }

    fn node(&mut self, graph: &Graph, node: &Node) -> fmt::Result {
        let outputs: Vec<String> = node
            .outputs
            .iter()
            .map(|t| graph.tensors.get(t.index()).map_or_else(|| t.to_string(), |tensor| self.tensor(graph, *t, tensor)))
            .collect();
        let equals = if outputs.is_empty() { "" } else { " = " };
        write!(self.out, "  {}{equals}{}({})", list(outputs), node.op, list(node.inputs.iter().map(operand)))?;
        if !node.attrs.is_empty() {
            let attrs: Vec<String> = node.attrs.iter().map(|(n, v)| format!("{} = {}", attr_name(n), self.attr(v))).collect();
            write!(self.out, " {{{}}}", attrs.join(", "))?;
        }
        if node.location != Default::default() {
            write!(self.out, " at {}:{}", node.location.subgraph, node.location.operator)?;
        }
        writeln!(self.out)?;
        if let Some(tail) = &node.tail {
            let inputs: String = tail.inputs.iter().map(|t| format!(", {t}")).collect();
            let expr = tflc_templates::expr::print::print(&tail.expr, 4);
            writeln!(self.out, "    tail ({}{inputs}) {expr}", self.ty(&tail.result))?;
        }
        if !node.intermediates.is_empty() {
            writeln!(self.out, "    intermediates ({})", list(&node.intermediates))?;
        }
        Ok(())
    }

    fn attr(&self, value: &AttrValue) -> String {
        match value {
            AttrValue::Int(v) => v.to_string(),
            AttrValue::Float(v) => float(*v),
            AttrValue::Bool(v) => v.to_string(),
            AttrValue::Enum(v) if is_name(v) && !RESERVED.contains(&v.as_str()) => v.clone(),
            AttrValue::Enum(v) => format!("enum {}", quote(v)),
            AttrValue::Str(v) => quote(v),
            AttrValue::Ints(v) => self.list(v, i64::to_string),
            AttrValue::Floats(v) if v.is_empty() => "floats []".to_string(),
            AttrValue::Floats(v) => self.list(v, |x| float(*x)),
            AttrValue::Bytes(v) => self.bytes(v),
            AttrValue::Graph(g) => g.to_string(),
            AttrValue::Expr(e) => tflc_templates::expr::print::print(e, 2),
        }
    }
}

fn attr_name(name: &str) -> String {
    if is_name(name) { name.to_string() } else { quote(name) }
}

/// What stands for something long: its size and the checksum of its bytes.
fn elided(count: usize, unit: &str, bytes: &[u8]) -> String {
    format!("<{count} {unit}, crc32 {:08x}>", crc32fast::hash(bytes))
}

impl Display for Model {
    /// The text for reading, [`PrintOptions::SHORT`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print_with(self, PrintOptions::SHORT))
    }
}
