//! The meaning of pointwise expressions: an interpreter for one element, and one for slices in chunks.
//!
//! Transcendental functions are computed in binary64 and rounded to binary32, so they are correct to within one unit in
//! the last place nearly always. The evaluator runs on this; kernels are compared with it. It does not broadcast: an
//! input is a slice as long as the result, or one element for all.

use super::{Binary, Cast, Compare, Const, Expr, Id, Node, Storage, Ty, Unary};
use half::{bf16, f16};

/// A value of an expression.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Scalar {
    /// binary32.
    F32(f32),
    /// binary64.
    F64(f64),
    /// Signed 32-bit integer.
    I32(i32),
    /// Signed 64-bit integer.
    I64(i64),
    /// Truth value.
    Bool(bool),
}

/// Elements of one input, little-endian.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// One element for each element of the result.
    Dense(&'a [u8]),
    /// One element for all.
    Splat(&'a [u8]),
}

/// Elements computed at once by [`eval_slices`].
pub const CHUNK: usize = 256;

/// Value of `expr` for one element of each input; inputs have the compute types of the expression's inputs.
///
/// # Panics
/// Where an input is missing or of another type.
pub fn interpret(expr: &Expr, inputs: &[Scalar]) -> Scalar {
    let mut lanes = Machine::new(expr);
    for (i, value) in inputs.iter().enumerate() {
        match (value, &mut lanes.inputs[i]) {
            (Scalar::F32(v), Lanes::F32(l)) => l[0] = *v,
            (Scalar::F64(v), Lanes::F64(l)) => l[0] = *v,
            (Scalar::I32(v), Lanes::I32(l)) => l[0] = *v,
            (Scalar::I64(v), Lanes::I64(l)) => l[0] = *v,
            (Scalar::Bool(v), Lanes::Bool(l)) => l[0] = *v,
            (v, _) => panic!("input {i} is {v:?}"),
        }
    }
    lanes.run(expr, 1);
    match lanes.value(expr.result, expr) {
        Lanes::F32(l) => Scalar::F32(l[0]),
        Lanes::F64(l) => Scalar::F64(l[0]),
        Lanes::I32(l) => Scalar::I32(l[0]),
        Lanes::I64(l) => Scalar::I64(l[0]),
        Lanes::Bool(l) => Scalar::Bool(l[0]),
    }
}

/// Computes `output.len() / expr.output.bytes()` elements of `expr`.
///
/// # Panics
/// Where an input is shorter than the result asks for.
pub fn eval_slices(expr: &Expr, inputs: &[Source<'_>], output: &mut [u8]) {
    let mut lanes = Machine::new(expr);
    for (i, source) in inputs.iter().enumerate() {
        if let Source::Splat(bytes) = source {
            let width = expr.inputs[i].bytes();
            for lane in 0..CHUNK {
                load(expr.inputs[i], &bytes[..width], &mut lanes.inputs[i], lane);
            }
        }
    }
    let width = expr.output.bytes();
    let elements = output.len() / width;
    let mut start = 0;
    while start < elements {
        let n = CHUNK.min(elements - start);
        for (i, source) in inputs.iter().enumerate() {
            if let Source::Dense(bytes) = source {
                let w = expr.inputs[i].bytes();
                load(expr.inputs[i], &bytes[start * w..(start + n) * w], &mut lanes.inputs[i], 0);
            }
        }
        lanes.run(expr, n);
        store(expr.output, lanes.value(expr.result, expr), &mut output[start * width..(start + n) * width]);
        start += n;
    }
}

/// Values of one node for a chunk of elements.
#[derive(Clone)]
enum Lanes {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    Bool(Vec<bool>),
}

impl Lanes {
    fn new(ty: Ty) -> Lanes {
        match ty {
            Ty::F32 => Lanes::F32(vec![0.0; CHUNK]),
            Ty::F64 => Lanes::F64(vec![0.0; CHUNK]),
            Ty::I32 => Lanes::I32(vec![0; CHUNK]),
            Ty::I64 => Lanes::I64(vec![0; CHUNK]),
            Ty::Bool => Lanes::Bool(vec![false; CHUNK]),
        }
    }
}

/// Reads elements of `storage` from `bytes` into lanes from `first` on.
fn load(storage: Storage, bytes: &[u8], lanes: &mut Lanes, first: usize) {
    macro_rules! each {
        ($lanes:ident, $width:literal, $f:expr) => {
            for (lane, chunk) in $lanes[first..].iter_mut().zip(bytes.as_chunks::<$width>().0) {
                *lane = $f(*chunk);
            }
        };
    }
    match (storage, lanes) {
        (Storage::F32, Lanes::F32(l)) => each!(l, 4, f32::from_le_bytes),
        (Storage::F64, Lanes::F64(l)) => each!(l, 8, f64::from_le_bytes),
        (Storage::F16, Lanes::F32(l)) => each!(l, 2, |b| f16::from_le_bytes(b).to_f32()),
        (Storage::BF16, Lanes::F32(l)) => each!(l, 2, |b| bf16::from_le_bytes(b).to_f32()),
        (Storage::I8, Lanes::I32(l)) => each!(l, 1, |b: [u8; 1]| b[0] as i8 as i32),
        (Storage::U8, Lanes::I32(l)) => each!(l, 1, |b: [u8; 1]| b[0] as i32),
        (Storage::I16, Lanes::I32(l)) => each!(l, 2, |b| i16::from_le_bytes(b) as i32),
        (Storage::U16, Lanes::I32(l)) => each!(l, 2, |b| u16::from_le_bytes(b) as i32),
        (Storage::I32, Lanes::I32(l)) => each!(l, 4, i32::from_le_bytes),
        (Storage::U32, Lanes::I64(l)) => each!(l, 4, |b| u32::from_le_bytes(b) as i64),
        (Storage::I64, Lanes::I64(l)) => each!(l, 8, i64::from_le_bytes),
        (Storage::Bool, Lanes::Bool(l)) => each!(l, 1, |b: [u8; 1]| b[0] != 0),
        (storage, _) => unreachable!("lanes of {storage:?}"),
    }
}

/// Writes the first lanes to `bytes` as elements of `storage`.
fn store(storage: Storage, lanes: &Lanes, bytes: &mut [u8]) {
    macro_rules! each {
        ($lanes:ident, $width:literal, $f:expr) => {
            for (lane, chunk) in $lanes.iter().zip(bytes.as_chunks_mut::<$width>().0) {
                *chunk = $f(*lane).to_le_bytes();
            }
        };
    }
    match (storage, lanes) {
        (Storage::F32, Lanes::F32(l)) => each!(l, 4, |v: f32| v),
        (Storage::F64, Lanes::F64(l)) => each!(l, 8, |v: f64| v),
        (Storage::F16, Lanes::F32(l)) => each!(l, 2, f16::from_f32),
        (Storage::BF16, Lanes::F32(l)) => each!(l, 2, bf16::from_f32),
        (Storage::I8 | Storage::U8, Lanes::I32(l)) => each!(l, 1, |v: i32| v as u8),
        (Storage::I16 | Storage::U16, Lanes::I32(l)) => each!(l, 2, |v: i32| v as u16),
        (Storage::I32, Lanes::I32(l)) => each!(l, 4, |v: i32| v),
        (Storage::U32, Lanes::I64(l)) => each!(l, 4, |v: i64| v as u32),
        (Storage::I64, Lanes::I64(l)) => each!(l, 8, |v: i64| v),
        (Storage::Bool, Lanes::Bool(l)) => each!(l, 1, |v: bool| v as u8),
        (storage, _) => unreachable!("lanes of {storage:?}"),
    }
}

/// Lanes of all inputs and nodes of one expression.
struct Machine {
    inputs: Vec<Lanes>,
    nodes: Vec<Lanes>,
}

impl Machine {
    fn new(expr: &Expr) -> Machine {
        let mut nodes: Vec<Lanes> = expr.types().into_iter().map(Lanes::new).collect();
        for (node, lanes) in expr.nodes.iter().zip(&mut nodes) {
            match (node, lanes) {
                (Node::Const(Const::F32(v)), Lanes::F32(l)) => l.fill(f32::from_bits(*v)),
                (Node::Const(Const::F64(v)), Lanes::F64(l)) => l.fill(f64::from_bits(*v)),
                (Node::Const(Const::I32(v)), Lanes::I32(l)) => l.fill(*v),
                (Node::Const(Const::I64(v)), Lanes::I64(l)) => l.fill(*v),
                (Node::Const(Const::Bool(v)), Lanes::Bool(l)) => l.fill(*v),
                _ => {}
            }
        }
        Machine { inputs: expr.inputs.iter().map(|s| Lanes::new(s.ty())).collect(), nodes }
    }

    /// Lanes of a node, which for inputs are those of the input.
    fn value(&self, id: Id, expr: &Expr) -> &Lanes {
        match &expr.nodes[id.0 as usize] {
            Node::Input(i) => &self.inputs[*i as usize],
            _ => &self.nodes[id.0 as usize],
        }
    }

    /// Computes all nodes for the first `n` lanes.
    fn run(&mut self, expr: &Expr, n: usize) {
        for (i, node) in expr.nodes.iter().enumerate() {
            let mut out = std::mem::replace(&mut self.nodes[i], Lanes::Bool(vec![]));
            let at = |id: &Id| self.value(*id, expr);
            match node {
                Node::Input(_) | Node::Const(_) => {}
                Node::Unary(op, a) => unary(*op, at(a), &mut out, n),
                Node::Binary(op, a, b) => binary(*op, at(a), at(b), &mut out, n),
                Node::MulAdd(a, b, c) => {
                    if let (Lanes::F32(a), Lanes::F32(b), Lanes::F32(c), Lanes::F32(o)) = (at(a), at(b), at(c), &mut out) {
                        for l in 0..n {
                            o[l] = (a[l] as f64 * b[l] as f64 + c[l] as f64) as f32;
                        }
                    }
                }
                Node::Compare(op, a, b) => compare(*op, at(a), at(b), &mut out, n),
                Node::Select(c, a, b) => select(at(c), at(a), at(b), &mut out, n),
                Node::Cast(kind, _, a) => cast(*kind, at(a), &mut out, n),
                Node::Table { table, signed_result, index } => {
                    if let (Lanes::I32(index), Lanes::I32(o)) = (at(index), &mut out) {
                        for l in 0..n {
                            let byte = table[(index[l] & 255) as usize];
                            o[l] = if *signed_result { byte as i8 as i32 } else { byte as i32 };
                        }
                    }
                }
            }
            self.nodes[i] = out;
        }
    }
}

/// The error function, accurate to about 1e-15: a series of positive terms below 3, continued fraction (Lentz) above.
/// Source: Abramowitz and Stegun, 7.1.6 and 7.1.14.
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() {
        return x;
    }
    let value = if a < 3.0 {
        // No term is negative, so nothing cancels: e^(-a^2) sum of 2^n a^(2n+1) / (1 * 3 * ... * (2n+1)).
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term > 1e-17 * sum && n < 200.0 {
            n += 1.0;
            term *= 2.0 * a * a / (2.0 * n + 1.0);
            sum += term;
        }
        sum * (-a * a).exp() * std::f64::consts::FRAC_2_SQRT_PI
    } else if a > 6.0 {
        1.0
    } else {
        let mut tail = a;
        for k in (1..=60).rev() {
            tail = a + (k as f64 / 2.0) / tail;
        }
        1.0 - (-a * a).exp() / (tail * std::f64::consts::PI.sqrt())
    };
    value.copysign(x)
}

fn unary(op: Unary, a: &Lanes, out: &mut Lanes, n: usize) {
    macro_rules! map {
        ($a:ident, $o:ident, $f:expr) => {
            for (o, a) in $o[..n].iter_mut().zip(&$a[..n]) {
                *o = $f(*a);
            }
        };
    }
    match (a, out) {
        (Lanes::F32(a), Lanes::F32(o)) => match op {
            Unary::Neg => map!(a, o, |v: f32| -v),
            Unary::Abs => map!(a, o, f32::abs),
            Unary::Sqrt => map!(a, o, f32::sqrt),
            Unary::RoundEven => map!(a, o, f32::round_ties_even),
            Unary::Floor => map!(a, o, f32::floor),
            Unary::Ceil => map!(a, o, f32::ceil),
            Unary::Trunc => map!(a, o, f32::trunc),
            Unary::Exp => map!(a, o, |v: f32| (v as f64).exp() as f32),
            Unary::Expm1 => map!(a, o, |v: f32| (v as f64).exp_m1() as f32),
            Unary::Log => map!(a, o, |v: f32| (v as f64).ln() as f32),
            Unary::Tanh => map!(a, o, |v: f32| (v as f64).tanh() as f32),
            Unary::Logistic => map!(a, o, |v: f32| (1.0 / (1.0 + (-v as f64).exp())) as f32),
            Unary::Sin => map!(a, o, |v: f32| (v as f64).sin() as f32),
            Unary::Cos => map!(a, o, |v: f32| (v as f64).cos() as f32),
            Unary::Erf => map!(a, o, |v: f32| erf(v as f64) as f32),
            Unary::Not => unreachable!("complement of a float"),
        },
        (Lanes::F64(a), Lanes::F64(o)) => match op {
            Unary::Neg => map!(a, o, |v: f64| -v),
            Unary::Abs => map!(a, o, f64::abs),
            _ => unreachable!("{op:?} of binary64"),
        },
        (Lanes::I32(a), Lanes::I32(o)) => match op {
            Unary::Neg => map!(a, o, i32::wrapping_neg),
            Unary::Abs => map!(a, o, i32::wrapping_abs),
            Unary::Not => map!(a, o, |v: i32| !v),
            _ => unreachable!("{op:?} of an integer"),
        },
        (Lanes::I64(a), Lanes::I64(o)) => match op {
            Unary::Neg => map!(a, o, i64::wrapping_neg),
            Unary::Abs => map!(a, o, i64::wrapping_abs),
            Unary::Not => map!(a, o, |v: i64| !v),
            _ => unreachable!("{op:?} of an integer"),
        },
        (Lanes::Bool(a), Lanes::Bool(o)) => map!(a, o, |v: bool| !v),
        _ => unreachable!("types of {op:?}"),
    }
}

fn binary(op: Binary, a: &Lanes, b: &Lanes, out: &mut Lanes, n: usize) {
    macro_rules! map {
        ($a:ident, $b:ident, $o:ident, $f:expr) => {
            for ((o, a), b) in $o[..n].iter_mut().zip(&$a[..n]).zip(&$b[..n]) {
                *o = $f(*a, *b);
            }
        };
    }
    macro_rules! integer {
        ($a:ident, $b:ident, $o:ident, $t:ty) => {
            match op {
                Binary::Add => map!($a, $b, $o, <$t>::wrapping_add),
                Binary::Sub => map!($a, $b, $o, <$t>::wrapping_sub),
                Binary::Mul => map!($a, $b, $o, <$t>::wrapping_mul),
                Binary::Div => map!($a, $b, $o, |a: $t, b: $t| a.checked_div(b).unwrap_or(0)),
                Binary::Rem => map!($a, $b, $o, |a: $t, b: $t| a.checked_rem(b).unwrap_or(0)),
                Binary::Min => map!($a, $b, $o, |a: $t, b: $t| if a < b { a } else { b }),
                Binary::Max => map!($a, $b, $o, |a: $t, b: $t| if a > b { a } else { b }),
                Binary::And => map!($a, $b, $o, |a: $t, b: $t| a & b),
                Binary::Or => map!($a, $b, $o, |a: $t, b: $t| a | b),
                Binary::Xor => map!($a, $b, $o, |a: $t, b: $t| a ^ b),
                Binary::Shl => map!($a, $b, $o, |a: $t, b: $t| a.wrapping_shl(b as u32)),
                Binary::Shr => map!($a, $b, $o, |a: $t, b: $t| a.wrapping_shr(b as u32)),
                Binary::MulRoundHi => map!($a, $b, $o, mul_round_hi),
                Binary::Pow | Binary::Atan2 => unreachable!("{op:?} of integers"),
            }
        };
    }
    match (a, b, out) {
        (Lanes::F32(a), Lanes::F32(b), Lanes::F32(o)) => match op {
            Binary::Add => map!(a, b, o, |a: f32, b: f32| a + b),
            Binary::Sub => map!(a, b, o, |a: f32, b: f32| a - b),
            Binary::Mul => map!(a, b, o, |a: f32, b: f32| a * b),
            Binary::Div => map!(a, b, o, |a: f32, b: f32| a / b),
            Binary::Rem => map!(a, b, o, |a: f32, b: f32| a % b),
            Binary::Min => map!(a, b, o, |a: f32, b: f32| if a < b { a } else { b }),
            Binary::Max => map!(a, b, o, |a: f32, b: f32| if a > b { a } else { b }),
            Binary::Pow => map!(a, b, o, |a: f32, b: f32| (a as f64).powf(b as f64) as f32),
            Binary::Atan2 => map!(a, b, o, |a: f32, b: f32| (a as f64).atan2(b as f64) as f32),
            _ => unreachable!("{op:?} of floats"),
        },
        (Lanes::F64(a), Lanes::F64(b), Lanes::F64(o)) => match op {
            Binary::Add => map!(a, b, o, |a: f64, b: f64| a + b),
            Binary::Sub => map!(a, b, o, |a: f64, b: f64| a - b),
            Binary::Mul => map!(a, b, o, |a: f64, b: f64| a * b),
            Binary::Div => map!(a, b, o, |a: f64, b: f64| a / b),
            Binary::Min => map!(a, b, o, |a: f64, b: f64| if a < b { a } else { b }),
            Binary::Max => map!(a, b, o, |a: f64, b: f64| if a > b { a } else { b }),
            _ => unreachable!("{op:?} of binary64"),
        },
        (Lanes::I32(a), Lanes::I32(b), Lanes::I32(o)) => integer!(a, b, o, i32),
        (Lanes::I64(a), Lanes::I64(b), Lanes::I64(o)) => integer!(a, b, o, i64),
        (Lanes::Bool(a), Lanes::Bool(b), Lanes::Bool(o)) => match op {
            Binary::And => map!(a, b, o, |a: bool, b: bool| a & b),
            Binary::Or => map!(a, b, o, |a: bool, b: bool| a | b),
            Binary::Xor => map!(a, b, o, |a: bool, b: bool| a ^ b),
            _ => unreachable!("{op:?} of truth values"),
        },
        _ => unreachable!("types of {op:?}"),
    }
}

/// The rounding doubling high product of integers that can be widened.
trait MulRoundHi: Copy {
    /// `(2*a*b + 2^31) >> 32`, saturated.
    fn mul_round_hi(self, other: Self) -> Self;
}

impl MulRoundHi for i32 {
    fn mul_round_hi(self, other: i32) -> i32 {
        ((self as i64 * other as i64 + (1 << 30)) >> 31).min(i32::MAX as i64) as i32
    }
}

impl MulRoundHi for i64 {
    fn mul_round_hi(self, _: i64) -> i64 {
        unreachable!("MulRoundHi of 64-bit integers")
    }
}

fn mul_round_hi<T: MulRoundHi>(a: T, b: T) -> T {
    a.mul_round_hi(b)
}

fn compare(op: Compare, a: &Lanes, b: &Lanes, out: &mut Lanes, n: usize) {
    fn all<T: PartialOrd + Copy>(op: Compare, a: &[T], b: &[T], out: &mut [bool]) {
        for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
            *o = match op {
                Compare::Eq => a == b,
                Compare::Ne => a != b,
                Compare::Lt => a < b,
                Compare::Le => a <= b,
                Compare::Gt => a > b,
                Compare::Ge => a >= b,
            };
        }
    }
    let Lanes::Bool(o) = out else { unreachable!("result of a comparison") };
    match (a, b) {
        (Lanes::F32(a), Lanes::F32(b)) => all(op, &a[..n], &b[..n], &mut o[..n]),
        (Lanes::F64(a), Lanes::F64(b)) => all(op, &a[..n], &b[..n], &mut o[..n]),
        (Lanes::I32(a), Lanes::I32(b)) => all(op, &a[..n], &b[..n], &mut o[..n]),
        (Lanes::I64(a), Lanes::I64(b)) => all(op, &a[..n], &b[..n], &mut o[..n]),
        (Lanes::Bool(a), Lanes::Bool(b)) => all(op, &a[..n], &b[..n], &mut o[..n]),
        _ => unreachable!("types of {op:?}"),
    }
}

