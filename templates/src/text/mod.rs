//! Tokens of text forms: a cursor over text that says what was expected where, shared by expressions and the graph IR.
//!
//! Takes any text; never panics and allocates nothing but what it returns. Comments run from `;` to the end of the line.

mod error;
mod write;

pub use error::{ParseError, ParseErrorKind};
pub use write::{float, hex, quote};

/// A token; its text borrows from the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token<'a> {
    /// Letters, digits and `_`, not starting with a digit.
    Word(&'a str),
    /// `%` and a name.
    Value(&'a str),
    /// `@` and a name.
    Symbol(&'a str),
    /// `$` and a name.
    Local(&'a str),
    /// A number without sign, as written.
    Number(&'a str),
    /// What stands between quotes, with its escapes.
    Quoted(&'a str),
    /// One of [`PUNCTUATION`].
    Punct(&'static str),
    /// End of the input.
    End,
}

/// Punctuation marks, longer ones first.
pub const PUNCTUATION: &[&str] = &["->", "==", "!=", "<=", ">=", "(", ")", "{", "}", "[", "]", "=", ",", ":", "+", "-", "*", "/", "<", ">"];

impl Token<'_> {
    /// The token for an error message.
    pub fn describe(self) -> String {
        match self {
            Token::Word(w) | Token::Number(w) => format!("`{}`", shorten(w)),
            Token::Value(v) => format!("`%{}`", shorten(v)),
            Token::Symbol(s) => format!("`@{}`", shorten(s)),
            Token::Local(s) => format!("`${}`", shorten(s)),
            Token::Quoted(s) => format!("`\"{}\"`", shorten(s)),
            Token::Punct(c) => format!("`{c}`"),
            Token::End => "the end of the text".to_string(),
        }
    }
}

/// The first characters of a text that goes into a message.
pub fn shorten(s: &str) -> String {
    s.chars().take(40).collect()
}

/// A result with a [`ParseError`].
pub type Result<T, E = ParseError> = std::result::Result<T, E>;

/// A place in a text: the token there and where it starts. Cloning it is how a parser looks ahead.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    token: Token<'a>,
    /// Offset of `token` in bytes.
    start: usize,
    /// Offset behind `token`.
    end: usize,
}

fn in_name(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

impl<'a> Cursor<'a> {
    /// The first token of a text.
    ///
    /// # Errors
    /// Where no token starts there.
    pub fn new(text: &'a str) -> Result<Cursor<'a>> {
        let mut cursor = Cursor { text, token: Token::End, start: 0, end: 0 };
        cursor.advance()?;
        Ok(cursor)
    }

    /// The whole text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The token here.
    pub fn token(&self) -> Token<'a> {
        self.token
    }

    /// Offset of the token here, for [`Cursor::error_at`].
    pub fn offset(&self) -> usize {
        self.start
    }

    /// An error at an offset.
    ///
    /// # Errors
    /// Always.
    pub fn error_at<T>(&self, offset: usize, kind: ParseErrorKind) -> Result<T> {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.bytes().filter(|&b| b == b'\n').count() as u32 + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() as u32 + 1;
        Err(ParseError { line, column, kind })
    }

    /// The error that something else stands here than what was expected.
    ///
    /// # Errors
    /// Always.
    pub fn expected<T>(&self, expected: &'static str) -> Result<T> {
        self.error_at(self.start, ParseErrorKind::Expected { expected, found: self.token.describe() })
    }

    /// Moves to the next token and gives the one before.
    ///
    /// # Errors
    /// Where no token starts there.
    pub fn advance(&mut self) -> Result<Token<'a>> {
        let before = self.token;
        self.skip_space();
        self.start = self.end;
        self.token = self.read()?;
        Ok(before)
    }

    fn skip_space(&mut self) {
        let bytes = self.text.as_bytes();
        while let Some(&b) = bytes.get(self.end) {
            match b {
                b' ' | b'\t' | b'\r' | b'\n' => self.end += 1,
                b';' => self.end = bytes[self.end..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |n| self.end + n),
                _ => return,
            }
        }
    }

    /// The longest run of bytes at the front for which `ok` holds; all are ASCII.
    fn take(&mut self, ok: impl Fn(u8) -> bool) -> &'a str {
        let rest = &self.text[self.end..];
        let n = rest.bytes().position(|b| !ok(b)).unwrap_or(rest.len());
        self.end += n;
        &rest[..n]
    }

    fn read(&mut self) -> Result<Token<'a>> {
        let Some(&b) = self.text.as_bytes().get(self.start) else { return Ok(Token::End) };
        Ok(match b {
            b'%' | b'@' | b'$' => {
                self.end += 1;
                let name = self.take(in_name);
                if name.is_empty() {
                    let found =
                        self.text[self.end..].chars().next().map_or_else(|| "the end of the text".to_string(), |c| format!("{c:?}"));
                    return self.error_at(self.end, ParseErrorKind::Expected { expected: "a name", found });
                }
                match b {
                    b'%' => Token::Value(name),
                    b'@' => Token::Symbol(name),
                    _ => Token::Local(name),
                }
            }
            b'0'..=b'9' => Token::Number(self.number()),
            b'"' => Token::Quoted(self.quoted()?),
            _ if in_name(b) => Token::Word(self.take(in_name)),
            _ => match PUNCTUATION.iter().find(|p| self.text[self.start..].starts_with(**p)) {
                Some(p) => {
                    self.end += p.len();
                    Token::Punct(p)
                }
                None => {
                    let c = self.text[self.start..].chars().next().unwrap_or_default();
                    return self.error_at(self.start, ParseErrorKind::Character(c));
                }
            },
        })
    }

    /// Digits, a fraction, an exponent, a suffix; whether they make sense is for the place to say.
    fn number(&mut self) -> &'a str {
        let start = self.end;
        loop {
            self.take(|b| in_name(b) || b == b'.');
            let so_far = &self.text[start..self.end];
            let exponent = so_far.ends_with(['e', 'E']) && !so_far.starts_with("0x");
            let next = self.text.as_bytes().get(self.end..self.end + 2);
            match next {
                Some([b'+' | b'-', b'0'..=b'9']) if exponent => self.end += 1,
                _ => return &self.text[start..self.end],
            }
        }
    }

    fn quoted(&mut self) -> Result<&'a str> {
        let from = self.start + 1;
        let bytes = self.text.as_bytes();
        let mut at = from;
        loop {
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at += 2,
                Some(_) => at += 1,
                None => return self.error_at(self.start, ParseErrorKind::Quoted("a quote that is never closed")),
            }
        }
        self.end = at + 1;
        Ok(&self.text[from..at])
    }

    // ---- what parsers ask for ----

    /// Takes a punctuation mark if it stands here.
    ///
    /// # Errors
    /// Where the token after it is malformed.
    pub fn accept(&mut self, punct: &str) -> Result<bool> {
        let found = matches!(self.token, Token::Punct(p) if p == punct);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    /// Takes a punctuation mark or says that `expected` is missing.
    ///
    /// # Errors
    /// Where it does not stand here.
    pub fn punct(&mut self, punct: &str, expected: &'static str) -> Result<()> {
        if self.accept(punct)? { Ok(()) } else { self.expected(expected) }
    }

    /// Takes a word if it stands here.
    ///
    /// # Errors
    /// Where the token after it is malformed.
    pub fn accept_word(&mut self, word: &str) -> Result<bool> {
        let found = self.token == Token::Word(word);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    /// Takes any word.
    ///
    /// # Errors
    /// Where none stands here.
    pub fn word(&mut self, expected: &'static str) -> Result<&'a str> {
        match self.token {
            Token::Word(w) => {
                self.advance()?;
                Ok(w)
            }
            _ => self.expected(expected),
        }
    }

    /// Takes an integer with an optional sign, decimal or `0x` hexadecimal, that `T` holds.
    ///
    /// # Errors
    /// Where none stands here.
    pub fn int<T: TryFrom<i128>>(&mut self, expected: &'static str) -> Result<T> {
        let start = self.start;
        let negative = self.accept("-")?;
        let Token::Number(n) = self.token else { return self.expected(expected) };
        let value = match n.strip_prefix("0x") {
            Some(hex) => i128::from_str_radix(hex, 16).ok(),
            None => n.parse::<i128>().ok(),
        };
        // No number of a text needs more than 64 bits, so negation cannot overflow.
        let value = value.filter(|v| *v < 1 << 65).map(|v| if negative { -v } else { v });
        match value.and_then(|v| T::try_from(v).ok()) {
            Some(v) => {
                self.advance()?;
                Ok(v)
            }
            None => {
                let text = format!("{}{}", if negative { "-" } else { "" }, shorten(n));
                self.error_at(start, ParseErrorKind::Number { text, expected })
            }
        }
    }

    /// Takes a name in quotes or a text: what stands between quotes, with escapes resolved.
    ///
    /// # Errors
    /// Where none stands here or an escape is unknown.
    pub fn string(&mut self, expected: &'static str) -> Result<String> {
        let Token::Quoted(raw) = self.token else { return self.expected(expected) };
        match unescape(raw) {
            Some(s) => {
                self.advance()?;
                Ok(s)
            }
            None => self.error_at(self.start, ParseErrorKind::Quoted("an unknown escape; there are \\\\, \\\", \\n, \\t, \\r and \\u{…}")),
        }
    }

    /// Takes bytes: `hex` was read already, digits in quotes follow.
    ///
    /// # Errors
    /// Where they do not.
    pub fn hex(&mut self) -> Result<Vec<u8>> {
        const EXPECTED: &str = "an even number of hexadecimal digits in quotes";
        let Token::Quoted(raw) = self.token else { return self.expected(EXPECTED) };
        let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
        let (pairs, rest) = raw.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs.iter().map(|[a, b]| Some(digit(*a)? << 4 | digit(*b)?)).collect();
        match bytes {
            Some(bytes) if rest.is_empty() => {
                self.advance()?;
                Ok(bytes)
            }
            _ => self.expected(EXPECTED),
        }
    }

    /// Takes a float with an optional sign: a number, `inf`, or `nan(0x…)` with its bits.
    ///
    /// # Errors
    /// Where none stands here.
    pub fn f32(&mut self, expected: &'static str) -> Result<f32> {
        let start = self.start;
        let negative = self.accept("-")?;
        let value = match self.token {
            Token::Word("inf") => f32::INFINITY,
            Token::Word("nan") if !negative => {
                self.advance()?;
                self.punct("(", "`(` and the bits of the NaN")?;
                let bits: u32 = self.int("32 bits")?;
                if !f32::from_bits(bits).is_nan() {
                    return self.error_at(start, ParseErrorKind::Number { text: format!("{bits:#x}"), expected: "the bits of a NaN" });
                }
                self.punct(")", "`)`")?;
                return Ok(f32::from_bits(bits));
            }
            Token::Number(n) => match n.parse::<f32>() {
                Ok(v) if v.is_finite() => v,
                _ => return self.error_at(start, ParseErrorKind::Number { text: shorten(n), expected }),
            },
            _ => return self.expected(expected),
        };
        self.advance()?;
        Ok(if negative { -value } else { value })
    }

    /// Takes a double with an optional sign: a number or `inf`.
    ///
    /// # Errors
    /// Where none stands here.
    pub fn f64(&mut self, expected: &'static str) -> Result<f64> {
        let negative = self.accept("-")?;
        let value = match self.token {
            Token::Word("inf") => f64::INFINITY,
            Token::Number(n) => match n.parse::<f64>() {
                Ok(v) if v.is_finite() => v,
                _ => return self.error_at(self.start, ParseErrorKind::Number { text: shorten(n), expected }),
            },
            _ => return self.expected(expected),
        };
        self.advance()?;
        Ok(if negative { -value } else { value })
    }
}

fn unescape(raw: &str) -> Option<String> {
    let mut out = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            c @ ('\\' | '"') => c,
            'u' => {
                let rest = chars.as_str().strip_prefix('{')?;
                let (digits, after) = rest.split_once('}')?;
                chars = after.chars();
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
            }
            _ => return None,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests;
