//! A kernel per operator and type, with data: what every backend is compared with the interpreter on.
//!
//! [`all`] gives the cases for a target's register types. Each kernel applies its operator to many rows of operands, special
//! values first, and stores the results; buffer 0 is the output. Where the language leaves results open (conversion of NaN, division by zero) the data
//! avoids them; the payload of NaNs is not compared.

mod data;
mod list;
mod memory;

pub use data::Rng;

use data::{Kind, fill};
use tflc_kir::interp::{Arg, Memory, run};
use tflc_kir::{Addr, Builder, Caps, CmpOp, ConvertOp, Elem, Kernel, Mem, Narrow, Type, Value};

/// Rows of operands that a case runs over.
const ROWS: usize = 64;

/// A kernel with the buffers that its slots point to, in order.
#[derive(Clone, Debug)]
pub struct OpCase {
    /// The kernel; it has one pointer parameter for each buffer.
    pub kernel: Kernel,
    /// Content of the buffers before the call.
    pub buffers: Vec<Vec<u8>>,
    /// Element kind of the output, for comparison.
    pub result: Mem,
}

/// All cases for a target.
pub fn all(caps: &Caps) -> Vec<OpCase> {
    let mut cases = vec![];
    list::add(caps, &mut cases);
    memory::add(caps, &mut cases);
    cases
}

impl OpCase {
    /// The output buffer after the interpreter ran the kernel.
    ///
    /// # Panics
    /// Where the kernel traps: a mistake of the case.
    pub fn expected(&self) -> Vec<u8> {
        let mut buffers = self.buffers.clone();
        let mut memory = Memory::new();
        let args: Vec<Arg> = buffers.iter_mut().map(|b| Arg::Ptr(memory.add_mut(b))).collect();
        let status = run(&self.kernel, &args, &mut memory, 0, 1).unwrap_or_else(|e| panic!("{}: {e}", self.kernel.name));
        assert_eq!(status, 0);
        drop(memory);
        buffers.swap_remove(0)
    }

    /// The first difference between two outputs, in words; two NaNs are equal.
    pub fn difference(&self, got: &[u8], expected: &[u8]) -> Option<String> {
        let size = self.result.bytes() as usize;
        let at = got.chunks(size).zip(expected.chunks(size)).position(|(g, e)| g != e && !(self.is_nan(g) && self.is_nan(e)))?;
        let show = |b: &[u8]| b[at * size..(at + 1) * size].iter().rev().map(|x| format!("{x:02x}")).collect::<String>();
        Some(format!("@{}: element {at} is {}, not {}", self.kernel.name, show(got), show(expected)))
    }

    fn is_nan(&self, b: &[u8]) -> bool {
        match self.result {
            Mem::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]).is_nan(),
            Mem::F64 => f64::from_le_bytes(std::array::from_fn(|i| b[i])).is_nan(),
            _ => false,
        }
    }
}

/// Memory element that holds a lane of `elem` as it is; truth values are bytes in scalars and lane-wide integers in masks.
fn natural(elem: Elem) -> Mem {
    match elem {
        Elem::I8 => Mem::S8,
        Elem::I16 => Mem::S16,
        Elem::I32 | Elem::Bool => Mem::S32,
        Elem::I64 | Elem::Ptr => Mem::I64,
        Elem::F32 => Mem::F32,
        Elem::F64 => Mem::F64,
    }
}

/// Integer vector of the lane count of a mask, of full width.
fn carrier(mask: Type, caps: &Caps) -> Type {
    let bits = caps.vector_bytes * 8 / u32::from(mask.lanes);
    let elem = [Elem::I8, Elem::I16, Elem::I32, Elem::I64].into_iter().find(|e| e.bits() == bits).expect("a lane width");
    mask.with_elem(elem)
}

/// A type as it lies in memory.
fn stored_type(ty: Type, caps: &Caps) -> Type {
    match ty.elem {
        Elem::Bool if ty.is_vector() => carrier(ty, caps),
        Elem::Bool => Type::I32,
        _ => ty,
    }
}

fn size_of(ty: Type) -> usize {
    (ty.bits() / 8) as usize
}

fn load_operand(b: &mut Builder, caps: &Caps, ty: Type, at: Addr) -> Value {
    let stored = stored_type(ty, caps);
    let v = b.load(stored, natural(stored.elem), at);
    if ty == stored {
        return v;
    }
    let one = b.int(stored, 1);
    let low = b.bin(tflc_kir::BinOp::And, v, one);
    b.cmp(CmpOp::Eq, low, one)
}

fn store_result(b: &mut Builder, caps: &Caps, v: Value, at: Addr) -> Mem {
    let ty = b.ty(v);
    let stored = stored_type(ty, caps);
    let v = match ty.elem {
        Elem::Bool if ty.is_vector() => {
            let (yes, no) = (b.int(stored, 1), b.int(stored, 0));
            b.select(v, yes, no)
        }
        Elem::Bool => b.convert(ConvertOp::ExtU, Type::I32, v),
        _ => v,
    };
    let mem = natural(stored.elem);
    b.store(mem, Narrow::Wrap, at, v);
    mem
}

/// A case that applies `f` to rows of operands.
fn row_case(name: &str, caps: &Caps, operands: &[(Type, Kind)], f: impl Fn(&mut Builder, &[Value]) -> Value) -> OpCase {
    let mut b = Builder::new(name.replace(['.', ' '], "_"));
    let out = b.ptr_param("out");
    let params: Vec<Value> = (0..operands.len()).map(|i| b.ptr_param(format!("p{i}"))).collect();
    let (lo, hi) = (b.i64(0), b.i64(ROWS as i64));
    let mut result = Mem::S8;
    let mut out_bytes = 0;
    b.for_loop(lo, hi, 1, &[], |b, row, _| {
        let args: Vec<Value> = operands
            .iter()
            .zip(&params)
            .map(|(&(ty, _), &p)| {
                let offset = b.mul_const(row, size_of(stored_type(ty, caps)) as i64);
                load_operand(b, caps, ty, Addr::new(p).index(offset, 1))
            })
            .collect();
        let v = f(b, &args);
        out_bytes = size_of(stored_type(b.ty(v), caps));
        let offset = b.mul_const(row, out_bytes as i64);
        result = store_result(b, caps, v, Addr::new(out).index(offset, 1));
        vec![]
    });
    let mut rng = Rng::new(name);
    let mut buffers = vec![vec![0xCC; out_bytes * ROWS]];
    buffers.extend(operands.iter().enumerate().map(|(i, &(ty, kind))| fill(&mut rng, stored_type(ty, caps), kind, ROWS, i)));
    OpCase { kernel: b.finish(), buffers, result }
}