fn select(c: &Lanes, a: &Lanes, b: &Lanes, out: &mut Lanes, n: usize) {
    fn all<T: Copy>(c: &[bool], a: &[T], b: &[T], out: &mut [T]) {
        for (((o, c), a), b) in out.iter_mut().zip(c).zip(a).zip(b) {
            *o = if *c { *a } else { *b };
        }
    }
    let Lanes::Bool(c) = c else { unreachable!("condition of a selection") };
    match (a, b, out) {
        (Lanes::F32(a), Lanes::F32(b), Lanes::F32(o)) => all(&c[..n], &a[..n], &b[..n], &mut o[..n]),
        (Lanes::F64(a), Lanes::F64(b), Lanes::F64(o)) => all(&c[..n], &a[..n], &b[..n], &mut o[..n]),
        (Lanes::I32(a), Lanes::I32(b), Lanes::I32(o)) => all(&c[..n], &a[..n], &b[..n], &mut o[..n]),
        (Lanes::I64(a), Lanes::I64(b), Lanes::I64(o)) => all(&c[..n], &a[..n], &b[..n], &mut o[..n]),
        (Lanes::Bool(a), Lanes::Bool(b), Lanes::Bool(o)) => all(&c[..n], &a[..n], &b[..n], &mut o[..n]),
        _ => unreachable!("types of a selection"),
    }
}

