//! What the Cranelift backend makes of inner loops: in-place multiply-adds by element, dot products, nothing spilled.

use tflc::backend::cranelift;
use tflc::target::{ArmLevel, Cpu, Target, X86Level};
use tflc_kir::{Addr, Builder, CmpOp, DotSigns, Elem, Kernel, Mem, Narrow, Type, Value};

const F32X4: Type = Type::vector(Elem::F32, 4);
const I32X4: Type = Type::vector(Elem::I32, 4);

/// How the values of A reach the multiply-add.
#[derive(Clone, Copy, PartialEq)]
enum Feed {
    /// One `load_splat` for each.
    LoadSplat,
    /// Four in one vector, splatted lane by lane.
    Lanes,
}

/// `mr` rows by `nv` vectors of C, k-loop inside.
fn gemm(mr: i64, nv: i64, feed: Feed, fma: bool) -> Kernel {
    let mut b = Builder::new("gemm");
    let (a, lda) = (b.ptr_param("a"), b.param("lda", Type::I64));
    let (w, c, k) = (b.ptr_param("b"), b.ptr_param("c"), b.param("k", Type::I64));
    let zero = b.float(F32X4, 0.0);
    let rows: Vec<Value> = (0..mr)
        .scan(a, |p, _| {
            let row = *p;
            *p = b.ptr_add(row, lda);
            Some(row)
        })
        .collect();
    let start = b.i64(0);
    let unroll = if feed == Feed::Lanes { 4 } else { 1 };
    let carried = vec![zero; (mr * nv) as usize];
    let acc = b.for_loop(start, k, unroll, &carried, |b, i, acc| {
        let mut acc = acc.to_vec();
        let at = b.mul_const(i, 16 * nv);
        let quads: Vec<Value> = match feed {
            Feed::Lanes => rows.iter().map(|&r| b.load(F32X4, Mem::F32, Addr::new(r).index(i, 4))).collect(),
            Feed::LoadSplat => vec![],
        };
        for u in 0..unroll {
            let bs: Vec<Value> = (0..nv).map(|j| b.load(F32X4, Mem::F32, Addr::new(w).index(at, 1).offset((u * nv + j) * 16))).collect();
            for r in 0..mr {
                let x = match feed {
                    Feed::LoadSplat => b.load_splat(F32X4, Mem::F32, Addr::new(rows[r as usize]).index(i, 4)),
                    Feed::Lanes => {
                        let s = b.extract_lane(quads[r as usize], u as u16);
                        b.splat(s, 4)
                    }
                };
                for j in 0..nv {
                    let slot = &mut acc[(r * nv + j) as usize];
                    *slot = if fma {
                        b.fma(x, bs[j as usize], *slot)
                    } else {
                        let p = b.mul(x, bs[j as usize]);
                        b.add(p, *slot)
                    };
                }
            }
        }
        acc
    });
    for (i, &v) in acc.iter().enumerate() {
        b.store(Mem::F32, Narrow::Wrap, Addr::new(c).offset(i as i64 * 16), v);
    }
    b.finish()
}

/// Instructions of the block with most of them: the loop body.
fn inner_loop(vcode: &str) -> Vec<String> {
    let mut blocks: Vec<Vec<String>> = vec![vec![]];
    for line in vcode.lines().map(str::trim) {
        if line.ends_with(':') {
            blocks.push(vec![]);
        }
        blocks.last_mut().expect("a block").push(line.to_owned());
    }
    let arithmetic = |block: &Vec<String>| {
        ["fmla", "mulps", "sdot", "udot", "sudot", "smmla", "usmmla", "pmaddwd", "smull"].iter().map(|op| count(block, op)).sum::<usize>()
    };
    blocks.into_iter().max_by_key(arithmetic).unwrap_or_default()
}

fn count(lines: &[String], what: &str) -> usize {
    lines.iter().filter(|l| l.split(' ').next() == Some(what)).count()
}

/// Loads from and stores to the stack, and register copies.
fn allocator_edits(lines: &[String]) -> Vec<&String> {
    let stack = |l: &str| l.contains("[sp") || l.contains("(%rsp") || l.contains("rsp)");
    lines.iter().filter(|l| stack(l) || l.starts_with("mov v")).collect()
}

fn body(kernel: &Kernel, cpu: Cpu) -> Vec<String> {
    let vcode = cranelift::vcode_text(kernel, &Target::new(cpu)).expect("compiles");
    let lines = inner_loop(&vcode);
    assert!(allocator_edits(&lines).is_empty(), "allocator edits in the inner loop:\n{}", lines.join("\n"));
    lines
}

const NEON: Cpu = Cpu::Aarch64(ArmLevel::Baseline);
const DOTPROD: Cpu = Cpu::Aarch64(ArmLevel::Dotprod);
const SSE2: Cpu = Cpu::X86(X86Level::Baseline);

