//! Cases of the operators on registers.

use super::data::{Kind, Rng};
use super::{OpCase, row_case};
use tflc_kir::{Addr, BinOp, Builder, Caps, CmpOp, ConvertOp, DotSigns, Elem, Mem, Narrow, Op, ReduceOp, Type, UnOp, Value, legal};

const INTS: [Elem; 4] = [Elem::I8, Elem::I16, Elem::I32, Elem::I64];
const FLOATS: [Elem; 2] = [Elem::F32, Elem::F64];

pub(super) fn add(caps: &Caps, out: &mut Vec<OpCase>) {
    let vector = |e: Elem| Type::vector(e, caps.lanes(e));
    let ints: Vec<Type> = INTS.map(vector).into_iter().chain([Type::I32, Type::I64]).collect();
    let floats: Vec<Type> = FLOATS.map(vector).into_iter().chain([Type::F32, Type::F64]).collect();
    let masks: Vec<Type> = INTS.map(|e| vector(e).mask()).into_iter().chain([Type::BOOL]).collect();
    unary(caps, out, &ints, &floats, &masks);
    binary(caps, out, &ints, &floats, &masks);
    shifts(caps, out, &ints);
    compare_select(caps, out, &ints, &floats);
    converts(caps, out, &ints, &floats);
    dots(caps, out);
    if caps.f16 {
        halves(caps, out);
    }
    lanes(caps, out);
    shuffles(caps, out);
}

fn unary(caps: &Caps, out: &mut Vec<OpCase>, ints: &[Type], floats: &[Type], masks: &[Type]) {
    for &op in UnOp::ALL {
        let types: Vec<Type> = match op {
            UnOp::Neg | UnOp::Abs => [ints, floats].concat(),
            UnOp::Not => [ints, masks].concat(),
            UnOp::LeadingZeros => ints.to_vec(),
            _ => floats.to_vec(),
        };
        for ty in types {
            out.push(row_case(&format!("{}_{ty}", op.name()), caps, &[(ty, Kind::Any)], |b, a| b.un(op, a[0])));
        }
    }
}

fn binary(caps: &Caps, out: &mut Vec<OpCase>, ints: &[Type], floats: &[Type], masks: &[Type]) {
    for &op in BinOp::ALL {
        let small: Vec<Type> = ints.iter().copied().filter(|t| matches!(t.elem, Elem::I8 | Elem::I16)).collect();
        let types: Vec<Type> = match op {
            BinOp::Add | BinOp::Sub | BinOp::Mul | BinOp::Min | BinOp::Max => [ints, floats].concat(),
            BinOp::Div => [floats, &[Type::I32, Type::I64]].concat(),
            BinOp::Rem => vec![Type::I32, Type::I64],
            BinOp::MinU | BinOp::MaxU => ints.to_vec(),
            BinOp::And | BinOp::Or | BinOp::Xor => [ints, masks].concat(),
            BinOp::Shl | BinOp::ShrU | BinOp::ShrS => continue,
            BinOp::AddSatS | BinOp::SubSatS | BinOp::AddSatU | BinOp::SubSatU => small,
            BinOp::MulHiS | BinOp::MulHiU => {
                let wide = |t: &Type| matches!(t.elem, Elem::I16 | Elem::I32) || *t == Type::I64;
                ints.iter().copied().filter(wide).collect()
            }
            BinOp::MulRoundHi => ints.iter().copied().filter(|t| matches!(t.elem, Elem::I16 | Elem::I32)).collect(),
        };
        for ty in types {
            let divides = ty.elem.is_int() && matches!(op, BinOp::Div | BinOp::Rem);
            let kind = if divides { Kind::Divisor } else { Kind::Any };
            out.push(row_case(&format!("{}_{ty}", op.name()), caps, &[(ty, Kind::Any), (ty, kind)], |b, a| b.bin(op, a[0], a[1])));
        }
    }
    if caps.fma {
        for &ty in floats {
            let operands = [(ty, Kind::Any), (ty, Kind::Any), (ty, Kind::Any)];
            out.push(row_case(&format!("fma_{ty}"), caps, &operands, |b, a| b.fma(a[0], a[1], a[2])));
        }
    }
}

