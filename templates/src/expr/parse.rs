//! Parser of the text form of expressions, the inverse of [`super::print`].
//!
//! Takes any text, gives an expression that verifies or an error with its line and column; never panics, never recurses deeper than
//! [`MAX_DEPTH`], and allocates in proportion to the text. `$` names are free as long as each is defined once, above its uses.

use super::{Binary, Cast, Compare, Const, Expr, Id, Node, Storage, Ty, Unary};
use crate::text::{Cursor, ParseErrorKind, Result, Token};
use std::collections::HashMap;
use std::sync::Arc;

/// The deepest nesting of parentheses and calls.
pub const MAX_DEPTH: usize = 64;

/// Parses one expression.
///
/// # Errors
/// The first thing wrong, with its line and column.
pub fn parse(text: &str) -> Result<Expr> {
    let mut cursor = Cursor::new(text)?;
    let expr = parse_at(&mut cursor)?;
    if cursor.token() == Token::End { Ok(expr) } else { cursor.expected("the end of the text") }
}

/// Parses the expression that starts at a cursor and moves it behind.
///
/// # Errors
/// The first thing wrong; for a rule of the verifier, where the expression starts.
pub fn parse_at(cursor: &mut Cursor<'_>) -> Result<Expr> {
    let start = cursor.offset();
    let expr = Parser { cursor, nodes: vec![], names: HashMap::new() }.expr()?;
    match expr.verify() {
        Ok(()) => Ok(expr),
        Err(e) => cursor.error_at(start, ParseErrorKind::Expr(e)),
    }
}

/// Fuzz entry: any bytes are parsed; what parses is printed and parsed again, to the same expression.
///
/// # Panics
/// Where the text of an expression that parsed does not parse back to it.
pub fn fuzz_parse(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse(text) {
        Ok(expr) => {
            let printed = expr.to_string();
            assert_eq!(parse(&printed).unwrap_or_else(|e| panic!("{e}\n{printed}")), expr, "print and parse are inverse");
        }
        // Formatting the error must not fail either.
        Err(e) => drop(e.to_string()),
    }
}

struct Parser<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    nodes: Vec<Node>,
    names: HashMap<&'a str, Id>,
}