#[test]
fn f32_gemm_with_splats_is_fmla_by_element_in_place() {
    for (mr, nv) in [(8, 2), (6, 4), (4, 4), (7, 3), (12, 2), (1, 8)] {
        let lines = body(&gemm(mr, nv, Feed::LoadSplat, true), NEON);
        let text = lines.join("\n");
        assert_eq!(count(&lines, "fmla"), (mr * nv) as usize, "{text}");
        assert_eq!(lines.iter().filter(|l| l.contains(".s[0]")).count(), (mr * nv) as usize, "{text}");
        assert_eq!(count(&lines, "dup") + count(&lines, "ld1r"), 0, "{text}");
    }
}

#[test]
fn f32_gemm_with_lanes_is_fmla_by_each_element() {
    for (mr, nv) in [(8, 2), (6, 3), (4, 4)] {
        let lines = body(&gemm(mr, nv, Feed::Lanes, true), NEON);
        let text = lines.join("\n");
        assert_eq!(count(&lines, "fmla"), (mr * nv * 4) as usize, "{text}");
        for lane in 0..4 {
            assert_eq!(lines.iter().filter(|l| l.contains(&format!(".s[{lane}]"))).count(), (mr * nv) as usize, "{text}");
        }
        assert_eq!(count(&lines, "ldr"), (mr + nv * 4) as usize, "{text}");
    }
}

#[test]
fn f32_gemm_on_sse2_multiplies_and_adds_in_place() {
    for (mr, nv) in [(4, 2), (5, 2), (3, 3)] {
        let lines = body(&gemm(mr, nv, Feed::LoadSplat, false), SSE2);
        let text = lines.join("\n");
        assert_eq!(count(&lines, "mulps"), (mr * nv) as usize, "{text}");
        assert_eq!(count(&lines, "addps"), (mr * nv) as usize, "{text}");
        // One copy per product that leaves its splat alive.
        assert!(count(&lines, "movdqa") <= (mr * (nv - 1)) as usize, "{text}");
    }
}

/// CMPPS faults on an address that is no multiple of 16.
#[test]
fn compares_on_sse2_do_not_read_memory() {
    let mut b = Builder::new("less");
    let [x, y, out] = ["x", "y", "out"].map(|n| b.ptr_param(n));
    let (x, y) = (b.load(F32X4, Mem::F32, x), b.load(F32X4, Mem::F32, Addr::new(y).offset(4)));
    let less = b.cmp(CmpOp::Lt, x, y);
    let (one, zero) = (b.int(I32X4, 1), b.int(I32X4, 0));
    let r = b.select(less, one, zero);
    b.store(Mem::S32, Narrow::Wrap, out, r);
    let vcode = cranelift::vcode_text(&b.finish(), &Target::new(SSE2)).expect("compiles");
    let compares: Vec<&str> = vcode.lines().filter(|l| l.contains("cmp") && l.contains("ps")).collect();
    assert!(!compares.is_empty() && compares.iter().all(|l| !l.contains('(')), "{vcode}");
}

/// `mr` rows by `nv` vectors of 32-bit sums of products of four bytes.
fn int8_gemm(mr: i64, nv: i64, signs: DotSigns) -> Kernel {
    let bytes = Type::vector(Elem::I8, 16);
    let mut b = Builder::new("int8_gemm");
    let (a, lda) = (b.ptr_param("a"), b.param("lda", Type::I64));
    let (w, c, k) = (b.ptr_param("b"), b.ptr_param("c"), b.param("k", Type::I64));
    let zero = b.int(I32X4, 0);
    let start = b.i64(0);
    let acc = b.for_loop(start, k, 4, &vec![zero; (mr * nv) as usize], |b, i, acc| {
        let mut acc = acc.to_vec();
        let at = b.mul_const(i, 4 * nv);
        let bs: Vec<Value> = (0..nv).map(|j| b.load(bytes, Mem::S8, Addr::new(w).index(at, 1).offset(j * 16))).collect();
        for r in 0..mr {
            let row = b.mul_const(lda, r);
            let row = b.ptr_add(a, row);
            let x = b.load_splat(I32X4, Mem::S32, Addr::new(row).index(i, 1));
            let x = b.bitcast(bytes, x);
            for j in 0..nv {
                let slot = &mut acc[(r * nv + j) as usize];
                *slot = b.dot4(signs, *slot, x, bs[j as usize]);
            }
        }
        acc
    });
    for (i, &v) in acc.iter().enumerate() {
        b.store(Mem::S32, Narrow::Wrap, Addr::new(c).offset(i as i64 * 16), v);
    }
    b.finish()
}

