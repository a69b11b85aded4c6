//! Attributes of operators: named values, kept sorted by name.
//!
//! Names are those of the schema's option tables in snake case (`stride_w`, `fused_activation_function`), so importing, printing and
//! parsing are generic. Each operator's file turns them into a typed structure and checks them there.

use crate::ir::{Bytes, GraphId};

/// Value of an attribute.
#[derive(Clone, PartialEq, Debug)]
pub enum AttrValue {
    /// Integer.
    Int(i64),
    /// Floating-point number.
    Float(f32),
    /// Truth value.
    Bool(bool),
    /// Name of an enumeration value of the schema, such as `SAME` or `RELU6`.
    Enum(String),
    /// Text.
    Str(String),
    /// Integers.
    Ints(Vec<i64>),
    /// Floating-point numbers.
    Floats(Vec<f32>),
    /// Raw bytes (custom options, tables).
    Bytes(Bytes),
    /// Another graph of the model.
    Graph(GraphId),
    /// A pointwise expression, for [`crate::ir::OpKind::Pointwise`].
    Expr(Box<tflc_templates::expr::Expr>),
}

/// Attributes of one node, sorted by name.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Attrs(Vec<(String, AttrValue)>);

impl Attrs {
    /// No attributes.
    pub fn new() -> Attrs {
        Attrs::default()
    }

    /// Sets an attribute, replacing one of that name.
    pub fn set(&mut self, name: impl Into<String>, value: AttrValue) {
        let name = name.into();
        match self.0.binary_search_by(|(n, _)| n.as_str().cmp(&name)) {
            Ok(i) => self.0[i].1 = value,
            Err(i) => self.0.insert(i, (name, value)),
        }
    }

    /// The same with an attribute set.
    pub fn with(mut self, name: impl Into<String>, value: AttrValue) -> Attrs {
        self.set(name, value);
        self
    }

    /// Value of an attribute.
    pub fn get(&self, name: &str) -> Option<&AttrValue> {
        self.0.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok().map(|i| &self.0[i].1)
    }

    /// All attributes in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AttrValue)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An integer, or `default` where absent or of another kind.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        match self.get(name) {
            Some(AttrValue::Int(v)) => *v,
            _ => default,
        }
    }

    /// A float, or `default`.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        match self.get(name) {
            Some(AttrValue::Float(v)) => *v,
            _ => default,
        }
    }

    /// A truth value, or `default`.
    pub fn bool(&self, name: &str, default: bool) -> bool {
        match self.get(name) {
            Some(AttrValue::Bool(v)) => *v,
            _ => default,
        }
    }

    /// The name of an enumeration value, or `default`.
    pub fn name<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        match self.get(name) {
            Some(AttrValue::Enum(v)) => v,
            _ => default,
        }
    }
}
