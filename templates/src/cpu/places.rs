//! Results whose number is known only at run time: indices of true elements, and distinct elements.
//!
//! Both write how many there are as an `I64`. There is one work unit.

use super::scalar::{get, get_int, put_int, s};
use crate::expr::emit::mem;
use crate::expr::{Storage, Ty};
use tflc_kir::{Addr, BinOp, Builder, CmpOp, ConvertOp, Kernel, Mem, Narrow, Type, Value};

/// Specification of the indices of elements that are not zero, in row-major order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct WhereSpec {
    /// Shape of the condition.
    pub shape: Vec<usize>,
    /// Type of its elements.
    pub storage: Storage,
}

impl WhereSpec {
    /// Builds the kernel: parameters are the condition, the indices `[n, rank]` (`I64`) and n.
    pub fn build(&self) -> Kernel {
        let mut b = Builder::new("where");
        let [x, y, number] = ["x", "y", "number"].map(|n| b.ptr_param(n));
        let elements: usize = self.shape.iter().product();
        let rank = self.shape.len();
        let zero = b.i64(0);
        let count = b.for_const(0, elements as i64, 1, &[zero], |b, i, c| {
            let v = get(b, self.storage, x, i);
            let holds = match self.storage.ty() {
                Ty::Bool => v,
                Ty::F32 | Ty::F64 => {
                    let none = b.float(b.ty(v), 0.0);
                    b.cmp(CmpOp::Ne, v, none)
                }
                _ => {
                    let none = b.int(b.ty(v), 0);
                    b.cmp(CmpOp::Ne, v, none)
                }
            };
            let count = c[0];
            b.if_then(holds, |b| {
                let mut rest = i;
                for d in (0..rank).rev() {
                    let n = self.shape[d];
                    let index = if d == 0 { rest } else { s!(b, rest % { n }) };
                    rest = if d == 0 { rest } else { s!(b, rest / { n }) };
                    let at = s!(b, (count * { rank }) + { d });
                    put_int(b, true, y, at, index);
                }
            });
            let one = b.convert(ConvertOp::ExtU, Type::I64, holds);
            vec![b.add(count, one)]
        })[0];
        put_int(&mut b, true, number, zero, count);
        b.finish()
    }
}

/// Specification of distinct elements in the order in which they appear, and of the place of each element among them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UniqueSpec {
    /// Elements.
    pub elements: usize,
    /// Size of an element in bytes: 1, 2, 4 or 8. Elements are the same where their bits are.
    pub bytes: usize,
    /// Whether places are stored in 64 bits, else 32.
    pub wide_index: bool,
    /// Whether memory says how many of the elements count.
    pub counted: bool,
}

impl UniqueSpec {
    /// Slots of the hash table: a power of two, at least twice as many as elements.
    fn slots(&self) -> usize {
        (2 * self.elements).next_power_of_two().max(2)
    }

    /// Bytes of the workspace, whose content does not matter.
    pub fn workspace_bytes(&self) -> usize {
        self.slots() * 4
    }

    fn load(&self, b: &mut Builder, array: Value, i: Value) -> Value {
        let storage = [Storage::I8, Storage::I16, Storage::I32, Storage::I64][self.bytes.trailing_zeros() as usize];
        b.load(Type::I64, mem(storage), Addr::new(array).index(i, self.bytes as u8))
    }

    /// Builds the kernel: parameters are the elements, a workspace, the distinct ones, the places, the number of distinct ones, and where elements are counted
    /// their number (`I64`).
    pub fn build(&self) -> Kernel {
        let mut b = Builder::new("unique");
        let [x, table, y, places, number] = ["x", "table", "y", "places", "number"].map(|n| b.ptr_param(n));
        let slots = self.slots();
        let (zero, free) = (b.i64(0), b.i64(-1));
        b.for_const(0, slots as i64, 1, &[], |b, i, _| {
            put_int(b, false, table, i, free);
            vec![]
        });
        let elements = super::extent::counted(&mut b, self.counted, self.elements);
        let count = b.for_loop(zero, elements, 1, &[zero], |b, i, c| {
            let v = self.load(b, x, i);
            // Multiplicative hashing by the golden ratio: Knuth, "The Art of Computer Programming" 3, section 6.4.
            let mixed = s!(b, v * { 0x9E37_79B9_7F4A_7C15u64 as i64 });
            let shift = b.i64(i64::from(64 - slots.trailing_zeros()));
            let start = b.bin(BinOp::ShrU, mixed, shift);
            let found = b.while_loop(
                &[start],
                |b, a| {
                    let slot = a[0];
                    let holder = get_int(b, false, table, slot);
                    let taken = s!(b, holder >= 0);
                    let other = super::scalar::and_then(b, taken, |b| {
                        let own = self.load(b, y, holder);
                        s!(b, own != v)
                    });
                    (other, vec![slot, holder])
                },
                |b, a| {
                    let slot = a[0];
                    vec![s!(b, (slot + 1) & { slots - 1 })]
                },
            );
            let (count, holder) = (c[0], found[1]);
            let fresh = s!(b, holder < 0);
            b.if_then(fresh, |b| {
                put_int(b, false, table, found[0], count);
                let kinds = [Mem::S8, Mem::S16, Mem::S32, Mem::I64];
                b.store(kinds[self.bytes.trailing_zeros() as usize], Narrow::Wrap, Addr::new(y).index(count, self.bytes as u8), v);
            });
            let place = b.select(fresh, count, holder);
            put_int(b, self.wide_index, places, i, place);
            let one = b.convert(ConvertOp::ExtU, Type::I64, fresh);
            vec![b.add(count, one)]
        })[0];
        put_int(&mut b, true, number, zero, count);
        b.finish()
    }
}