#[test]
fn int8_gemm_with_dotprod_is_sdot_in_place() {
    let lines = body(&int8_gemm(4, 4, DotSigns::Signed), DOTPROD);
    let text = lines.join("\n");
    assert_eq!(count(&lines, "sdot"), 16, "{text}");
    assert_eq!(lines.iter().filter(|l| l.starts_with("sdot") && l.ends_with(".s[0]")).count(), 16, "{text}");
    assert_eq!(["smull", "fmla", "dup", "ld1r"].map(|op| count(&lines, op)), [0; 4], "{text}");
}

#[test]
fn unsigned_dot_products_are_udot_in_place() {
    let lines = body(&int8_gemm(4, 4, DotSigns::Unsigned), DOTPROD);
    assert_eq!(count(&lines, "udot"), 16, "{}", lines.join("\n"));
}

#[test]
fn dot_products_of_different_signs_are_one_instruction_with_i8mm() {
    let lines = body(&int8_gemm(4, 4, DotSigns::UnsignedSigned), Cpu::Aarch64(ArmLevel::I8mm));
    assert_eq!(count(&lines, "sudot"), 16, "{}", lines.join("\n"));
}

/// Float multiply-adds by element stay what they are beside dot products by element.
#[test]
fn multiply_adds_stay_beside_dot_products() {
    let bytes = Type::vector(Elem::I8, 16);
    let mut b = Builder::new("both");
    let (x, y, c) = (b.ptr_param("x"), b.ptr_param("y"), b.ptr_param("c"));
    let (f, g) = (b.load(F32X4, Mem::F32, Addr::new(x)), b.load(F32X4, Mem::F32, Addr::new(y)));
    let (p, q) = (b.load(bytes, Mem::S8, Addr::new(x)), b.load(bytes, Mem::S8, Addr::new(y)));
    let (mut sum, mut dot) = (b.float(F32X4, 0.5), b.int(I32X4, 7));
    let words = b.bitcast(I32X4, q);
    for lane in 0..4 {
        let s = b.extract_lane(g, lane);
        let s = b.splat(s, 4);
        sum = b.fma(f, s, sum);
        let s = b.extract_lane(words, lane);
        let s = b.splat(s, 4);
        let s = b.bitcast(bytes, s);
        dot = b.dot4(DotSigns::Signed, dot, p, s);
        // Nobody uses it, and nothing is emitted for it.
        b.dot4(DotSigns::Signed, dot, s, p);
    }
    b.store(Mem::F32, Narrow::Wrap, Addr::new(c), sum);
    b.store(Mem::S32, Narrow::Wrap, Addr::new(c).offset(16), dot);
    let text = cranelift::vcode_text(&b.finish(), &Target::new(DOTPROD)).expect("compiles");
    let lines: Vec<String> = text.lines().map(|l| l.trim().to_owned()).collect();
    assert_eq!([count(&lines, "fmla"), count(&lines, "sdot")], [4, 4], "{text}");
}

#[test]
fn int8_gemm_without_dotprod_is_a_widening_tree() {
    let lines = body(&int8_gemm(2, 2, DotSigns::Signed), NEON);
    let text = lines.join("\n");
    for (op, per_dot) in [("smull", 1), ("smull2", 1), ("saddlp", 2), ("addp", 1)] {
        assert_eq!(count(&lines, op), 4 * per_dot, "{op}:\n{text}");
    }
}

#[test]
fn int8_gemm_on_sse2_is_pmaddwd() {
    let lines = body(&int8_gemm(2, 2, DotSigns::Signed), SSE2);
    assert_eq!(count(&lines, "pmaddwd"), 8, "{}", lines.join("\n"));
}

#[test]
fn gemm_template_inner_loops_hold_no_allocator_edits() {
    use tflc_templates::cpu::epilogue::Epilogue;
    use tflc_templates::cpu::gemm::{GemmSpec, build};
    use tflc_templates::cpu::mac::WeightFormat;
    use tflc_templates::expr::Storage;
    let kinds = [
        (Storage::F32, WeightFormat::F32, Storage::F32),
        (Storage::I8, WeightFormat::I8, Storage::I32),
        (Storage::U8, WeightFormat::U8 { zero_point: 128 }, Storage::I32),
    ];
    for cpu in [NEON, DOTPROD, Cpu::Aarch64(ArmLevel::I8mm), SSE2] {
        for (a_storage, weights, accumulator) in kinds {
            for (m, n) in [(3136, 256), (1, 1000), (6, 24)] {
                let epilogue = Epilogue::identity(accumulator);
                let spec = GemmSpec { m, n, k: 256, lda: 256, ldc: n, a_storage, weights, epilogue };
                let kernel = build(&spec, &Target::new(cpu).caps());
                body(&kernel, cpu);
            }
        }
    }
}
