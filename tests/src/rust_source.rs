//! Rust sources as flat lists of tokens, for rules about what code may name.
//!
//! Comments, documentation and the contents of literals are not tokens here, and items under `#[cfg(test)]` are left out,
//! so that a word found is a word that the shipped code says. Macros are not expanded.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A token's text and line; groups appear as their delimiters.
pub type Token = (String, usize);

/// The tokens of a source file, without the items that are compiled for tests only.
///
/// # Errors
/// Where the text is not a sequence of Rust tokens.
pub fn tokens(source: &str) -> Result<Vec<Token>, String> {
    fn flatten(stream: TokenStream, out: &mut Vec<Token>) {
        let trees: Vec<TokenTree> = stream.into_iter().collect();
        let mut i = 0;
        while i < trees.len() {
            if attribute(&trees, i).is_some_and(|a| a.starts_with("cfg(") && a.contains("test") && !a.contains("not(test")) {
                // The item goes to its body or its semicolon, whichever is first.
                let end = |t: &TokenTree| match t {
                    TokenTree::Group(g) => g.delimiter() == Delimiter::Brace,
                    TokenTree::Punct(p) => p.as_char() == ';',
                    _ => false,
                };
                i = trees[i..].iter().position(end).map_or(trees.len(), |n| i + n + 1);
                continue;
            }
            match &trees[i] {
                TokenTree::Group(g) => {
                    let (open, close) = match g.delimiter() {
                        Delimiter::Brace => ("{", "}"),
                        Delimiter::Bracket => ("[", "]"),
                        _ => ("(", ")"),
                    };
                    out.push((open.into(), g.span_open().start().line));
                    flatten(g.stream(), out);
                    out.push((close.into(), g.span_close().start().line));
                }
                TokenTree::Literal(l) => out.push(("literal".into(), l.span().start().line)),
                other => out.push((other.to_string(), other.span().start().line)),
            }
            i += 1;
        }
    }
    /// The text of the attribute that begins at `i`, without spaces.
    fn attribute(trees: &[TokenTree], i: usize) -> Option<String> {
        match (&trees[i], trees.get(i + 1)) {
            (TokenTree::Punct(p), Some(TokenTree::Group(g))) if p.as_char() == '#' => Some(g.stream().to_string().replace(' ', "")),
            _ => None,
        }
    }
    let mut out = vec![];
    flatten(source.parse().map_err(|e| format!("{e}"))?, &mut out);
    Ok(out)
}

/// Modules of the crate that the tokens name as `crate::MODULE` or `crate::{MODULE, ...}`, with lines.
pub fn imports(tokens: &[Token]) -> Vec<Token> {
    let text = |i: usize| tokens.get(i).map_or("", |t| t.0.as_str());
    let mut found = vec![];
    for i in 0..tokens.len() {
        if text(i) != "crate" || text(i + 1) != ":" || text(i + 2) != ":" {
            continue;
        }
        if text(i + 3) != "{" {
            found.extend(tokens.get(i + 3).cloned());
            continue;
        }
        let (mut depth, mut at) = (0, i + 3);
        while at < tokens.len() {
            match text(at) {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            if depth == 1 && ["{", ","].contains(&text(at)) && !["}", ","].contains(&text(at + 1)) {
                found.extend(tokens.get(at + 1).cloned());
            }
            at += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_leave_out_tests_comments_and_strings() {
        let source = r#"
            //! crate::driver
            use crate::{ir::{self, DType}, error as e};
            fn f() { let _ = "unsafe crate::cli"; /* todo!() */ crate::ops::g(); }
            #[cfg(test)]
            mod tests { use crate::cli; fn f() { unsafe {} } }
            #[cfg(test)]
            use crate::driver;
            fn g() -> crate::plan::Plan {}
        "#;
        let tokens = tokens(source).unwrap();
        assert!(tokens.iter().all(|t| t.0 != "unsafe" && t.0 != "todo"));
        assert_eq!(
            imports(&tokens).iter().map(|t| (t.0.as_str(), t.1)).collect::<Vec<_>>(),
            [("ir", 3), ("error", 3), ("ops", 4), ("plan", 9)]
        );
    }
}
