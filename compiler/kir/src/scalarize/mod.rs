//! Takes vectors apart into scalars, for processors without vector registers.
//!
//! Takes a kernel that verifies; gives one with the same parameters that does the same to the bit and has no vectors: each lane of a value is a
//! value of its own. Lanes of `I8` and `I16`, which have no scalars, are sign-extended `I32`; masks are truth values. Moving lanes costs
//! nothing, arithmetic costs an instruction a lane; loads and stores go lane by lane, in order. A template for such a target
//! counts a vector as that many registers: see [`crate::Caps::scalars`]. Arithmetic on halves is refused: it needs [`crate::Caps::f16`], which no
//! such target has.

mod lanes;
mod memory;

use crate::builder::Builder;
use crate::kernel::{Block, Inst, Kernel, Value};
use crate::op::*;
use crate::types::{Elem, Type};

/// The lanes of a value.
type Lanes = Vec<Value>;

/// The same kernel without vectors.
///
/// # Errors
/// Where it computes with halves; the message names the operator.
pub fn scalarize(kernel: &Kernel) -> Result<Kernel, String> {
    let mut s = Scalarizer { b: Builder::new(kernel.name.clone()), kernel, values: vec![vec![]; kernel.types.len()] };
    s.values[kernel.begin.index()] = vec![s.b.begin()];
    s.values[kernel.end.index()] = vec![s.b.end()];
    for p in &kernel.params {
        let v = s.b.param(p.name.clone(), kernel.ty(p.value));
        s.values[p.value.index()] = vec![v];
    }
    s.insts(&kernel.body)?;
    let status = s.flat(&kernel.body.yields);
    Ok(match status[..] {
        [status] => s.b.finish_status(status),
        _ => s.b.finish(),
    })
}

struct Scalarizer<'k> {
    /// What is built.
    b: Builder,
    kernel: &'k Kernel,
    /// The lanes of each value of `kernel` that has been reached.
    values: Vec<Lanes>,
}

/// The scalar type that holds a lane.
fn held(elem: Elem) -> Type {
    Type::scalar(elem.scalar())
}

