//! What outlives a call: resource variables, hash tables, random generators, fuel.

use crate::ops::value::Value;
use std::collections::HashMap;

/// A hash table: keys in the bytes of their element type or string.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HashTable {
    /// Values by key.
    pub entries: HashMap<Vec<u8>, Vec<u8>>,
    /// Whether it has been filled; later imports are ignored.
    pub filled: bool,
}

/// State of a model between runs.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Resource variables by handle.
    pub variables: HashMap<i32, Value>,
    /// Hash tables by handle.
    pub tables: HashMap<i32, HashTable>,
    /// Handles by container and name; handles count from 1.
    pub handles: HashMap<(String, String), i32>,
    /// Variable tensors by graph and tensor.
    pub tensors: HashMap<(u32, u32), Value>,
    /// Graphs that CALL_ONCE has run.
    pub called: HashMap<u32, ()>,
    /// Random bits, by operator; see `random.rs`.
    pub random: HashMap<(u32, u32), u64>,
    /// New values of variable operands of the operator just evaluated, by operand.
    pub updates: Vec<(usize, Value)>,
}

impl State {
    /// The handle of a named resource.
    pub fn handle(&mut self, container: &str, name: &str) -> i32 {
        let next = self.handles.len() as i32 + 1;
        *self.handles.entry((container.to_string(), name.to_string())).or_insert(next)
    }
}
