//! Functions of 16-bit integers by a table of all their values.
//!
//! Work units are blocks of elements.

use tflc_kir::{Addr, Builder, Caps, Elem, Kernel, Mem, Narrow, Type};

/// Specification: `y[i] = table[x[i] + 32768]`, all of 16 bits.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LutSpec {
    /// Number of elements.
    pub n: usize,
}

/// Elements of a block: a multiple of every vector length.
const BLOCK: usize = 512;

impl LutSpec {
    /// Entries of the table.
    pub const ENTRIES: usize = 1 << 16;

    /// Number of work units.
    pub fn units(&self) -> u64 {
        self.n.div_ceil(BLOCK) as u64
    }

    /// Builds the kernel: parameters are input, table and output.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new("s16_lut");
        let (x, table, y) = (b.ptr_param("x"), b.ptr_param("table"), b.ptr_param("y"));
        let width = i64::from(caps.lanes(Elem::I32));
        let (begin, end) = (b.begin(), b.end());
        let n = b.i64(self.n as i64);
        let step = |b: &mut Builder, i, lanes: u16| {
            let ty = Type::vector(Elem::I32, lanes);
            let q = b.load(ty, Mem::S16, Addr::new(x).index(i, 2));
            let v = if lanes == 1 {
                let q = b.convert(tflc_kir::ConvertOp::ExtS, Type::I64, q);
                b.load(ty, Mem::S16, Addr::new(table).index(q, 2).offset(1 << 16))
            } else {
                b.gather(ty, Mem::S16, Addr::new(table).index(q, 2).offset(1 << 16))
            };
            b.store(Mem::S16, Narrow::Wrap, Addr::new(y).index(i, 2), v);
        };
        b.for_loop(begin, end, 1, &[], |b, u, _| {
            let first = b.mul_const(u, BLOCK as i64);
            let last = b.add_const(first, BLOCK as i64);
            let last = b.min(last, n);
            let count = b.sub(last, first);
            let mask = b.i64(-width);
            let whole = b.bin(tflc_kir::BinOp::And, count, mask);
            let middle = b.add(first, whole);
            b.for_loop(first, middle, width, &[], |b, i, _| {
                step(b, i, width as u16);
                vec![]
            });
            b.for_loop(middle, last, 1, &[], |b, i, _| {
                step(b, i, 1);
                vec![]
            });
            vec![]
        });
        b.finish()
    }
}
