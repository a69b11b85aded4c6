//! Cases of loads and stores, and of control flow.

use super::data::{Kind, Rng, fill};
use super::{OpCase, load_operand, natural, row_case, store_result};
use tflc_kir::{Addr, BinOp, Builder, Caps, CmpOp, Elem, Mem, Narrow, Op, Type, Value};

const ELEMS: [Elem; 6] = [Elem::I8, Elem::I16, Elem::I32, Elem::I64, Elem::F32, Elem::F64];

/// Which lanes of an access are active.
#[derive(Clone, Copy)]
enum Lanes {
    All,
    First(u16),
    Mask,
}

pub(super) fn add(caps: &Caps, out: &mut Vec<OpCase>) {
    for elem in ELEMS {
        let ty = Type::vector(elem, caps.lanes(elem));
        for mem in Mem::ALL.iter().copied().filter(|m| m.fits(elem)) {
            access(caps, out, ty, mem);
            if !matches!(elem, Elem::I8 | Elem::I16) {
                access_scalar(caps, out, Type::scalar(elem), mem);
            }
        }
    }
    gathers(caps, out);
    addresses(caps, out);
    control(caps, out);
}

fn halves(mem: Mem) -> Mem {
    if matches!(mem, Mem::F16 | Mem::BF16) { Mem::S16 } else { mem }
}

/// Bytes of `count` elements in memory.
fn elements(rng: &mut Rng, mem: Mem, count: usize) -> Vec<u8> {
    let elem = match mem {
        Mem::F32 => Elem::F32,
        Mem::F64 => Elem::F64,
        m => [Elem::I8, Elem::I16, Elem::I32, Elem::I64][m.bytes().trailing_zeros() as usize],
    };
    fill(rng, Type::scalar(elem), Kind::Any, count, 0)
}

fn access(caps: &Caps, out: &mut Vec<OpCase>, ty: Type, mem: Mem) {
    let n = ty.lanes;
    let firsts: Vec<u16> = if n > 16 { vec![1, 2, 3, 7, n / 2, n / 2 + 1, n - 1] } else { (1..n).collect() };
    let ways = [Lanes::All, Lanes::Mask].into_iter().chain(firsts.into_iter().map(Lanes::First));
    for lanes in ways {
        let suffix = match lanes {
            Lanes::All => "all".to_owned(),
            Lanes::First(k) => format!("first{k}"),
            Lanes::Mask => "mask".to_owned(),
        };
        out.push(load_case(caps, ty, mem, lanes, &suffix));
        for narrow in [Narrow::Wrap, Narrow::Saturate] {
            if narrow == Narrow::Wrap || ty.elem.is_int() {
                out.push(store_case(caps, ty, mem, narrow, lanes, &suffix));
            }
        }
    }
    let name = format!("load_splat_{}_{ty}", mem.name());
    out.push(element_case(&name, caps, ty, mem, 1, |b, at, _| b.load_splat(ty, mem, at)));
}

fn load_case(caps: &Caps, ty: Type, mem: Mem, lanes: Lanes, suffix: &str) -> OpCase {
    let name = format!("load_{}_{ty}_{suffix}", mem.name());
    let elements = match lanes {
        Lanes::First(k) => k,
        _ => ty.lanes,
    };
    element_case(&name, caps, ty, mem, elements, |b, at, mask| match lanes {
        Lanes::All => b.load(ty, mem, at),
        Lanes::First(k) => b.load_first(ty, mem, at, k),
        Lanes::Mask => b.load_masked(ty, mem, at, mask),
    })
}

/// Loads by `f` from rows of `count` elements; the last row ends where the buffer ends.
fn element_case(name: &str, caps: &Caps, ty: Type, mem: Mem, count: u16, f: impl Fn(&mut Builder, Addr, Value) -> Value) -> OpCase {
    let stride = i64::from(u32::from(count) * mem.bytes());
    let mut case = row_case(name, caps, &[(ty.mask(), Kind::Any), (Type::I64, Kind::Any)], |b, a| {
        // The second operand's pointer is the source; the row number is the loop's counter, found from the counter's known place.
        let source = source_pointer(b);
        let row = row_counter(b);
        let offset = b.mul_const(row, stride);
        f(b, Addr::new(source).index(offset, 1), a[0])
    });
    let mut rng = Rng::new(name);
    // The row loop also loads an I64 of each row of the source: give it room.
    let bytes = elements(&mut rng, mem, super::ROWS * usize::from(count));
    let room = super::ROWS * 8;
    case.buffers[2] = bytes;
    if case.buffers[2].len() < room {
        case.buffers[2].resize(room, 7);
    }
    case
}

