//! Tables of bytes in expressions: what is a function of one byte becomes one look-up, and a look-up at the end comes off.

use super::interpret::{Source, eval_slices};
use super::{Expr, ExprBuilder, Id, Node, Storage};
use std::sync::Arc;

/// Whether elements are integers of eight bits.
const fn is_byte(storage: Storage) -> bool {
    matches!(storage, Storage::I8 | Storage::U8)
}

impl Expr {
    /// Whether bytes are looked up somewhere.
    pub fn has_table(&self) -> bool {
        self.nodes.iter().any(|n| matches!(n, Node::Table { .. }))
    }

    /// Whether this maps one byte to another by a table, and does nothing else.
    pub fn is_table(&self) -> bool {
        let one = self.inputs.len() == 1 && is_byte(self.inputs[0]) && is_byte(self.output);
        let of_input = |index: &Id| matches!(self.nodes[index.0 as usize], Node::Input(0));
        one && matches!(&self.nodes[self.result.0 as usize], Node::Table { index, .. } if of_input(index))
    }

    /// The same as one table, where bytes are looked up and both operand and result are a byte.
    pub fn as_table(&self) -> Option<Expr> {
        let (&[from], true) = (&self.inputs[..], self.has_table() && is_byte(self.output)) else { return None };
        if !is_byte(from) {
            return None;
        }
        let all: Vec<u8> = (0..=255).collect();
        let mut table = vec![0; 256];
        eval_slices(self, &[Source::Dense(&all)], &mut table);
        Some(lookup(from, Arc::new(table), self.output))
    }

    /// What comes before a table that gives the result, and the look-up itself; none where bytes are looked up elsewhere too, or indices are
    /// no bytes before the look-up takes their low bits.
    pub fn split_table(&self) -> Option<(Expr, Expr)> {
        let Node::Table { table, index, .. } = &self.nodes[self.result.0 as usize] else { return None };
        if !is_byte(self.output) {
            return None;
        }
        let nodes = self.nodes[..=index.0 as usize].to_vec();
        [Storage::I8, Storage::U8].into_iter().find_map(|storage| {
            let before = Expr { inputs: self.inputs.clone(), nodes: nodes.clone(), result: *index, output: storage };
            (!before.has_table() && before.fits_output()).then(|| (before, lookup(storage, table.clone(), self.output)))
        })
    }

    /// The same with nothing in its tables, of which code does not depend, and what was in them.
    pub fn without_tables(mut self) -> (Expr, Vec<Arc<Vec<u8>>>) {
        let empty = Arc::new(vec![0; 256]);
        let mut taken = vec![];
        for node in &mut self.nodes {
            if let Node::Table { table, .. } = node {
                taken.push(std::mem::replace(table, empty.clone()));
            }
        }
        (self, taken)
    }
}

/// One byte looked up in a table of 256 bytes.
fn lookup(from: Storage, table: Arc<Vec<u8>>, to: Storage) -> Expr {
    let mut b = ExprBuilder::new([from]);
    let x = b.input(0);
    let y = b.table(table, to == Storage::I8, x);
    b.finish(y, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `table[x] * x` of signed bytes, halved.
    fn product() -> Expr {
        let table = (0..=255u8).map(|i| (i as i8).wrapping_mul(3) as u8).collect();
        let mut b = ExprBuilder::new([Storage::I8]);
        let x = b.input(0);
        let t = b.table(Arc::new(table), true, x);
        let y = b.mul(t, x);
        let (lo, hi) = (b.i32(-128), b.i32(127));
        let y = b.max(y, lo);
        let y = b.min(y, hi);
        b.finish(y, Storage::I8)
    }

    #[test]
    fn a_function_of_a_byte_is_a_table() {
        let expr = product();
        assert!(expr.has_table() && !expr.is_table());
        let table = expr.as_table().unwrap();
        assert!(table.is_table());
        let all: Vec<u8> = (0..=255).collect();
        let [mut want, mut got] = [vec![0; 256], vec![1; 256]];
        eval_slices(&expr, &[Source::Dense(&all)], &mut want);
        eval_slices(&table, &[Source::Dense(&all)], &mut got);
        assert_eq!(want, got);
        assert_eq!((got[5], got[251] as i8, got[20]), (75, 75, 127));
    }

    #[test]
    fn only_a_table_at_the_end_comes_off() {
        assert!(product().split_table().is_none());
        let mut b = ExprBuilder::new([Storage::I8, Storage::I8]);
        let (x, y) = (b.input(0), b.input(1));
        let sum = b.add(x, y);
        let (lo, hi) = (b.i32(0), b.i32(200));
        let low = b.max(sum, lo);
        let q = b.min(low, hi);
        let wide = b.table(Arc::new((0..=255).rev().collect()), false, sum);
        assert!(b.clone().finish(wide, Storage::U8).split_table().is_none());
        let t = b.table(Arc::new((0..=255).rev().collect()), false, q);
        let (before, lookup) = b.finish(t, Storage::U8).split_table().unwrap();
        assert_eq!((before.output, lookup.inputs[0], lookup.output), (Storage::U8, Storage::U8, Storage::U8));
        assert!(lookup.is_table());
    }
}