fn cast(kind: Cast, a: &Lanes, out: &mut Lanes, n: usize) {
    fn map<A: Copy, O>(a: &[A], out: &mut [O], f: impl Fn(A) -> O) {
        for (o, a) in out.iter_mut().zip(a) {
            *o = f(*a);
        }
    }
    match (kind, a, out) {
        (Cast::RoundEven, Lanes::F32(a), Lanes::I32(o)) => map(&a[..n], o, |v| v.round_ties_even() as i32),
        (Cast::Bits, Lanes::F32(a), Lanes::I32(o)) => map(&a[..n], o, |v| v.to_bits() as i32),
        (Cast::Bits, Lanes::I32(a), Lanes::F32(o)) => map(&a[..n], o, |v| f32::from_bits(v as u32)),
        (_, Lanes::F32(a), Lanes::F32(o)) => map(&a[..n], o, |v| v),
        (_, Lanes::F32(a), Lanes::I32(o)) => map(&a[..n], o, |v| v as i32),
        (_, Lanes::F32(a), Lanes::I64(o)) => map(&a[..n], o, |v| v as i64),
        (_, Lanes::F32(a), Lanes::Bool(o)) => map(&a[..n], o, |v| v != 0.0),
        (_, Lanes::F32(a), Lanes::F64(o)) => map(&a[..n], o, |v| v as f64),
        (_, Lanes::F64(a), Lanes::F32(o)) => map(&a[..n], o, |v| v as f32),
        (_, Lanes::F64(a), Lanes::F64(o)) => map(&a[..n], o, |v| v),
        (_, Lanes::F64(a), Lanes::I32(o)) => map(&a[..n], o, |v| v as i32),
        (_, Lanes::F64(a), Lanes::I64(o)) => map(&a[..n], o, |v| v as i64),
        (_, Lanes::F64(a), Lanes::Bool(o)) => map(&a[..n], o, |v| v != 0.0),
        (_, Lanes::I32(a), Lanes::F64(o)) => map(&a[..n], o, |v| v as f64),
        (_, Lanes::I64(a), Lanes::F64(o)) => map(&a[..n], o, |v| v as f64),
        (_, Lanes::Bool(a), Lanes::F64(o)) => map(&a[..n], o, |v| v as u8 as f64),
        (_, Lanes::I32(a), Lanes::F32(o)) => map(&a[..n], o, |v| v as f32),
        (_, Lanes::I32(a), Lanes::I32(o)) => map(&a[..n], o, |v| v),
        (_, Lanes::I32(a), Lanes::I64(o)) => map(&a[..n], o, |v| v as i64),
        (_, Lanes::I32(a), Lanes::Bool(o)) => map(&a[..n], o, |v| v != 0),
        (_, Lanes::I64(a), Lanes::F32(o)) => map(&a[..n], o, |v| v as f32),
        (_, Lanes::I64(a), Lanes::I32(o)) => map(&a[..n], o, |v| v as i32),
        (_, Lanes::I64(a), Lanes::I64(o)) => map(&a[..n], o, |v| v),
        (_, Lanes::I64(a), Lanes::Bool(o)) => map(&a[..n], o, |v| v != 0),
        (_, Lanes::Bool(a), Lanes::F32(o)) => map(&a[..n], o, |v| v as u8 as f32),
        (_, Lanes::Bool(a), Lanes::I32(o)) => map(&a[..n], o, |v| v as i32),
        (_, Lanes::Bool(a), Lanes::I64(o)) => map(&a[..n], o, |v| v as i64),
        (_, Lanes::Bool(a), Lanes::Bool(o)) => map(&a[..n], o, |v| v),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ExprBuilder;
    use super::*;

    #[test]
    fn a_slice_is_computed_like_its_elements() {
        let mut b = ExprBuilder::new([Storage::I8, Storage::F32]);
        let (x, scale) = (b.input(0), b.input(1));
        let f = b.cast(Cast::Value, Ty::F32, x);
        let y = b.mul(f, scale);
        let r = b.cast(Cast::RoundEven, Ty::I32, y);
        let expr = b.finish(r, Storage::I16);
        let input: Vec<u8> = (0..=255).cycle().take(600).collect();
        let scale = 2.5f32.to_le_bytes();
        let mut output = vec![0; 1200];
        eval_slices(&expr, &[Source::Dense(&input), Source::Splat(&scale)], &mut output);
        for (i, o) in output.as_chunks::<2>().0.iter().enumerate() {
            let one = interpret(&expr, &[Scalar::I32(input[i] as i8 as i32), Scalar::F32(2.5)]);
            assert_eq!(one, Scalar::I32(i16::from_le_bytes(*o) as i32));
        }
    }

    #[test]
    fn the_rounding_high_product_saturates_and_rounds_half_up() {
        assert_eq!(mul_round_hi(i32::MIN, i32::MIN), i32::MAX);
        assert_eq!(mul_round_hi(1 << 30, 1), 1);
        assert_eq!(mul_round_hi(-(1 << 30), 1), 0);
    }

    #[test]
    fn the_error_function_is_that_of_the_tables() {
        for (x, y) in [(0.5, 0.5204998778130465), (1.0, 0.8427007929497149), (2.9, 0.9999589021219005), (3.5, 0.9999992569016276)] {
            assert!((erf(x) - y).abs() < 2e-15, "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
    }
}