impl<'a> Parser<'_, 'a> {
    fn expr(mut self) -> Result<Expr> {
        self.cursor.punct("(", "`(` and the memory types of the inputs")?;
        let mut inputs = vec![];
        if !self.cursor.accept(")")? {
            loop {
                inputs.push(self.storage()?);
                if !self.cursor.accept(",")? {
                    break;
                }
            }
            self.cursor.punct(")", "`,` or `)`")?;
        }
        self.cursor.punct("->", "`->` and the memory type of the result")?;
        let output = self.storage()?;
        self.cursor.punct("{", "`{`")?;
        let mut lets = false;
        while self.cursor.accept_word("let")? {
            lets = true;
            let at = self.cursor.offset();
            let Token::Local(name) = self.cursor.token() else { return self.cursor.expected("`$` and a name") };
            self.cursor.advance()?;
            self.cursor.punct("=", "`=`")?;
            let id = self.compare(0)?;
            if self.names.insert(name, id).is_some() {
                return self.cursor.error_at(at, ParseErrorKind::Twice { what: "the name", name: format!("${name}") });
            }
        }
        // After a `let` the word is needed: the result could continue its expression.
        if !self.cursor.accept_word("yield")? && lets {
            return self.cursor.expected("an operator, `let` or `yield`");
        }
        let result = self.compare(0)?;
        self.cursor.punct("}", "an operator or `}`")?;
        Ok(Expr { inputs, nodes: self.nodes, result, output })
    }

    fn storage(&mut self) -> Result<Storage> {
        let found = match self.cursor.token() {
            Token::Word(w) => Storage::ALL.iter().find(|s| s.name() == w),
            _ => None,
        };
        match found {
            Some(s) => self.cursor.advance().map(|_| *s),
            None => self.cursor.expected("a memory type such as `f32` or `i8`"),
        }
    }

    fn push(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        Id(self.nodes.len() as u32 - 1)
    }

    /// The mark here, where it is one of these.
    fn operator<T: Copy>(&mut self, marks: &[(&str, T)]) -> Result<Option<T>> {
        for (mark, op) in marks {
            if self.cursor.accept(mark)? {
                return Ok(Some(*op));
            }
        }
        Ok(None)
    }

    fn compare(&mut self, depth: usize) -> Result<Id> {
        let a = self.sum(depth)?;
        let marks: Vec<(&str, Compare)> = Compare::ALL.iter().map(|c| (c.symbol(), *c)).collect();
        match self.operator(&marks)? {
            Some(op) => {
                let b = self.sum(depth)?;
                Ok(self.push(Node::Compare(op, a, b)))
            }
            None => Ok(a),
        }
    }

    fn sum(&mut self, depth: usize) -> Result<Id> {
        let mut a = self.product(depth)?;
        while let Some(op) = self.operator(&[("+", Binary::Add), ("-", Binary::Sub)])? {
            let b = self.product(depth)?;
            a = self.push(Node::Binary(op, a, b));
        }
        Ok(a)
    }

    fn product(&mut self, depth: usize) -> Result<Id> {
        let mut a = self.atom(depth)?;
        while let Some(op) = self.operator(&[("*", Binary::Mul), ("/", Binary::Div)])? {
            let b = self.atom(depth)?;
            a = self.push(Node::Binary(op, a, b));
        }
        Ok(a)
    }

    fn atom(&mut self, depth: usize) -> Result<Id> {
        if depth > MAX_DEPTH {
            return self.cursor.error_at(self.cursor.offset(), ParseErrorKind::Limit("nested calls and parentheses"));
        }
        match self.cursor.token() {
            Token::Punct("(") => {
                self.cursor.advance()?;
                let id = self.compare(depth + 1)?;
                self.cursor.punct(")", "an operator or `)`")?;
                Ok(id)
            }
            Token::Local(name) => match self.names.get(name) {
                Some(&id) => self.cursor.advance().map(|_| id),
                None => {
                    let kind = ParseErrorKind::Unknown { what: "value", name: format!("${name}") };
                    self.cursor.error_at(self.cursor.offset(), kind)
                }
            },
            Token::Word("inf" | "nan") | Token::Number(_) | Token::Punct("-") => self.number(),
            Token::Word(w @ ("true" | "false")) => {
                self.cursor.advance()?;
                Ok(self.push(Node::Const(Const::Bool(w == "true"))))
            }
            Token::Word(w) => match w.strip_prefix("in").filter(|d| d.starts_with(|c: char| c.is_ascii_digit())) {
                Some(digits) => {
                    let Ok(i) = digits.parse() else { return self.cursor.expected("an input such as `in0`") };
                    self.cursor.advance()?;
                    Ok(self.push(Node::Input(i)))
                }
                None => self.call(w, depth),
            },
            _ => self.cursor.expected("a value, a number or an operator"),
        }
    }

    /// A constant; a fraction or an exponent makes a float, the suffix `i64` a wide integer, `f64` behind 16 digits the bits of a binary64.
    fn number(&mut self) -> Result<Id> {
        let mut ahead = self.cursor.clone();
        let negative = ahead.accept("-")?;
        let bits =
            |n: &str| n.strip_prefix("0x")?.strip_suffix("f64").filter(|d| d.len() == 16).and_then(|d| u64::from_str_radix(d, 16).ok());
        let constant = match ahead.token() {
            Token::Number(n) if bits(n).is_some() => {
                let bits = bits(n).unwrap_or_default();
                self.cursor.advance()?;
                Const::F64(bits)
            }
            Token::Number(n) => match n.strip_suffix("i64") {
                Some(digits) => {
                    let text = if negative { format!("-{digits}") } else { digits.to_string() };
                    let Ok(v) = text.parse() else {
                        return ahead.error_at(
                            ahead.offset(),
                            ParseErrorKind::Number { text: crate::text::shorten(&text), expected: "a 64-bit integer" },
                        );
                    };
                    ahead.advance()?;
                    *self.cursor = ahead;
                    Const::I64(v)
                }
                None if n.starts_with("0x") || n.bytes().all(|b| b.is_ascii_digit()) => Const::I32(self.cursor.int("a 32-bit integer")?),
                None => Const::F32(self.cursor.f32("a 32-bit float")?.to_bits()),
            },
            _ => Const::F32(self.cursor.f32("a number")?.to_bits()),
        };
        Ok(self.push(Node::Const(constant)))
    }

    fn call(&mut self, name: &str, depth: usize) -> Result<Id> {
        let at = self.cursor.offset();
        let Some(op) = callee(name) else {
            return self.cursor.error_at(at, ParseErrorKind::Unknown { what: "operator", name: crate::text::shorten(name) });
        };
        self.cursor.advance()?;
        self.cursor.punct("(", "`(`")?;
        let table = match op {
            Callee::Table(_) => {
                if !self.cursor.accept_word("hex")? {
                    return self.cursor.expected("`hex` and the table's 256 bytes");
                }
                let table = self.cursor.hex()?;
                self.cursor.punct(",", "`,` and the index")?;
                table
            }
            _ => vec![],
        };
        let mut args = vec![];
        loop {
            args.push(self.compare(depth + 1)?);
            if !self.cursor.accept(",")? {
                break;
            }
        }
        self.cursor.punct(")", "an operator, `,` or `)`")?;
        let node = match (op, &args[..]) {
            (Callee::Unary(op), &[a]) => Node::Unary(op, a),
            (Callee::Binary(op), &[a, b]) => Node::Binary(op, a, b),
            (Callee::MulAdd, &[a, b, c]) => Node::MulAdd(a, b, c),
            (Callee::Select, &[c, a, b]) => Node::Select(c, a, b),
            (Callee::Cast(cast, to), &[a]) => Node::Cast(cast, to, a),
            (Callee::Table(signed_result), &[index]) => Node::Table { table: Arc::new(table), signed_result, index },
            _ => return self.cursor.error_at(at, ParseErrorKind::Count { what: "operands", expected: op.operands(), got: args.len() }),
        };
        Ok(self.push(node))
    }
}