fn shifts(caps: &Caps, out: &mut Vec<OpCase>, ints: &[Type]) {
    for op in [BinOp::Shl, BinOp::ShrU, BinOp::ShrS] {
        for &ty in ints {
            let name = format!("{}_{ty}", op.name());
            let operands = [(ty, Kind::Any), (ty, Kind::Small)];
            out.push(row_case(&name, caps, &operands, |b, a| b.bin(op, a[0], a[1])));
            out.push(row_case(&format!("{name}_any"), caps, &[(ty, Kind::Any), (ty, Kind::Any)], |b, a| b.bin(op, a[0], a[1])));
            let width = i64::from(ty.elem.bits());
            for n in [0, 1, 5, width - 1, width] {
                out.push(row_case(&format!("{name}_by_{n}"), caps, &operands[..1], |b, a| {
                    let n = b.int(ty, n);
                    b.bin(op, a[0], n)
                }));
            }
            if ty.is_vector() {
                let scalar = if ty.elem == Elem::I64 { Type::I64 } else { Type::I32 };
                for (suffix, kind) in [("splat", Kind::Small), ("splat_any", Kind::Any)] {
                    let operands = [(ty, Kind::Any), (scalar, kind)];
                    out.push(row_case(&format!("{name}_{suffix}"), caps, &operands, |b, a| {
                        let n = b.inst(Op::Splat, ty, &[a[1]]);
                        b.bin(op, a[0], n)
                    }));
                }
            }
        }
    }
}

fn compare_select(caps: &Caps, out: &mut Vec<OpCase>, ints: &[Type], floats: &[Type]) {
    for &op in CmpOp::ALL {
        let unsigned = matches!(op, CmpOp::LtU | CmpOp::LeU);
        let types = if unsigned { ints.to_vec() } else { [ints, floats].concat() };
        for ty in types {
            let operands = [(ty, Kind::Any), (ty, Kind::Any)];
            out.push(row_case(&format!("cmp_{}_{ty}", op.name()), caps, &operands, |b, a| b.cmp(op, a[0], a[1])));
        }
    }
    for &ty in ints.iter().chain(floats) {
        for cond in [ty.mask(), Type::BOOL] {
            let operands = [(cond, Kind::Any), (ty, Kind::Any), (ty, Kind::Any)];
            out.push(row_case(&format!("select_{cond}_{ty}"), caps, &operands, |b, a| b.select(a[0], a[1], a[2])));
        }
    }
}

