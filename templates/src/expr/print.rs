//! Text form of expressions; the parser is its inverse to the node.
//!
//! ```text
//! (f32, f32) -> f32 { min(max(in0 + in1, 0.0), 6.0) }
//! (f32) -> f32 {
//!   let $0 = in0
//!   yield $0 * min(max($0 + 3.0, 0.0), 6.0) * 0.16666667
//! }
//! ```
//! Inputs are `in0`, `in1`, …; `$3` is node 3. A node is written inside its user where that is its only one and reading
//! from left to right gives the nodes in their order; all others get a `let`. So the text says every node and its position.

use super::{Binary, Cast, Compare, Const, Expr, Node, Storage, Ty, Unary};
use crate::text::{float, hex};
use std::fmt;

/// Inner expressions that are longer than this in characters or nested deeper than [`MAX_NESTED`] get a `let` of their own.
const MAX_CHARS: usize = 110;
/// See [`MAX_CHARS`]; less than what the parser takes.
const MAX_NESTED: usize = 12;

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self, 0))
    }
}

/// The text form of an expression whose closing brace is indented by `indent` where it takes several lines.
/// Expressions that do not verify print too.
pub fn print(expr: &Expr, indent: usize) -> String {
    let inputs: Vec<&str> = expr.inputs.iter().map(|s| s.name()).collect();
    let (lets, result) = Printer::run(expr);
    let head = format!("({}) -> {} {{", inputs.join(", "), expr.output.name());
    if lets.is_empty() {
        return format!("{head} {result} }}");
    }
    let mut out = head;
    for line in lets.iter() {
        out += &format!("\n{:1$}{line}", "", indent + 2);
    }
    out + &format!("\n{0:1$}yield {result}\n{0:indent$}}}", "", indent + 2)
}

/// Binding strength of a text: comparisons, sums, products, all else.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Level {
    Compare,
    Sum,
    Product,
    Atom,
}

/// A node not yet written, to stand inside its user.
struct Pending {
    id: u32,
    text: String,
    level: Level,
    nested: usize,
}

impl Pending {
    fn at_least(&self, level: Level) -> String {
        if self.level >= level { self.text.clone() } else { format!("({})", self.text) }
    }
}

#[derive(Default)]
struct Printer {
    /// In the order of their numbers; the operands of the next user are the last ones.
    pending: Vec<Pending>,
    lets: Vec<String>,
}

impl Printer {
    /// The `let` lines and the result.
    fn run(expr: &Expr) -> (Vec<String>, String) {
        let mut uses = vec![0u32; expr.nodes.len()];
        for id in expr.nodes.iter().flat_map(Node::operands).chain([expr.result]) {
            if let Some(n) = uses.get_mut(id.0 as usize) {
                *n += 1;
            }
        }
        let mut p = Printer::default();
        for (i, node) in expr.nodes.iter().enumerate() {
            let new = p.node(i as u32, node);
            let alone = uses[i] == 1 && new.text.len() <= MAX_CHARS && new.nested <= MAX_NESTED;
            p.pending.push(new);
            if !alone {
                p.flush();
            }
        }
        match &p.pending[..] {
            [only] if only.id == expr.result.0 => {
                let text = only.text.clone();
                (p.lets, text)
            }
            _ => {
                p.flush();
                (p.lets, format!("${}", expr.result.0))
            }
        }
    }

    /// Gives every pending node its `let`.
    fn flush(&mut self) {
        for p in self.pending.drain(..) {
            self.lets.push(format!("let ${} = {}", p.id, p.text));
        }
    }

    fn node(&mut self, id: u32, node: &Node) -> Pending {
        let inside: Vec<u32> = node.operands().map(|o| o.0).filter(|o| self.pending.iter().any(|p| p.id == *o)).collect();
        let at = self.pending.len() - inside.len();
        if !self.pending[at..].iter().map(|p| p.id).eq(inside.iter().copied()) {
            self.flush();
        }
        let mut inner = self.pending.split_off(self.pending.len().min(at)).into_iter().peekable();
        let mut nested = 0;
        let args: Vec<Pending> = node
            .operands()
            .map(|o| match inner.next_if(|p| p.id == o.0) {
                Some(p) => p,
                None => Pending { id: o.0, text: format!("${}", o.0), level: Level::Atom, nested: 0 },
            })
            .inspect(|p| nested = nested.max(p.nested))
            .collect();
        let (text, level) = text_of(node, &args);
        Pending { id, text, level, nested: nested + 1 }
    }
}

