//! Parser of the text form, the inverse of [`crate::print()`].
//!
//! Takes any text, gives a kernel that verifies or an error with its line and column; never panics, never recurses deeper than
//! [`MAX_DEPTH`] blocks, and allocates in proportion to the text. Values may have any names as long as they are
//! unique; printing numbers them in order of appearance.

mod inst;
mod lexer;

pub use inst::mnemonics;

use crate::kernel::{Block, Inst, Kernel, Param, Value};
use crate::op::Op;
use crate::types::{Elem, Type};
use crate::verify::{MAX_DEPTH, VerifyError, verify};
use lexer::{Lexer, Token, error};
use smallvec::SmallVec;
use std::collections::HashMap;

/// Why a text is not a kernel, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{line}:{column}: {kind}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub kind: ParseErrorKind,
}

/// What is wrong with a text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseErrorKind {
    /// Something else stands where this was expected.
    #[error("expected {expected}{}{found}", if found.is_empty() { "" } else { ", found " })]
    Expected {
        /// What would be right.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A character that no token starts with.
    #[error("unexpected character {0:?}")]
    Character(char),
    /// A number that is malformed or too large.
    #[error("`{0}` is not a number of 64 bits")]
    Number(String),
    /// A number is outside the range for its place.
    #[error("{value} is out of range: {expected}")]
    OutOfRange {
        /// The number.
        value: u64,
        /// What the place takes.
        expected: &'static str,
    },
    /// No operator has this name.
    #[error("there is no operator `{0}`")]
    Operator(String),
    /// A value is used that is not defined above.
    #[error("%{0} is not defined here")]
    Undefined(String),
    /// A value's name is taken.
    #[error("%{0} is already defined")]
    Redefined(String),
    /// The number of names on the left is not the number of results.
    #[error("{got} names for {expected} results")]
    ResultCount {
        /// Results of the operator.
        expected: usize,
        /// Names given.
        got: usize,
    },
    /// Blocks are nested too deeply.
    #[error("more than {MAX_DEPTH} nested blocks")]
    TooDeep,
    /// The text is well-formed, the kernel breaks a rule.
    #[error(transparent)]
    Invalid(Box<VerifyError>),
}

/// Parses one kernel and verifies it.
///
/// # Errors
/// The first thing wrong, with its line and column; for a rule of the verifier, the start of the text.
pub fn parse(text: &str) -> Result<Kernel, ParseError> {
    let mut p = Parser::new(text)?;
    let kernel = p.kernel()?;
    if p.token != Token::End {
        return p.expected("the end of the text");
    }
    check(text, kernel)
}

/// Parses any number of kernels, one after the other.
///
/// # Errors
/// As [`parse`].
pub fn parse_all(text: &str) -> Result<Vec<Kernel>, ParseError> {
    let mut p = Parser::new(text)?;
    let mut kernels = vec![];
    while p.token != Token::End {
        let kernel = p.kernel()?;
        kernels.push(check(text, kernel)?);
    }
    Ok(kernels)
}

fn check(text: &str, kernel: Kernel) -> Result<Kernel, ParseError> {
    match verify(&kernel) {
        Ok(()) => Ok(kernel),
        Err(e) => Err(error(text, 0, ParseErrorKind::Invalid(Box::new(e)))),
    }
}

/// Fuzz entry: any bytes are parsed; what parses is printed and parsed again, to the same text.
///
/// # Panics
/// Where the text of a kernel that parsed does not parse back to itself.
pub fn fuzz_parse(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match parse(text) {
        Ok(kernel) => {
            let printed = crate::print(&kernel);
            let again = parse(&printed).unwrap_or_else(|e| panic!("{e}\n{printed}"));
            assert_eq!(crate::print(&again), printed, "print and parse are inverse");
        }
        // Formatting the error must not fail either.
        Err(e) => drop(e.to_string()),
    }
}