fn converts(caps: &Caps, out: &mut Vec<OpCase>, ints: &[Type], floats: &[Type]) {
    let mut one = |op: ConvertOp, from: Type, to: Type, kind: Kind| {
        out.push(row_case(&format!("{}_{from}_{to}", op.name()), caps, &[(from, kind)], |b, a| b.convert(op, to, a[0])));
    };
    for &ty in ints {
        one(ConvertOp::ExtU, ty.mask(), ty, Kind::Any);
    }
    one(ConvertOp::ExtS, Type::I32, Type::I64, Kind::Any);
    one(ConvertOp::ExtU, Type::I32, Type::I64, Kind::Any);
    for op in [ConvertOp::Wrap, ConvertOp::SatS, ConvertOp::SatU] {
        one(op, Type::I64, Type::I32, Kind::Any);
    }
    for &float in floats {
        for &int in ints.iter().filter(|t| t.elem.bits() >= 32) {
            if float.lanes != int.lanes {
                continue;
            }
            one(ConvertOp::IntToFloat, int, float, Kind::Any);
            one(ConvertOp::FloatToIntEven, float, int, Kind::Convertible);
            one(ConvertOp::FloatToIntTrunc, float, int, Kind::Convertible);
        }
    }
    one(ConvertOp::FloatToFloat, Type::F32, Type::F64, Kind::Any);
    one(ConvertOp::FloatToFloat, Type::F64, Type::F32, Kind::Any);
    let vectors: Vec<Type> = ints.iter().chain(floats).copied().filter(|t| t.is_vector()).collect();
    for &from in &vectors {
        for &to in vectors.iter().filter(|&&t| t != from) {
            one(ConvertOp::Bitcast, from, to, Kind::Any);
        }
    }
    for (from, to) in [(Type::I32, Type::F32), (Type::F32, Type::I32), (Type::I64, Type::F64), (Type::F64, Type::I64)] {
        one(ConvertOp::Bitcast, from, to, Kind::Any);
    }
    // Bounded operands may take a shorter way.
    let ty = Type::vector(Elem::F32, caps.lanes(Elem::F32));
    for ty in [ty, Type::F32] {
        out.push(row_case(&format!("float_to_int_even_bounded_{ty}"), caps, &[(ty, Kind::Any)], |b, a| {
            let (lo, hi) = (b.float(ty, -128.0), b.float(ty, 127.0));
            let v = b.min(a[0], hi);
            let v = b.max(v, lo);
            b.convert(ConvertOp::FloatToIntEven, ty.with_elem(Elem::I32), v)
        }));
    }
}

fn dots(caps: &Caps, out: &mut Vec<OpCase>) {
    let acc = Type::vector(Elem::I32, caps.lanes(Elem::I32));
    let bytes = (Type::vector(Elem::I8, acc.lanes * 4), Kind::Any);
    for &signs in DotSigns::ALL {
        let operands = [(acc, Kind::Any), bytes, bytes];
        out.push(row_case(&format!("dot4_{}", signs.name()), caps, &operands, |b, a| b.dot4(signs, a[0], a[1], a[2])));
    }
    for &signs in DotSigns::ALL.iter().filter(|_| acc.lanes == 4) {
        let operands = [(acc, Kind::Any), bytes, bytes];
        out.push(row_case(&format!("mmla_{}", signs.name()), caps, &operands, |b, a| b.mmla(signs, a[0], a[1], a[2])));
        // Cranelift must not take a splat for an element here.
        out.push(row_case(&format!("mmla_{}_of_a_lane", signs.name()), caps, &operands, |b, a| {
            let x = b.shuffle(a[1], a[1], (0..16).map(|i| 4 + i % 4).collect());
            b.mmla(signs, a[0], a[2], x)
        }));
    }
    // One factor is four bytes in every lane, from a vector or from memory.
    for &signs in DotSigns::ALL {
        for first in [true, false] {
            let case = |name: String, element: &dyn Fn(&mut Builder, Value) -> Value| {
                row_case(&name, caps, &[(acc, Kind::Any), bytes, bytes], |b, a| {
                    let x = element(b, a[1]);
                    let x = b.bitcast(bytes.0, x);
                    let (x, y) = if first { (x, a[2]) } else { (a[2], x) };
                    b.dot4(signs, a[0], x, y)
                })
            };
            let place = if first { "first" } else { "second" };
            for lane in 0..acc.lanes {
                out.push(case(format!("dot4_{}_{place}_of_lane_{lane}", signs.name()), &|b, v| {
                    let words = b.bitcast(acc, v);
                    let word = b.extract_lane(words, lane);
                    b.splat(word, acc.lanes)
                }));
            }
            out.push(case(format!("dot4_{}_{place}_from_memory", signs.name()), &|b, v| {
                let at = b.scratch(64, 64);
                b.store(Mem::S8, Narrow::Wrap, Addr::new(at), v);
                b.load_splat(acc, Mem::S32, Addr::new(at).offset(4))
            }));
        }
    }
    let words = (Type::vector(Elem::I16, acc.lanes * 2), Kind::Any);
    out.push(row_case("dot2", caps, &[(acc, Kind::Any), words, words], |b, a| b.dot2(a[0], a[1], a[2])));
}

