//! What is wrong with a text, and where.

use crate::expr::verify::ExprError;

/// Why a text is malformed, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong.
    pub kind: ParseErrorKind,
}

/// What is wrong with a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ParseErrorKind {
    /// Something else stands where this was expected.
    Expected {
        /// What would be right.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// A character that no token starts with.
    Character(char),
    /// A number that is malformed or outside the range of its place.
    Number {
        /// The number.
        text: String,
        /// What the place takes.
        expected: &'static str,
    },
    /// A text in quotes that does not end or has an unknown escape.
    Quoted(&'static str),
    /// Nothing has this name.
    Unknown {
        /// Kind of thing.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The name is taken.
    Twice {
        /// Kind of thing.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A list has the wrong length.
    Count {
        /// Kind of thing.
        what: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// A limit of the parser.
    Limit(&'static str),
    /// An expression breaks a rule.
    Expr(ExprError),
}

impl std::error::Error for ParseError {}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        match &self.kind {
            ParseErrorKind::Expected { expected, found } => write!(f, "expected {expected}, found {found}"),
            ParseErrorKind::Character(c) => write!(f, "unexpected character {c:?}"),
            ParseErrorKind::Number { text, expected } => write!(f, "`{text}` is not {expected}"),
            ParseErrorKind::Quoted(why) => f.write_str(why),
            ParseErrorKind::Unknown { what, name } => write!(f, "there is no {what} `{name}`"),
            ParseErrorKind::Twice { what, name } => write!(f, "{what} `{name}` occurs twice"),
            ParseErrorKind::Count { what, expected, got } => write!(f, "{got} {what} where there should be {expected}"),
            ParseErrorKind::Limit(what) => write!(f, "limit exceeded: {what}"),
            ParseErrorKind::Expr(e) => write!(f, "invalid expression: {e}"),
        }
    }
}