impl Scalarizer<'_> {
    fn ty(&self, v: Value) -> Type {
        self.kernel.ty(v)
    }

    /// The lanes of values, one after another.
    fn flat(&self, values: &[Value]) -> Lanes {
        values.iter().flat_map(|v| self.values[v.index()].iter().copied()).collect()
    }

    /// The types of these lanes.
    fn flat_types(&self, values: &[Value]) -> Vec<Type> {
        let types = |&v: &Value| std::iter::repeat_n(held(self.ty(v).elem), usize::from(self.ty(v).lanes));
        values.iter().flat_map(types).collect()
    }

    /// Makes `lanes`, one after another, those of `values`.
    fn define(&mut self, values: &[Value], lanes: &[Value]) {
        let mut rest = lanes;
        for &v in values {
            let (own, others) = rest.split_at(usize::from(self.ty(v).lanes));
            self.values[v.index()] = own.to_vec();
            rest = others;
        }
    }

    fn insts(&mut self, block: &Block) -> Result<(), String> {
        block.insts.iter().try_for_each(|i| self.inst(i))
    }

    /// Takes a nested block apart; its arguments and what it yields are lanes.
    fn nested(&mut self, block: &Block) -> Result<Block, String> {
        let types = self.flat_types(&block.args);
        let args = self.b.open(&types);
        self.define(&block.args, &args);
        self.insts(block)?;
        let yields = self.flat(&block.yields);
        Ok(self.b.close(yields))
    }

    fn inst(&mut self, inst: &Inst) -> Result<(), String> {
        match &inst.op {
            Op::For { .. } | Op::If | Op::While => {
                let args = self.flat(&inst.args);
                let blocks = inst.blocks.iter().map(|b| self.nested(b)).collect::<Result<_, _>>()?;
                let types = self.flat_types(&inst.results);
                let results = self.b.control(inst.op.clone(), &args, &types, blocks);
                self.define(&inst.results, &results);
            }
            Op::Store(m, narrow) => self.store(inst, *m, *narrow),
            Op::Tile(_) => return Err("tiles: a target without vectors has none".into()),
            Op::Prefetch(mode, locality) => {
                let addr = self.address(inst, *mode, 0);
                self.b.prefetch(addr, *locality);
            }
            op => {
                let lanes = self.operator(inst, op)?;
                debug_assert_eq!(lanes.len(), usize::from(self.ty(inst.results[0]).lanes), "{op:?}");
                self.values[inst.results[0].index()] = lanes;
            }
        }
        Ok(())
    }

    /// The lanes of the result of an operator.
    fn operator(&mut self, inst: &Inst, op: &Op) -> Result<Lanes, String> {
        let ty = self.ty(inst.results[0]);
        let count = usize::from(ty.lanes);
        let a: Vec<Lanes> = inst.args.iter().map(|v| self.values[v.index()].clone()).collect();
        let from = inst.args.first().map_or(ty, |&v| self.ty(v));
        Ok(match op {
            Op::Const(bits) => vec![self.constant(ty.elem, *bits); count],
            Op::ConstVec(bits) => bits.iter().map(|&bits| self.constant(ty.elem, bits)).collect(),
            Op::Un(op) => self.each(&[&a[0]], |s, x| s.unary(*op, ty.elem, x[0])),
            Op::Bin(op) => self.each(&[&a[0], &a[1]], |s, x| s.binary(*op, ty.elem, x[0], x[1])),
            Op::Fma => self.each(&[&a[0], &a[1], &a[2]], |s, x| s.b.fma(x[0], x[1], x[2])),
            // Sign extension keeps the order of unsigned lanes too.
            Op::Cmp(op) => self.each(&[&a[0], &a[1]], |s, x| s.b.cmp(*op, x[0], x[1])),
            Op::Select => {
                let condition = if a[0].len() == count { a[0].clone() } else { vec![a[0][0]; count] };
                self.each(&[&condition, &a[1], &a[2]], |s, x| s.b.select(x[0], x[1], x[2]))
            }
            Op::Convert(ConvertOp::Bitcast) => self.bitcast(from.elem, ty.elem, &a[0]),
            Op::Convert(op) => self.each(&[&a[0]], |s, x| s.convert(*op, from.elem, ty.elem, x[0])),
            Op::Dot4(signs) => {
                let (x, y) = self.factors(*signs, &a[1], &a[2]);
                (0..count).map(|i| self.dot(a[0][i], &x[4 * i..][..4], &y[4 * i..][..4])).collect()
            }
            Op::Dot2 => (0..count).map(|i| self.dot(a[0][i], &a[1][2 * i..][..2], &a[2][2 * i..][..2])).collect(),
            Op::Mmla(signs) => {
                let (x, y) = self.factors(*signs, &a[1], &a[2]);
                // Block by block: row i of the first factor and row j of the second.
                let rows = |at: usize| (at / 4 * 16 + at % 4 / 2 * 8, at / 4 * 16 + at % 2 * 8);
                (0..count).map(|at| self.dot(a[0][at], &x[rows(at).0..][..8], &y[rows(at).1..][..8])).collect()
            }
            Op::FmaF16 | Op::PackF16 | Op::WidenF16Lo | Op::WidenF16Hi => {
                return Err(format!("{op:?}: a target without vectors has no arithmetic on halves"));
            }
            Op::Splat => vec![self.fit(ty.elem, a[0][0]); count],
            Op::ExtractLane(i) => vec![self.unsigned(from.elem, a[0][usize::from(*i)])],
            Op::InsertLane(i) => {
                let mut lanes = a[0].clone();
                lanes[usize::from(*i)] = self.fit(ty.elem, a[1][0]);
                lanes
            }
            Op::ExtractPart(i) => a[0][usize::from(*i) * count..][..count].to_vec(),
            Op::Concat => a.concat(),
            Op::Shuffle(map) => {
                let both = a.concat();
                map.iter().map(|&i| both[usize::from(i)]).collect()
            }
            Op::UnpackLo | Op::UnpackHi => {
                let half = 64 / ty.elem.bits() as usize;
                let start = if *op == Op::UnpackHi { half } else { 0 };
                let source = |i: usize| (i / (2 * half) * 2 * half) + start + i % (2 * half) / 2;
                (0..count).map(|i| a[i % 2][source(i)]).collect()
            }
            Op::PackS | Op::PackU => {
                let (block, op) = (128 / from.elem.bits() as usize, if *op == Op::PackS { ConvertOp::SatS } else { ConvertOp::SatU });
                let pieces = a[0].chunks(block).zip(a[1].chunks(block));
                let lanes: Lanes = pieces.flat_map(|(x, y)| [x, y].concat()).collect();
                self.each(&[&lanes], |s, x| s.convert(op, from.elem, ty.elem, x[0]))
            }
            Op::Table16 => self.table16(&a[0], &a[1]),
            Op::Table256 => self.each(&[&a[1]], |s, x| s.table256(a[0][0], x[0])),
            Op::Reduce(op) => vec![self.reduce(*op, a[0].clone())],
            Op::Load(m) => self.load(inst, *m),
            Op::LoadSplat(m) => {
                let addr = self.address(inst, m.addr, 0);
                vec![self.load_lane(ty.elem, m.mem, addr); count]
            }
            Op::Gather(m) => self.gather(inst, *m),
            Op::PtrAdd => vec![self.b.ptr_add(a[0][0], a[1][0])],
            Op::Scratch { bytes, align } => vec![self.b.scratch(*bytes, *align)],
            Op::For { .. } | Op::If | Op::While | Op::Store(..) | Op::Prefetch(..) | Op::Tile(_) => unreachable!("taken apart by `inst`"),
        })
    }

    /// Applies `f` lane by lane; neighbours with equal operands share the result.
    fn each(&mut self, operands: &[&[Value]], mut f: impl FnMut(&mut Self, &[Value]) -> Value) -> Lanes {
        let mut out = Lanes::new();
        let mut last: Lanes = vec![];
        for i in 0..operands[0].len() {
            let own: Lanes = operands.iter().map(|lanes| lanes[i]).collect();
            let v = match out.last() {
                Some(&v) if own == last => v,
                _ => f(self, &own),
            };
            out.push(v);
            last = own;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Options, generate};
    use crate::{Caps, optimize, parse, verify};

    /// Random kernels of every vector width do the same without vectors, before and after the optimiser.
    #[test]
    fn random_kernels_do_the_same() {
        let targets = [Caps::x86_64_baseline(), Caps::x86_64_v4_vnni(), Caps::aarch64_i8mm(), Caps::riscv64_vectors()];
        for (target, caps) in targets.iter().enumerate() {
            for seed in 0..60 {
                let case = generate(seed, caps, &Options::default());
                let mut scalar = scalarize(&case.kernel).unwrap_or_else(|e| panic!("{e}"));
                for stage in ["taken apart", "optimised"] {
                    verify(&scalar).unwrap_or_else(|e| panic!("{target} {seed} {stage}: {e}\n{scalar}"));
                    assert!(scalar.types.iter().all(|t| !t.is_vector()), "{target} {seed} {stage}");
                    let expected = case.interpret().unwrap_or_else(|e| panic!("{e}"));
                    assert_eq!(case.interpret_as(&scalar).unwrap_or_else(|e| panic!("{e}")), expected, "{target} {seed} {stage}");
                    optimize(&mut scalar);
                }
            }
        }
    }

    fn text(kernel: &str) -> Result<String, String> {
        let kernel = parse(kernel).unwrap_or_else(|e| panic!("{e}"));
        scalarize(&kernel).map(|mut k| {
            optimize(&mut k);
            crate::print(&k)
        })
    }

    /// Moved lanes cost nothing, and a splat is computed with once.
    #[test]
    fn lanes_that_only_move_leave_no_instruction() {
        let made = text(
            "kernel @k(%x: ptr, %y: ptr, %f: f32) units %b .. %e {
               %s = splat f32x4 %f
               %d = mul f32x4 %s, %s
               %v = load.f32 f32x4 [%x]
               %w = shuffle f32x4 %v, %d (3, 0, 4, 5)
               store.f32.wrap [%y] first(3), %w
             }",
        )
        .expect("has no halves");
        let count = |word: &str| made.matches(word).count();
        assert_eq!((count("mul"), count("load"), count("store")), (1, 2, 3), "{made}");
    }

    #[test]
    fn halves_are_refused() {
        let e =
            text("kernel @k(%x: ptr) units %b .. %e { %v = load.s16 i16x8 [%x] %w = fma_f16 i16x8 %v, %v, %v store.s16.wrap [%x], %w }");
        assert!(e.expect_err("has halves").contains("FmaF16"));
    }
}
