//! Parser of the text form of models, the inverse of [`crate::ir::print()`].
//!
//! Takes any text, gives a model or an error with its line and column; never panics, recurses only into expressions, and allocates in
//! proportion to the text (with a fixed allowance for `splat` constants and for gaps in tensor numbers). Every tensor that the model names
//! exists in its graph; whatever else makes a model valid is [`crate::ir::verify()`]'s to check. Tensors may have names instead of numbers:
//! they get the free numbers in the order of their declarations, and the name where none is given.

mod types;

use crate::ir::print::SPLAT_BYTES;
use crate::ir::{
    Attrs, DType, Graph, GraphId, Location, Model, Node, OpKind, Open, OpenAxis, Signature, Tail, Tensor, TensorId, TensorType,
};
use std::collections::{HashMap, HashSet};
use tflc_templates::text::{Cursor, ParseErrorKind, Result, Token, shorten};

pub use tflc_templates::text::ParseError;

/// Tensor numbers may leave gaps of this many.
const MAX_GAP: usize = 1 << 16;

/// Parses a model. It is not verified.
///
/// # Errors
/// The first thing wrong, with its line and column.
pub fn parse(text: &str) -> Result<Model> {
    let mut p = Parser { cursor: Cursor::new(text)?, names: HashMap::new(), splat_bytes: SPLAT_BYTES };
    p.model()
}

/// Parses a type and a value of it, `float32[2] [1.0, 2.0]`, and moves the cursor behind.
///
/// # Errors
/// Where none stands here.
pub fn parse_value(cursor: &mut Cursor<'_>) -> Result<(TensorType, Vec<u8>)> {
    let mut p = Parser { cursor: cursor.clone(), names: HashMap::new(), splat_bytes: SPLAT_BYTES };
    let ty = p.ty()?;
    let data = p.constant(&ty)?;
    *cursor = p.cursor;
    Ok((ty, data))
}

/// Whether a file looks like the text form of a model: its first word says so.
pub fn is_text(bytes: &[u8]) -> bool {
    let head = bytes.get(..4096).unwrap_or(bytes);
    let valid = std::str::from_utf8(head).map_or_else(|e| e.valid_up_to(), str::len);
    let text = String::from_utf8_lossy(head.get(..valid).unwrap_or_default());
    let word = Cursor::new(&text).map(|c| matches!(c.token(), Token::Word("model" | "metadata" | "signature" | "graph")));
    word.unwrap_or(false)
}

/// Fuzz entry: any bytes are parsed; what parses is verified, printed and parsed again, to the same text.
///
/// # Panics
/// Where the text of a model that parsed does not parse back to itself.
pub fn fuzz_parse(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse(text) {
        Ok(model) => {
            let printed = crate::ir::print(&model);
            let again = parse(&printed).unwrap_or_else(|e| panic!("{e}\n{printed}"));
            assert_eq!(crate::ir::print(&again), printed, "print and parse are inverse");
            // Neither the verifier nor the short form may fail on what is not valid.
            drop(crate::ir::verify(&model).map_err(|e| e.to_string()));
            drop(model.to_string());
        }
        Err(e) => drop(e.to_string()),
    }
}