/// Arithmetic on binary16 in 16-bit lanes. Results are widened, so that NaN can be told.
fn halves(caps: &Caps, out: &mut Vec<OpCase>) {
    let ty = Type::vector(Elem::I16, caps.lanes(Elem::I16));
    let floats = Type::vector(Elem::F32, ty.lanes / 2);
    for half in 0..2 {
        let three = [(ty, Kind::Halves), (ty, Kind::Halves), (ty, Kind::Halves)];
        out.push(row_case(&format!("fma_f16_{half}"), caps, &three, |b, a| {
            let sum = b.fma_f16(a[0], a[1], a[2]);
            b.widen_f16(sum)[half]
        }));
        out.push(row_case(&format!("fma_f16_of_a_lane_{half}"), caps, &three, |b, a| {
            let lane = b.extract_lane(a[0], 5);
            let x = b.splat_to(ty, lane);
            let sum = b.fma_f16(x, a[1], a[2]);
            b.widen_f16(sum)[half]
        }));
        out.push(row_case(&format!("widen_f16_{half}"), caps, &three[..1], |b, a| b.widen_f16(a[0])[half]));
        out.push(row_case(&format!("pack_f16_{half}"), caps, &[(floats, Kind::Any), (floats, Kind::Any)], |b, a| {
            let packed = b.pack_f16(a[0], a[1]);
            b.widen_f16(packed)[half]
        }));
    }
}

fn lanes(caps: &Caps, out: &mut Vec<OpCase>) {
    for elem in INTS.into_iter().chain(FLOATS) {
        let ty = Type::vector(elem, caps.lanes(elem));
        let scalar = if matches!(elem, Elem::I8 | Elem::I16) { Type::I32 } else { Type::scalar(elem) };
        out.push(row_case(&format!("splat_{ty}"), caps, &[(scalar, Kind::Any)], |b, a| b.inst(Op::Splat, ty, &[a[0]])));
        for lane in 0..ty.lanes {
            out.push(row_case(&format!("extract_lane_{ty}_{lane}"), caps, &[(ty, Kind::Any)], |b, a| b.extract_lane(a[0], lane)));
            out.push(row_case(&format!("splat_lane_{ty}_{lane}"), caps, &[(ty, Kind::Any)], |b, a| {
                let s = b.extract_lane(a[0], lane);
                b.inst(Op::Splat, ty, &[s])
            }));
            let operands = [(ty, Kind::Any), (scalar, Kind::Any)];
            out.push(row_case(&format!("insert_lane_{ty}_{lane}"), caps, &operands, |b, a| b.insert_lane(a[0], lane, a[1])));
        }
        if ty.elem.bits() >= 32 {
            for &op in ReduceOp::ALL {
                if ty.elem.is_float() && matches!(op, ReduceOp::Or | ReduceOp::And) {
                    continue;
                }
                out.push(row_case(&format!("reduce_{}_{ty}", op.name()), caps, &[(ty, Kind::Any)], |b, a| b.reduce(op, a[0])));
            }
        }
        if ty.elem.is_int() {
            let mask = ty.mask();
            out.push(row_case(&format!("splat_{mask}"), caps, &[(Type::BOOL, Kind::Any)], |b, a| b.inst(Op::Splat, mask, &[a[0]])));
            out.push(row_case(&format!("extract_lane_{mask}"), caps, &[(mask, Kind::Any)], |b, a| b.extract_lane(a[0], 1)));
            for parts in [2, 4, 8] {
                let part = mask.with_lanes(mask.lanes / parts);
                if mask.lanes < parts * 2 || !legal(part, caps) {
                    continue;
                }
                for i in 0..parts {
                    let name = format!("extract_part_{mask}_{i}_of_{parts}");
                    out.push(row_case(&name, caps, &[(mask, Kind::Any)], |b, a| b.extract_part(a[0], i, part.lanes)));
                }
                if parts == 2 {
                    let operands = [(part, Kind::Any), (part, Kind::Any)];
                    out.push(row_case(&format!("concat_{part}"), caps, &operands, |b, a| b.concat(a[0], a[1])));
                }
            }
            for op in [ReduceOp::Or, ReduceOp::And] {
                out.push(row_case(&format!("reduce_{}_{mask}", op.name()), caps, &[(mask, Kind::Any)], |b, a| b.reduce(op, a[0])));
            }
        }
    }
}

