//! The form of a file: a header line, then inputs, each followed by what is expected of it as comments.
//!
//! A line that starts with `; ` (or is `;`) at the left margin is expected output; `;;` starts prose and directives, which belong to
//! the input, as do indented comments. Parsing and printing give the same text, but for blank lines around expectations.

use anyhow::{Result, bail};

pub(super) struct File {
    /// The line `test COMMAND ARGUMENTS`.
    pub(super) header: String,
    pub(super) cases: Vec<Input>,
    /// What follows the last expectation.
    rest: String,
}

pub(super) struct Input {
    /// Line of the file where the text starts, from 1.
    pub(super) line: usize,
    text: String,
    pub(super) expected: Vec<String>,
}

impl Input {
    /// The text behind as many empty lines as the file has before it.
    pub(super) fn input_at_its_line(&self) -> String {
        "\n".repeat(self.line - 1) + &self.text
    }
}

fn expectation(line: &str) -> Option<&str> {
    if line == ";" { Some("") } else { line.strip_prefix("; ") }
}

impl File {
    pub(super) fn parse(text: &str) -> Result<File> {
        let mut lines = text.lines().enumerate().map(|(i, l)| (i + 1, l)).peekable();
        let Some((_, header)) = lines.next_if(|(_, l)| l.starts_with("test ")) else { bail!("the first line is not `test COMMAND`") };
        let mut file = File { header: header.to_string(), cases: vec![], rest: String::new() };
        while let Some(&(line, _)) = lines.peek() {
            let mut text = String::new();
            while let Some((_, l)) = lines.next_if(|(_, l)| expectation(l).is_none()) {
                text += l;
                text.push('\n');
            }
            let mut expected = vec![];
            while let Some((_, l)) = lines.next_if(|(_, l)| expectation(l).is_some()) {
                expected.extend(expectation(l).map(str::to_string));
            }
            let blank = text.lines().all(|l| l.trim().is_empty() || l.starts_with(";;"));
            if blank && expected.is_empty() {
                file.rest = text;
            } else if blank {
                bail!("line {line}: an expectation without an input");
            } else {
                file.cases.push(Input { line, text, expected });
            }
        }
        if file.cases.is_empty() {
            bail!("there is no input");
        }
        Ok(file)
    }

    pub(super) fn print(&self) -> String {
        let mut out = format!("{}\n", self.header);
        for case in &self.cases {
            out += &format!("{}\n\n", case.text.trim_end());
            for line in &case.expected {
                out += if line.is_empty() { ";" } else { "; " };
                out += line;
                out.push('\n');
            }
        }
        let rest = self.rest.trim_end();
        if !rest.is_empty() {
            out += &format!("{rest}\n");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_prints_as_it_was() {
        let text = "test pass x\n;; Prose.\n\ngraph {\n  ; inside\n}\n\n; one\n;\n; two\n\n;; More.\ngraph {}\n\n; three\n\n;; The end.\n";
        let file = File::parse(text).unwrap();
        assert_eq!(file.print(), text);
        assert_eq!((file.cases[0].line, file.cases[1].line), (2, 11));
        assert_eq!(file.cases[0].expected, ["one", "", "two"]);
        assert!(file.cases[1].input_at_its_line().lines().nth(12).unwrap().starts_with("graph"));
    }

    #[test]
    fn files_without_header_or_input_are_refused() {
        assert!(File::parse("graph {}\n").is_err());
        assert!(File::parse("test x\n;; nothing\n").is_err());
        assert!(File::parse("test x\n; expected\n").is_err());
    }
}
