//! A copy whose sizes, starts and steps memory says at run time.
//!
//! There is one work unit. Whoever fills the table makes sure that everything lies inside the buffers.

use super::gather::copy_bytes;
use super::scalar::get_int;
use tflc_kir::{Builder, Caps, Kernel, Value};

/// Specification of a copy of blocks: for all indices `i` below the counts, the block at `from + sum i * from_step` goes to `to + sum i * to_step`.
///
/// The table of `I64` holds `rank` counts, the place of the first block to read, `rank` steps, the place of the first block to write, and `rank` steps; places and
/// steps are in blocks.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MoveSpec {
    /// Dimensions.
    pub rank: usize,
    /// Bytes of a block.
    pub block_bytes: usize,
}

impl MoveSpec {
    /// Elements of the table.
    pub fn table(&self) -> usize {
        3 * self.rank + 2
    }

    /// Builds the kernel: parameters are the table, the source, the target.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new("move");
        let [table, x, y] = ["table", "x", "y"].map(|n| b.ptr_param(n));
        let entries: Vec<Value> = (0..self.table() as i64)
            .map(|i| {
                let at = b.i64(i);
                get_int(&mut b, true, table, at)
            })
            .collect();
        let (counts, rest) = entries.split_at(self.rank);
        let (from, to) = (rest[0], rest[1 + self.rank]);
        self.nest(&mut b, caps, 0, [x, y], [from, to], [counts, &rest[1..], &rest[self.rank + 2..]]);
        b.finish()
    }

    fn nest(
        &self,
        b: &mut Builder,
        caps: &Caps,
        d: usize,
        [x, y]: [Value; 2],
        [from, to]: [Value; 2],
        [counts, read, write]: [&[Value]; 3],
    ) {
        if d == self.rank {
            let (from, to) = (b.mul_const(from, self.block_bytes as i64), b.mul_const(to, self.block_bytes as i64));
            let (from, to) = (b.ptr_add(x, from), b.ptr_add(y, to));
            copy_bytes(b, caps, from, to, self.block_bytes);
            return;
        }
        let zero = b.i64(0);
        b.for_loop(zero, counts[d], 1, &[from, to], |b, _, c| {
            self.nest(b, caps, d + 1, [x, y], [c[0], c[1]], [counts, read, write]);
            vec![b.add(c[0], read[d]), b.add(c[1], write[d])]
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tflc_kir::interp::{Arg, Memory, run};

    #[test]
    fn rows_are_packed_and_reversed() {
        // Three rows of two out of four, from behind, one behind the other.
        let spec = MoveSpec { rank: 2, block_bytes: 2 };
        let table: Vec<u8> = [3i64, 2, 8, -4, 1, 1, 2, 1].iter().flat_map(|v| v.to_le_bytes()).collect();
        let x: Vec<u8> = (0..24).collect();
        let mut y = [0xff; 16];
        {
            let mut memory = Memory::new();
            let args = [Arg::Ptr(memory.add_shared(&table)), Arg::Ptr(memory.add_shared(&x)), Arg::Ptr(memory.add_mut(&mut y))];
            assert_eq!(run(&spec.build(&Caps::x86_64_baseline()), &args, &mut memory, 0, 1).unwrap(), 0);
        }
        assert_eq!(y, [0xff, 0xff, 16, 17, 18, 19, 8, 9, 10, 11, 0, 1, 2, 3, 0xff, 0xff]);
    }
}