fn shuffles(caps: &Caps, out: &mut Vec<OpCase>) {
    for elem in INTS.into_iter().chain(FLOATS) {
        let ty = Type::vector(elem, caps.lanes(elem));
        let n = ty.lanes;
        let two = [(ty, Kind::Any), (ty, Kind::Any)];
        out.push(row_case(&format!("unpack_lo_{ty}"), caps, &two, |b, a| b.unpack_lo(a[0], a[1])));
        out.push(row_case(&format!("unpack_hi_{ty}"), caps, &two, |b, a| b.unpack_hi(a[0], a[1])));
        if matches!(elem, Elem::I16 | Elem::I32) {
            out.push(row_case(&format!("pack_s_{ty}"), caps, &two, |b, a| b.pack_s(a[0], a[1])));
            out.push(row_case(&format!("pack_u_{ty}"), caps, &two, |b, a| b.pack_u(a[0], a[1])));
        }
        let mut maps: Vec<(String, Vec<u16>)> = vec![
            ("even".into(), (0..n).map(|i| i * 2).collect()),
            ("odd".into(), (0..n).map(|i| i * 2 + 1).collect()),
            ("reverse".into(), (0..n).rev().collect()),
            ("rotate".into(), (0..n).map(|i| i + 1).collect()),
            ("low_twice".into(), (0..n).map(|i| i / 2).collect()),
            ("pairs".into(), (0..n).map(|i| i ^ 1).collect()),
            ("blend".into(), (0..n).map(|i| if i % 2 == 1 { i + n } else { i }).collect()),
            ("second".into(), (0..n).map(|i| i + n).collect()),
            ("transpose".into(), (0..n).map(|i| if i % 2 == 1 { i - 1 + n } else { i }).collect()),
        ];
        let mut rng = Rng::new(&format!("shuffle {ty}"));
        maps.extend((0..12).map(|i| {
            let range = if i % 2 == 0 { n } else { 2 * n };
            (format!("random{i}"), (0..n).map(|_| rng.below(u64::from(range)) as u16).collect())
        }));
        for (name, map) in maps {
            out.push(row_case(&format!("shuffle_{ty}_{name}"), caps, &two, |b, a| b.shuffle(a[0], a[1], map.clone())));
        }
    }
    let bytes = Type::vector(Elem::I8, caps.lanes(Elem::I8));
    out.push(row_case("table16", caps, &[(bytes, Kind::Any), (bytes, Kind::Any)], |b, a| b.inst(Op::Table16, bytes, &[a[0], a[1]])));
    out.push(table256(caps, bytes));
}

/// The table is the second operand's whole buffer.
fn table256(caps: &Caps, bytes: Type) -> OpCase {
    let mut case = row_case("table256", caps, &[(bytes, Kind::Any), (Type::I64, Kind::Any)], |b, a| {
        let table = tflc_kir::Value(b.begin().0 + 4);
        debug_assert_eq!(b.ty(table), Type::PTR);
        b.inst(Op::Table256, bytes, &[table, a[0]])
    });
    let mut rng = Rng::new("table");
    case.buffers[2].resize_with(512, || rng.bits() as u8);
    case.result = Mem::S8;
    case
}