type Result<T, E = ParseError> = std::result::Result<T, E>;

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    token: Token<'a>,
    /// Offset of `token`.
    at: usize,
    names: HashMap<&'a str, Value>,
    /// Names of the open blocks, in order of definition, to remove at a block's end.
    open: Vec<&'a str>,
    kernel: Kernel,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Parser<'a>> {
        let mut lexer = Lexer::new(text);
        let (token, at) = lexer.next()?;
        Ok(Parser { text, lexer, token, at, names: HashMap::new(), open: vec![], kernel: empty_kernel() })
    }

    // ---- tokens ----

    fn error_at<T>(&self, at: usize, kind: ParseErrorKind) -> Result<T> {
        Err(error(self.text, at, kind))
    }

    fn expected<T>(&self, expected: &'static str) -> Result<T> {
        self.error_at(self.at, ParseErrorKind::Expected { expected, found: self.token.describe() })
    }

    fn advance(&mut self) -> Result<Token<'a>> {
        let token = self.token;
        (self.token, self.at) = self.lexer.next()?;
        Ok(token)
    }

    /// Takes a punctuation mark or says that `expected` is missing.
    fn punct(&mut self, c: char, expected: &'static str) -> Result<()> {
        if self.accept(c)? { Ok(()) } else { self.expected(expected) }
    }

    fn accept(&mut self, c: char) -> Result<bool> {
        let found = self.token == Token::Punct(c);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn accept_word(&mut self, word: &str) -> Result<bool> {
        let found = self.token == Token::Word(word);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn keyword(&mut self, word: &str, expected: &'static str) -> Result<()> {
        if self.accept_word(word)? { Ok(()) } else { self.expected(expected) }
    }

    fn number(&mut self, expected: &'static str) -> Result<u64> {
        match self.token {
            Token::Number(n) => {
                self.advance()?;
                Ok(n)
            }
            _ => self.expected(expected),
        }
    }

    fn small<T: TryFrom<u64>>(&mut self, expected: &'static str) -> Result<T> {
        let at = self.at;
        let value = self.number(expected)?;
        T::try_from(value).or_else(|_| self.error_at(at, ParseErrorKind::OutOfRange { value, expected }))
    }

    fn ty(&mut self) -> Result<Type> {
        match self.token {
            Token::Word(w) => match type_named(w) {
                Some(ty) => {
                    self.advance()?;
                    Ok(ty)
                }
                None => self.expected("a type"),
            },
            _ => self.expected("a type"),
        }
    }

    // ---- values ----

    fn name(&mut self) -> Result<(&'a str, usize)> {
        let at = self.at;
        match self.token {
            Token::Value(name) => {
                self.advance()?;
                Ok((name, at))
            }
            _ => self.expected("a value"),
        }
    }

    fn value(&mut self) -> Result<Value> {
        let (name, at) = self.name()?;
        match self.names.get(name) {
            Some(&v) => Ok(v),
            None => self.error_at(at, ParseErrorKind::Undefined(name.to_string())),
        }
    }

    /// Values separated by commas; none where no value stands here.
    fn values(&mut self) -> Result<Vec<Value>> {
        let mut vs = vec![];
        if matches!(self.token, Token::Value(_)) {
            vs.push(self.value()?);
            while self.accept(',')? {
                vs.push(self.value()?);
            }
        }
        Ok(vs)
    }

    fn define(&mut self, (name, at): (&'a str, usize), ty: Type) -> Result<Value> {
        if self.names.contains_key(name) {
            return self.error_at(at, ParseErrorKind::Redefined(name.to_string()));
        }
        let v = self.kernel.new_value(ty);
        self.names.insert(name, v);
        self.open.push(name);
        Ok(v)
    }

    fn close(&mut self, mark: usize) {
        for name in self.open.drain(mark..) {
            self.names.remove(name);
        }
    }

    // ---- structure ----

    fn kernel(&mut self) -> Result<Kernel> {
        self.keyword("kernel", "`kernel`")?;
        let Token::Symbol(name) = self.token else { return self.expected("`@` and the kernel's name") };
        self.advance()?;
        self.kernel.name = name.to_string();
        self.punct('(', "`(`")?;
        if !self.accept(')')? {
            loop {
                let named = self.name()?;
                self.punct(':', "`:` and the parameter's type")?;
                let ty = self.ty()?;
                let value = self.define(named, ty)?;
                self.kernel.params.push(Param { name: named.0.to_string(), value });
                if !self.accept(',')? {
                    break;
                }
            }
            self.punct(')', "`,` or `)`")?;
        }
        self.keyword("units", "`units`")?;
        let begin = self.name()?;
        self.kernel.begin = self.define(begin, Type::I64)?;
        self.range()?;
        let end = self.name()?;
        self.kernel.end = self.define(end, Type::I64)?;
        self.kernel.body = self.block(vec![], "return", 0)?;
        self.close(0);
        Ok(std::mem::replace(&mut self.kernel, empty_kernel()))
    }

    fn range(&mut self) -> Result<()> {
        if self.token == Token::Range { self.advance().map(drop) } else { self.expected("`..`") }
    }

    /// A block in braces, after its arguments were defined; `last` is the word before the yielded values.
    fn block(&mut self, args: Vec<Value>, last: &str, depth: usize) -> Result<Block> {
        if depth > MAX_DEPTH {
            return self.error_at(self.at, ParseErrorKind::TooDeep);
        }
        self.punct('{', "`{`")?;
        let mut block = Block { args, ..Block::default() };
        loop {
            if self.accept('}')? {
                return Ok(block);
            }
            if self.accept_word(last)? {
                block.yields = self.values()?;
                if block.yields.is_empty() {
                    return self.expected("a value");
                }
                self.punct('}', "`,` or `}`")?;
                return Ok(block);
            }
            let inst = self.inst(depth)?;
            block.insts.push(inst);
        }
    }

    /// A nested block: names inside vanish at its end.
    fn nested(&mut self, args: Vec<Value>, mark: usize, depth: usize) -> Result<Block> {
        let block = self.block(args, "yield", depth + 1)?;
        self.close(mark);
        Ok(block)
    }

    fn inst(&mut self, depth: usize) -> Result<Inst> {
        let start = self.at;
        let mut names = vec![];
        if matches!(self.token, Token::Value(_)) {
            names.push(self.name()?);
            while self.accept(',')? {
                names.push(self.name()?);
            }
            self.punct('=', "`,` or `=`")?;
        }
        let Token::Word(word) = self.token else { return self.expected("an operator") };
        let at = self.at;
        self.advance()?;
        let (mut inst, types) = match word {
            "for" => self.for_loop(depth)?,
            "if" => self.if_else(depth)?,
            "while" => self.while_loop(depth)?,
            _ => self.plain(word, at)?,
        };
        if names.len() != types.len() {
            return self.error_at(start, ParseErrorKind::ResultCount { expected: types.len(), got: names.len() });
        }
        for (named, ty) in names.into_iter().zip(types) {
            let v = self.define(named, ty)?;
            inst.results.push(v);
        }
        Ok(inst)
    }

    /// `carry(%a = %b, …)`: names with their initial values; nothing where the word is missing.
    fn carry(&mut self) -> Result<Vec<((&'a str, usize), Value)>> {
        let mut pairs = vec![];
        if self.accept_word("carry")? {
            self.punct('(', "`(`")?;
            while matches!(self.token, Token::Value(_)) {
                let named = self.name()?;
                self.punct('=', "`=` and the initial value")?;
                pairs.push((named, self.value()?));
                if !self.accept(',')? {
                    break;
                }
            }
            self.punct(')', "`)`")?;
        }
        Ok(pairs)
    }

    fn types_of(&self, vs: &[Value]) -> Vec<Type> {
        vs.iter().map(|&v| self.kernel.ty(v)).collect()
    }

    fn for_loop(&mut self, depth: usize) -> Result<(Inst, Vec<Type>)> {
        let i = self.name()?;
        self.punct('=', "`=` and the loop's start")?;
        let mut args = SmallVec::new();
        args.push(self.value()?);
        self.range()?;
        args.push(self.value()?);
        self.keyword("step", "`step`")?;
        let step = self.small("a step of 63 bits")?;
        let carried = self.carry()?;
        let mark = self.open.len();
        let mut block_args = vec![self.define(i, Type::I64)?];
        for (named, initial) in carried {
            args.push(initial);
            block_args.push(self.define(named, self.kernel.ty(initial))?);
        }
        let types = self.types_of(&args[2..]);
        let block = self.nested(block_args, mark, depth)?;
        Ok((Inst { op: Op::For { step }, args, results: SmallVec::new(), blocks: vec![block] }, types))
    }

    fn if_else(&mut self, depth: usize) -> Result<(Inst, Vec<Type>)> {
        let mut args = SmallVec::new();
        args.push(self.value()?);
        let mark = self.open.len();
        let then = self.nested(vec![], mark, depth)?;
        let types = self.types_of(&then.yields);
        let other = if self.accept_word("else")? { self.nested(vec![], mark, depth)? } else { Block::default() };
        Ok((Inst { op: Op::If, args, results: SmallVec::new(), blocks: vec![then, other] }, types))
    }

    fn while_loop(&mut self, depth: usize) -> Result<(Inst, Vec<Type>)> {
        let carried = self.carry()?;
        let mark = self.open.len();
        let (mut args, mut block_args) = (SmallVec::new(), vec![]);
        for (named, initial) in carried {
            args.push(initial);
            block_args.push(self.define(named, self.kernel.ty(initial))?);
        }
        let at = self.at;
        let first = self.nested(block_args, mark, depth)?;
        if first.yields.is_empty() {
            return self.error_at(at, ParseErrorKind::Expected { expected: "a block that yields its condition", found: String::new() });
        }
        let types = self.types_of(&first.yields[1..]);
        self.keyword("do", "`do`")?;
        self.punct('(', "`(`")?;
        let mut passed = vec![];
        while matches!(self.token, Token::Value(_)) {
            let named = self.name()?;
            let Some(&ty) = types.get(passed.len()) else {
                return self.error_at(named.1, ParseErrorKind::ResultCount { expected: types.len(), got: passed.len() + 1 });
            };
            passed.push(self.define(named, ty)?);
            if !self.accept(',')? {
                break;
            }
        }
        self.punct(')', "`,` or `)`")?;
        let second = self.nested(passed, mark, depth)?;
        Ok((Inst { op: Op::While, args, results: SmallVec::new(), blocks: vec![first, second] }, types))
    }
}

fn empty_kernel() -> Kernel {
    Kernel { name: String::new(), params: vec![], begin: Value(0), end: Value(0), body: Block::default(), types: vec![] }
}

/// The type that prints as `text`.
fn type_named(text: &str) -> Option<Type> {
    let by_name = |n: &str| Elem::ALL.into_iter().find(|e| e.name() == n);
    match text.split_once('x') {
        None => by_name(text).map(Type::scalar),
        // One lane prints without a count, and no count starts with 0.
        Some((elem, lanes)) if !lanes.starts_with(['0', '+']) => {
            let lanes = lanes.parse().ok().filter(|&n| n > 1)?;
            Some(Type::vector(by_name(elem)?, lanes))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