#[derive(Clone, Copy)]
enum Callee {
    Unary(Unary),
    Binary(Binary),
    MulAdd,
    Select,
    Cast(Cast, Ty),
    Table(bool),
}

impl Callee {
    fn operands(self) -> usize {
        match self {
            Callee::Unary(_) | Callee::Cast(..) | Callee::Table(_) => 1,
            Callee::Binary(_) => 2,
            Callee::MulAdd | Callee::Select => 3,
        }
    }
}

/// The operator that is written as a call of `name`.
fn callee(name: &str) -> Option<Callee> {
    let ty = |n: &str| Ty::ALL.iter().copied().find(|t| t.name() == n);
    match name {
        "mul_add" => return Some(Callee::MulAdd),
        "select" => return Some(Callee::Select),
        "table_i8" => return Some(Callee::Table(true)),
        "table_u8" => return Some(Callee::Table(false)),
        _ => {}
    }
    if let Some(ty) = ty(name) {
        return Some(Callee::Cast(Cast::Value, ty));
    }
    if let Some(ty) = name.strip_prefix("nearest_").and_then(ty) {
        return Some(Callee::Cast(Cast::RoundEven, ty));
    }
    if let Some(ty) = name.strip_prefix("bits_").and_then(ty) {
        return Some(Callee::Cast(Cast::Bits, ty));
    }
    let unary = Unary::ALL.iter().find(|o| o.name() == name).map(|o| Callee::Unary(*o));
    unary.or_else(|| Binary::ALL.iter().find(|o| o.name() == name).map(|o| Callee::Binary(*o)))
}

#[cfg(test)]
mod tests;
