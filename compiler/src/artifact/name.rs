//! The name of a model in symbols, types and file names.

use std::fmt;

/// A C identifier that prefixes everything a model exports.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Name(String);

/// A name that is no C identifier.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} cannot name a model: use ASCII letters, digits and underscores, not beginning with a digit, and no keyword of C or Rust")]
pub struct NameError(String);

/// Words that C, C++ or Rust keep for themselves.
const RESERVED: &[&str] = &[
    "auto",
    "break",
    "case",
    "char",
    "class",
    "const",
    "continue",
    "crate",
    "default",
    "delete",
    "do",
    "double",
    "else",
    "enum",
    "extern",
    "false",
    "float",
    "fn",
    "for",
    "goto",
    "if",
    "impl",
    "in",
    "inline",
    "int",
    "let",
    "long",
    "loop",
    "match",
    "mod",
    "move",
    "mut",
    "namespace",
    "new",
    "operator",
    "private",
    "pub",
    "public",
    "ref",
    "register",
    "return",
    "self",
    "short",
    "signed",
    "sizeof",
    "static",
    "struct",
    "super",
    "switch",
    "template",
    "this",
    "throw",
    "trait",
    "true",
    "try",
    "type",
    "typedef",
    "union",
    "unsafe",
    "unsigned",
    "use",
    "using",
    "virtual",
    "void",
    "volatile",
    "where",
    "while",
    "async",
    "await",
    "dyn",
    "tflc",
];

impl Name {
    /// A name as given.
    ///
    /// # Errors
    /// Where it is no identifier.
    pub fn new(text: &str) -> Result<Name, NameError> {
        let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let ok = plain && begins && !text.trim_matches('_').is_empty() && !RESERVED.contains(&text);
        if ok { Ok(Name(text.to_string())) } else { Err(NameError(text.to_string())) }
    }

    /// A name made of a file's stem: other characters become underscores.
    pub fn from_stem(stem: &str) -> Name {
        let text: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        Name::new(&text).unwrap_or_else(|_| Name(format!("model_{text}")))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_identifiers() {
        assert_eq!(Name::from_stem("mobilenet-v2 1.0").as_str(), "mobilenet_v2_1_0");
        assert_eq!(Name::from_stem("2048").as_str(), "model_2048");
        assert_eq!(Name::from_stem("").as_str(), "model_");
        for bad in ["", "a-b", "1a", "union", "_", "é"] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
        assert!(Name::new("digits_int8").is_ok());
    }
}