/// Pointer of the second operand of a row case: parameters follow the two unit values.
fn source_pointer(b: &Builder) -> Value {
    Value(b.end().0 + 3)
}

/// Counter of the row loop: after three parameters and two constants.
fn row_counter(b: &Builder) -> Value {
    let v = Value(b.end().0 + 6);
    debug_assert_eq!(b.ty(v), Type::I64);
    v
}

fn store_case(caps: &Caps, ty: Type, mem: Mem, narrow: Narrow, lanes: Lanes, suffix: &str) -> OpCase {
    let mut b = Builder::new(format!("store_{}_{}_{ty}_{suffix}", mem.name(), narrow.name()));
    let (out, data, masks) = (b.ptr_param("out"), b.ptr_param("data"), b.ptr_param("masks"));
    let count = match lanes {
        Lanes::First(k) => k,
        _ => ty.lanes,
    };
    let mask_bytes = super::size_of(super::stored_type(ty.mask(), caps));
    let stride = usize::from(count) * mem.bytes() as usize;
    let (lo, hi) = (b.i64(0), b.i64(super::ROWS as i64));
    b.for_loop(lo, hi, 1, &[], |b, row, _| {
        let offset = b.mul_const(row, super::size_of(ty) as i64);
        let v = b.load(ty, natural(ty.elem), Addr::new(data).index(offset, 1));
        let offset = b.mul_const(row, mask_bytes as i64);
        let mask = load_operand(b, caps, ty.mask(), Addr::new(masks).index(offset, 1));
        let offset = b.mul_const(row, stride as i64);
        let at = Addr::new(out).index(offset, 1);
        match lanes {
            Lanes::All => b.store(mem, narrow, at, v),
            Lanes::First(k) => b.store_first(mem, narrow, at, v, k),
            Lanes::Mask => b.store_masked(mem, narrow, at, v, mask),
        }
        vec![]
    });
    let mut rng = Rng::new(&format!("{ty}{suffix}{}", mem.name()));
    let buffers = vec![
        vec![0xCC; stride * super::ROWS],
        fill(&mut rng, ty, Kind::Any, super::ROWS, 0),
        fill(&mut rng, super::stored_type(ty.mask(), caps), Kind::Any, super::ROWS, 1),
    ];
    OpCase { kernel: b.finish(), buffers, result: halves(mem) }
}

fn access_scalar(caps: &Caps, out: &mut Vec<OpCase>, ty: Type, mem: Mem) {
    let name = format!("load_{}_{ty}", mem.name());
    out.push(element_case(&name, caps, ty, mem, 1, |b, at, _| b.load(ty, mem, at)));
    for narrow in [Narrow::Wrap, Narrow::Saturate] {
        if narrow == Narrow::Wrap || ty.elem.is_int() {
            out.push(store_case(caps, ty, mem, narrow, Lanes::All, "scalar"));
        }
    }
}

fn gathers(caps: &Caps, out: &mut Vec<OpCase>) {
    let index = Type::vector(Elem::I32, caps.lanes(Elem::I32));
    for elem in [Elem::I32, Elem::F32] {
        let ty = index.with_elem(elem);
        for mem in Mem::ALL.iter().copied().filter(|m| m.fits(elem)) {
            for scale in [1u8, 2, 4, 8] {
                let name = format!("gather_{}_{ty}_{scale}", mem.name());
                let mut case = row_case(&name, caps, &[(index, Kind::Small), (Type::I64, Kind::Any)], |b, a| {
                    let source = source_pointer(b);
                    // Indices below 0 too: the base is in the middle.
                    let base = b.ptr_add_const(source, 100);
                    let five = b.int(index, 5);
                    let lanes = b.sub(a[0], five);
                    b.gather(ty, mem, Addr::new(base).index(lanes, scale).offset(-4))
                });
                let mut rng = Rng::new(&name);
                case.buffers[2] = elements(&mut rng, mem, 1024);
                out.push(case);
            }
        }
    }
}

