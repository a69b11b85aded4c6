//! Tokens of the text form. Comments run from `;` to the end of the line.

use super::{ParseError, ParseErrorKind};

/// A token; text borrows from the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token<'a> {
    /// Letters, digits, `_` and `.` inside, not starting with a digit: `load.f32`.
    Word(&'a str),
    /// `%` and a name: `%x`, `%12`.
    Value(&'a str),
    /// `@` and a name.
    Symbol(&'a str),
    /// Decimal or `0x` digits.
    Number(u64),
    /// `..`
    Range,
    /// One of `( ) { } [ ] = , : + - *`
    Punct(char),
    /// End of the input.
    End,
}

impl Token<'_> {
    /// The token for an error message.
    pub(super) fn describe(self) -> String {
        match self {
            Token::Word(w) => format!("`{}`", shorten(w)),
            Token::Value(v) => format!("`%{}`", shorten(v)),
            Token::Symbol(s) => format!("`@{}`", shorten(s)),
            Token::Number(n) => format!("`{n}`"),
            Token::Range => "`..`".to_string(),
            Token::Punct(c) => format!("`{c}`"),
            Token::End => "the end of the text".to_string(),
        }
    }
}

fn shorten(s: &str) -> String {
    s.chars().take(40).collect()
}

/// Reads tokens one by one.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0 }
    }

    fn skip_space(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(&b) = bytes.get(self.at) {
            match b {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b';' => self.at = bytes[self.at..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |n| self.at + n),
                _ => return,
            }
        }
    }

    /// The longest run of bytes at the front for which `ok` holds; all are ASCII.
    fn take(&mut self, ok: impl Fn(u8) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let n = rest.bytes().position(|b| !ok(b)).unwrap_or(rest.len());
        self.at += n;
        &rest[..n]
    }

    /// The next token and its offset in bytes.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, usize), ParseError> {
        self.skip_space();
        let start = self.at;
        let Some(&b) = self.text.as_bytes().get(start) else { return Ok((Token::End, start)) };
        let in_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let token = match b {
            b'%' | b'@' => {
                self.at += 1;
                let name = self.take(in_name);
                if name.is_empty() {
                    return Err(error(
                        self.text,
                        start,
                        ParseErrorKind::Expected { expected: "a name after `%` or `@`", found: String::new() },
                    ));
                }
                if b == b'%' { Token::Value(name) } else { Token::Symbol(name) }
            }
            b'0'..=b'9' => Token::Number(self.number(start)?),
            b'.' if self.text[start..].starts_with("..") => {
                self.at += 2;
                Token::Range
            }
            b'(' | b')' | b'{' | b'}' | b'[' | b']' | b'=' | b',' | b':' | b'+' | b'-' | b'*' => {
                self.at += 1;
                Token::Punct(char::from(b))
            }
            _ if in_name(b) => Token::Word(self.take(|b| in_name(b) || b == b'.')),
            _ => {
                let c = self.text[start..].chars().next().unwrap_or_default();
                return Err(error(self.text, start, ParseErrorKind::Character(c)));
            }
        };
        Ok((token, start))
    }

    fn number(&mut self, start: usize) -> Result<u64, ParseError> {
        let digits = self.take(|b| b.is_ascii_alphanumeric());
        let value = match digits.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => digits.parse(),
        };
        value.map_err(|_| error(self.text, start, ParseErrorKind::Number(shorten(digits))))
    }
}

/// An error at an offset, as line and column (in characters), both from 1.
pub(super) fn error(text: &str, offset: usize, kind: ParseErrorKind) -> ParseError {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|&b| b == b'\n').count() as u32 + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() as u32 + 1;
    ParseError { line, column, kind }
}