/// A signature whose tensors are not looked up yet.
struct Unresolved<'a> {
    key: String,
    graph: (GraphId, usize),
    lists: [Vec<(String, &'a str, usize)>; 2],
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    /// Tensors of the graph being read, by name.
    names: HashMap<&'a str, TensorId>,
    /// How many more bytes of splat constants the text may ask for.
    splat_bytes: usize,
}

impl<'a> Parser<'a> {
    fn model(&mut self) -> Result<Model> {
        let mut model = Model::default();
        let mut signatures = vec![];
        let mut names = vec![];
        loop {
            match self.cursor.token() {
                Token::End => break,
                Token::Word("model") => {
                    self.cursor.advance()?;
                    model.description = self.cursor.string("the description in quotes")?;
                }
                Token::Word("metadata") => {
                    self.cursor.advance()?;
                    let name = self.cursor.string("the entry's name in quotes")?;
                    self.cursor.punct("=", "`=`")?;
                    model.metadata.push((name, self.bytes()?.into()));
                }
                Token::Word("signature") => signatures.push(self.signature()?),
                Token::Word("graph") => {
                    let graph = self.graph(model.graphs.len())?;
                    model.graphs.push(graph);
                    names.push(std::mem::take(&mut self.names));
                }
                _ => return self.cursor.expected("`model`, `metadata`, `signature` or `graph`"),
            }
        }
        for s in signatures {
            let (id, at) = s.graph;
            let Some(names) = names.get(id.index()) else { return self.unknown(at, "graph", &format!("{id}")) };
            let mut lists = s.lists.into_iter().map(|list| {
                let find = |(name, t, at): (String, &str, usize)| match names.get(t) {
                    Some(id) => Ok((name, *id)),
                    None => self.unknown(at, "tensor", &format!("%{t}")),
                };
                list.into_iter().map(find).collect::<Result<Vec<_>>>()
            });
            let inputs = lists.next().transpose()?.unwrap_or_default();
            let outputs = lists.next().transpose()?.unwrap_or_default();
            model.signatures.push(Signature { key: s.key, graph: id, inputs, outputs });
        }
        Ok(model)
    }

    fn unknown<T>(&self, at: usize, what: &'static str, name: &str) -> Result<T> {
        self.cursor.error_at(at, ParseErrorKind::Unknown { what, name: shorten(name) })
    }

    /// Items in parentheses, separated by commas.
    fn parenthesised<T>(&mut self, expected: &'static str, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.cursor.punct("(", expected)?;
        let mut items = vec![];
        if !self.cursor.accept(")")? {
            loop {
                items.push(item(self)?);
                if !self.cursor.accept(",")? {
                    break;
                }
            }
            self.cursor.punct(")", "`,` or `)`")?;
        }
        Ok(items)
    }

    fn graph_id(&mut self) -> Result<GraphId> {
        match self.cursor.token() {
            Token::Symbol(s) => match s.parse() {
                Ok(n) => self.cursor.advance().map(|_| GraphId(n)),
                Err(_) => self.cursor.expected("`@` and the graph's number"),
            },
            _ => self.cursor.expected("`@` and the graph's number"),
        }
    }

    fn signature(&mut self) -> Result<Unresolved<'a>> {
        self.cursor.advance()?;
        let key = self.cursor.string("the signature's key in quotes")?;
        let at = self.cursor.offset();
        let graph = (self.graph_id()?, at);
        let named = |p: &mut Self| {
            let name = p.cursor.string("a name in quotes")?;
            p.cursor.punct("=", "`=`")?;
            let at = p.cursor.offset();
            let Token::Value(tensor) = p.cursor.token() else { return p.cursor.expected("a tensor") };
            p.cursor.advance()?;
            Ok((name, tensor, at))
        };
        let inputs = self.parenthesised("`(` and the inputs", named)?;
        self.cursor.punct("->", "`->` and the outputs")?;
        let outputs = self.parenthesised("`(` and the outputs", named)?;
        Ok(Unresolved { key, graph, lists: [inputs, outputs] })
    }

    // ---- graphs ----

    fn graph(&mut self, index: usize) -> Result<Graph> {
        self.cursor.advance()?;
        let at = self.cursor.offset();
        if self.graph_id()?.index() != index {
            let kind = ParseErrorKind::Expected { expected: "graphs to be numbered in order, from @0", found: "another number".into() };
            return self.cursor.error_at(at, kind);
        }
        let name = if matches!(self.cursor.token(), Token::Quoted(_)) { self.cursor.string("a name")? } else { String::new() };
        let mut graph = Graph { name, ..Graph::default() };
        let count = self.declarations()?;
        let empty = Tensor { name: String::new(), ty: TensorType::new(DType::Float32, [0]), data: None, variable: false, signature: None };
        graph.tensors = vec![empty; count];
        graph.inputs = self.parenthesised("`(` and the inputs", Self::tensor)?;
        self.cursor.punct("->", "`->` and the outputs")?;
        graph.outputs = self.parenthesised("`(` and the outputs", Self::tensor)?;
        self.cursor.punct("{", "`{`")?;
        while !self.cursor.accept("}")? {
            self.statement(&mut graph)?;
        }
        Ok(graph)
    }

    /// Looks ahead through the graph for `%name:`, gives every tensor its number and says how many there are.
    fn declarations(&mut self) -> Result<usize> {
        let mut ahead = self.cursor.clone();
        let mut depth = 0;
        let (mut taken, mut named) = (HashSet::new(), vec![]);
        loop {
            let at = ahead.offset();
            match ahead.advance()? {
                Token::Punct("{") => depth += 1,
                Token::Punct("}") if depth <= 1 => break,
                Token::Punct("}") => depth -= 1,
                Token::End => break,
                Token::Value(name) if depth > 0 && ahead.token() == Token::Punct(":") => {
                    let id = match name.parse::<u32>() {
                        Ok(n) if n.to_string() == name => Some(TensorId(n)),
                        _ => None,
                    };
                    if self.names.insert(name, id.unwrap_or(TensorId(0))).is_some() {
                        return ahead.error_at(at, ParseErrorKind::Twice { what: "the tensor", name: format!("%{}", shorten(name)) });
                    }
                    match id {
                        Some(id) => drop(taken.insert(id)),
                        None => named.push(name),
                    }
                }
                _ => {}
            }
        }
        let mut free = (0..).map(TensorId).filter(|id| !taken.contains(id));
        let mut count = taken.iter().map(|id| id.index() + 1).max().unwrap_or(0);
        for name in named {
            let Some(id) = free.next() else { break };
            self.names.insert(name, id);
            count = count.max(id.index() + 1);
        }
        if count > self.names.len() + MAX_GAP {
            return self.cursor.error_at(self.cursor.offset(), ParseErrorKind::Limit("unused tensor numbers"));
        }
        Ok(count)
    }

    /// A tensor by its name.
    fn tensor(&mut self) -> Result<TensorId> {
        let Token::Value(name) = self.cursor.token() else { return self.cursor.expected("a tensor") };
        match self.names.get(name) {
            Some(&id) => self.cursor.advance().map(|_| id),
            None => self.unknown(self.cursor.offset(), "tensor", &format!("%{name}")),
        }
    }

    fn statement(&mut self, graph: &mut Graph) -> Result<()> {
        let mut declared = vec![];
        if matches!(self.cursor.token(), Token::Value(_)) {
            loop {
                declared.push(self.declaration(graph)?);
                if !self.cursor.accept(",")? {
                    break;
                }
            }
            if !self.cursor.accept("=")? {
                return if declared.len() == 1 { Ok(()) } else { self.cursor.expected("`=` and the operator that gives these tensors") };
            }
        }
        let at = self.cursor.offset();
        let word = self.cursor.word("a tensor, an operator or `}`")?;
        if let ("variable" | "const", &[t]) = (word, &declared[..]) {
            return self.value(&mut graph.tensors[t.index()], word);
        }
        let Some(op) = OpKind::from_name(word) else { return self.unknown(at, "operator", word) };
        let node = self.node(op, declared)?;
        graph.nodes.push(node);
        Ok(())
    }

    /// `%1: type "name" signature [..]`
    fn declaration(&mut self, graph: &mut Graph) -> Result<TensorId> {
        let Token::Value(name) = self.cursor.token() else { return self.cursor.expected("a tensor") };
        let id = self.tensor()?;
        self.cursor.punct(":", "`:` and the tensor's type")?;
        let ty = self.ty()?;
        let name = match self.cursor.token() {
            Token::Quoted(_) => self.cursor.string("a name")?,
            _ if id.0.to_string() == name => String::new(),
            _ => name.to_string(),
        };
        let signature =
            if self.cursor.accept_word("signature")? { Some(self.list("a dimension", |c| c.int("a dimension"))?) } else { None };
        if self.cursor.accept_word("most")? {
            graph.bounds.insert(id, self.list("a dimension", |c| c.int("a dimension"))?);
        }
        let mut axes = vec![];
        while self.cursor.accept_word("open")? {
            if axes.is_empty() && self.cursor.accept_word("unknown")? {
                graph.open.insert(id, Open::Unknown);
                break;
            }
            axes.push(self.open()?);
        }
        if !axes.is_empty() {
            graph.open.insert(id, Open::Along(axes));
        }
        graph.tensors[id.index()] = Tensor { name, ty, data: None, variable: false, signature };
        Ok(id)
    }

    /// `0 by %9`
    fn open(&mut self) -> Result<OpenAxis> {
        let axis = self.cursor.int("an axis or `unknown`")?;
        if !self.cursor.accept_word("by")? {
            return self.cursor.expected("`by` and the tensor of the length");
        }
        Ok(OpenAxis { axis, extent: self.tensor()? })
    }

    /// What follows `variable` or `const`.
    fn value(&mut self, tensor: &mut Tensor, word: &str) -> Result<()> {
        tensor.variable = word == "variable";
        if word == "const" || self.cursor.accept_word("const")? {
            tensor.data = Some(self.constant(&tensor.ty)?.into());
        }
        Ok(())
    }

    /// What follows the operator's name.
    fn node(&mut self, op: OpKind, outputs: Vec<TensorId>) -> Result<Node> {
        let inputs =
            self.parenthesised("`(` and the operands", |p| Ok(if p.cursor.accept_word("_")? { None } else { Some(p.tensor()?) }))?;
        let mut node = Node { inputs, ..Node::new(op, [], outputs) };
        if self.cursor.accept("{")? {
            node.attrs = self.attrs()?;
        }
        if self.cursor.accept_word("at")? {
            let subgraph = self.cursor.int("a subgraph's number")?;
            self.cursor.punct(":", "`:` and the operator's number")?;
            node.location = Location { subgraph, operator: self.cursor.int("an operator's number")? };
        }
        if self.cursor.accept_word("tail")? {
            self.cursor.punct("(", "`(` and the type of the operator's own result")?;
            let result = self.ty()?;
            let mut inputs = vec![];
            while self.cursor.accept(",")? {
                inputs.push(self.tensor()?);
            }
            self.cursor.punct(")", "`,` or `)`")?;
            let expr = tflc_templates::expr::parse::parse_at(&mut self.cursor)?;
            node.tail = Some(Box::new(Tail { result, expr, inputs }));
        }
        if self.cursor.accept_word("intermediates")? {
            node.intermediates = self.parenthesised("`(` and tensors", Self::tensor)?;
        }
        Ok(node)
    }

    /// Attributes up to the closing brace.
    fn attrs(&mut self) -> Result<Attrs> {
        let mut attrs = Attrs::new();
        while !self.cursor.accept("}")? {
            let at = self.cursor.offset();
            let name = match self.cursor.token() {
                Token::Quoted(_) => self.cursor.string("a name")?,
                _ => self.cursor.word("an attribute's name or `}`")?.to_string(),
            };
            if attrs.get(&name).is_some() {
                return self.cursor.error_at(at, ParseErrorKind::Twice { what: "the attribute", name: shorten(&name) });
            }
            self.cursor.punct("=", "`=` and the attribute's value")?;
            let value = self.attr()?;
            attrs.set(name, value);
            if !self.cursor.accept(",")? {
                self.cursor.punct("}", "`,` or `}`")?;
                break;
            }
        }
        Ok(attrs)
    }
}

#[cfg(test)]
mod tests;