/// Base, index, scale and displacement, positive and negative.
fn addresses(caps: &Caps, out: &mut Vec<OpCase>) {
    for (scale, disp) in [(1u8, 0i64), (2, 8), (4, -16), (8, 4096), (4, 40_000), (1, -40_000)] {
        let mut b = Builder::new(format!("address_{scale}_{}", disp + 100_000));
        let (out_ptr, data) = (b.ptr_param("out"), b.ptr_param("data"));
        let ty = Type::vector(Elem::F32, caps.lanes(Elem::F32));
        let bytes = super::size_of(ty) as i64;
        let (lo, hi) = (b.i64(0), b.i64(16));
        let data = b.ptr_add_const(data, 64 - disp);
        b.for_loop(lo, hi, 1, &[], |b, i, _| {
            let x = b.load(ty, Mem::F32, Addr::new(data).index(i, scale).offset(disp));
            let s = b.load(Type::F32, Mem::F32, Addr::new(data).index(i, scale).offset(disp + 4));
            let s = b.splat(s, ty.lanes);
            let y = b.add(x, s);
            let at = b.mul_const(i, bytes);
            store_result(b, caps, y, Addr::new(out_ptr).index(at, 1));
            vec![]
        });
        let mut rng = Rng::new("address");
        let buffers = vec![vec![0; 16 * bytes as usize], fill(&mut rng, Type::F32, Kind::Convertible, 256, 3)];
        out.push(OpCase { kernel: b.finish(), buffers, result: Mem::F32 });
    }
}

fn control(caps: &Caps, out: &mut Vec<OpCase>) {
    out.push(row_case("if_else", caps, &[(Type::I32, Kind::Any), (Type::I32, Kind::Any)], |b, a| {
        let less = b.cmp(CmpOp::Lt, a[0], a[1]);
        let r = b.if_else(
            less,
            |b| {
                let s = b.add(a[0], a[1]);
                vec![s, a[0]]
            },
            |b| {
                let d = b.sub(a[0], a[1]);
                vec![d, a[1]]
            },
        );
        b.bin(BinOp::Xor, r[0], r[1])
    }));
    // Loops that run never, once and more often, with two carried values, one of them swapped.
    out.push(row_case("for_carried", caps, &[(Type::I64, Kind::Small), (Type::I64, Kind::Any)], |b, a| {
        let five = b.i64(5);
        let start = b.sub(five, a[0]);
        let end = b.i64(7);
        let r = b.for_loop(start, end, 3, &[a[0], a[1]], |b, i, c| {
            let s = b.add(c[0], i);
            let s = b.mul(s, c[1]);
            vec![c[1], s]
        });
        b.bin(BinOp::Xor, r[0], r[1])
    }));
    out.push(row_case("while", caps, &[(Type::I64, Kind::Small), (Type::I64, Kind::Any)], |b, a| {
        let zero = b.i64(0);
        let r = b.while_loop(
            &[a[0], a[1], zero],
            |b, v| {
                let zero = b.i64(0);
                let go = b.cmp(CmpOp::Gt, v[0], zero);
                let sum = b.add(v[1], v[2]);
                (go, vec![v[0], sum, v[2]])
            },
            |b, v| {
                let left = b.add_const(v[0], -1);
                let more = b.add_const(v[2], 3);
                vec![left, v[1], more]
            },
        );
        b.bin(BinOp::Xor, r[1], r[2])
    }));
    for align in [1u32, 16, 64] {
        let ty = Type::vector(Elem::I32, caps.lanes(Elem::I32));
        let operands = [(ty, Kind::Any), (ty, Kind::Any)];
        out.push(row_case(&format!("scratch_{align}"), caps, &operands, |b, a| {
            let buffer = b.scratch(20_000, align);
            b.store(Mem::S32, Narrow::Wrap, buffer, a[0]);
            let last = b.ptr_add_const(buffer, 19_936);
            b.store(Mem::S32, Narrow::Wrap, last, a[1]);
            let address = b.bitcast(Type::I64, buffer);
            let mask = b.i64(i64::from(align) - 1);
            let off = b.bin(BinOp::And, address, mask);
            let zero = b.i64(0);
            // Alignment is checked on machines; the interpreter's addresses are aligned by construction or not at all.
            let _ = b.cmp(CmpOp::Eq, off, zero);
            let x = b.load(ty, Mem::S32, buffer);
            let y = b.load(ty, Mem::S32, last);
            let masked = b.inst(Op::Un(tflc_kir::UnOp::Not), ty, &[y]);
            b.add(x, masked)
        }));
    }
}