fn text_of(node: &Node, args: &[Pending]) -> (String, Level) {
    let call = |name: &str| {
        let list: Vec<&str> = args.iter().map(|a| a.text.as_str()).collect();
        (format!("{name}({})", list.join(", ")), Level::Atom)
    };
    let infix = |symbol: &str, left: Level, right: Level| match args {
        [a, b] => (format!("{} {symbol} {}", a.at_least(left), b.at_least(right)), left),
        _ => call(symbol),
    };
    match node {
        Node::Input(i) => (format!("in{i}"), Level::Atom),
        Node::Const(c) => (constant(*c), Level::Atom),
        Node::Unary(op, _) => call(op.name()),
        Node::Binary(Binary::Add, ..) => infix("+", Level::Sum, Level::Product),
        Node::Binary(Binary::Sub, ..) => infix("-", Level::Sum, Level::Product),
        Node::Binary(Binary::Mul, ..) => infix("*", Level::Product, Level::Atom),
        Node::Binary(Binary::Div, ..) => infix("/", Level::Product, Level::Atom),
        Node::Binary(op, ..) => call(op.name()),
        Node::MulAdd(..) => call("mul_add"),
        Node::Compare(op, ..) => match args {
            [a, b] => (format!("{} {} {}", a.at_least(Level::Sum), op.symbol(), b.at_least(Level::Sum)), Level::Compare),
            _ => call(op.symbol()),
        },
        Node::Select(..) => call("select"),
        Node::Cast(Cast::Value, to, _) => call(to.name()),
        Node::Cast(Cast::RoundEven, to, _) => call(&format!("nearest_{}", to.name())),
        Node::Cast(Cast::Bits, to, _) => call(&format!("bits_{}", to.name())),
        Node::Table { table, signed_result, .. } => {
            let name = if *signed_result { "table_i8" } else { "table_u8" };
            let index = args.first().map_or("", |a| a.text.as_str());
            (format!("{name}({}, {index})", hex(table)), Level::Atom)
        }
    }
}

fn constant(c: Const) -> String {
    match c {
        Const::F32(bits) => float(f32::from_bits(bits)),
        Const::F64(bits) => format!("0x{bits:016x}f64"),
        Const::I32(v) => v.to_string(),
        Const::I64(v) => format!("{v}i64"),
        Const::Bool(v) => v.to_string(),
    }
}

/// Gives an enum its names in the text form and the way back.
macro_rules! names {
    ($($ty:ident $name:ident { $($variant:ident = $text:literal),* $(,)? })*) => {$(
        impl $ty {
            /// All of them, in the order of declaration.
            pub const ALL: &[$ty] = &[$($ty::$variant),*];

            /// Name in the text form.
            pub const fn $name(self) -> &'static str {
                match self { $($ty::$variant => $text),* }
            }
        }
    )*};
}

names! {
    Ty name { F32 = "f32", F64 = "f64", I32 = "i32", I64 = "i64", Bool = "bool" }
    Storage name { F32 = "f32", F64 = "f64", F16 = "f16", BF16 = "bf16", I8 = "i8", U8 = "u8", I16 = "i16", U16 = "u16", I32 = "i32", U32 = "u32",
        I64 = "i64", Bool = "bool" }
    Unary name { Neg = "neg", Abs = "abs", Not = "not", Sqrt = "sqrt", RoundEven = "round_even", Floor = "floor", Ceil = "ceil",
        Trunc = "trunc", Exp = "exp", Expm1 = "expm1", Log = "log", Tanh = "tanh", Logistic = "logistic", Sin = "sin", Cos = "cos",
        Erf = "erf" }
    Binary name { Add = "add", Sub = "sub", Mul = "mul", Div = "div", Rem = "rem", Min = "min", Max = "max", Pow = "pow",
        Atan2 = "atan2", And = "and", Or = "or", Xor = "xor", Shl = "shl", Shr = "shr", MulRoundHi = "mul_round_hi" }
    Compare symbol { Eq = "==", Ne = "!=", Lt = "<", Le = "<=", Gt = ">", Ge = ">=" }
}
