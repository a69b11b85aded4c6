//! The top classes of a classifier as a table with a bar each.
//!
//! Takes real scores and names, gives lines of text. Scores that all lie in [0, 1] are shown as percentages with bars from
//! 0 to 1; others (logits) as numbers with bars from the smallest to the largest score.

use std::io::{IsTerminal, Write};

/// Width of the longest bar, in characters.
const BAR: usize = 40;
/// Longest name that is not cut, in characters.
const NAME: usize = 32;

/// How bars are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// Block characters in eighths, the first row in colour: for terminals.
    Terminal,
    /// ASCII: for files and pipes.
    Plain,
}

impl Style {
    /// The style for standard output as it is now.
    pub fn of_stdout() -> Style {
        if std::io::stdout().is_terminal() { Style::Terminal } else { Style::Plain }
    }
}

/// Indices of the `count` largest scores, largest first; equal scores in the order of their classes; NaN last.
pub fn top(scores: &[f64], count: usize) -> Vec<usize> {
    let key = |i: usize| if scores[i].is_nan() { f64::NEG_INFINITY } else { scores[i] };
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| key(b).total_cmp(&key(a)));
    order.truncate(count);
    order
}

/// Writes the `count` best classes, a line each.
///
/// # Errors
/// Where `sink` fails.
pub fn write(sink: &mut impl Write, scores: &[f64], names: &[String], count: usize, style: Style) -> std::io::Result<()> {
    let rows = top(scores, count);
    let share = scores.iter().all(|s| (0.0..=1.0).contains(s));
    let finite = || scores.iter().copied().filter(|s| s.is_finite());
    let (low, high) = if share { (0.0, 1.0) } else { (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max)) };
    let labels: Vec<String> = rows.iter().map(|&i| name(names, i)).collect();
    let width = labels.iter().map(|n| n.chars().count()).max().unwrap_or(0);
    for (rank, (&i, label)) in rows.iter().zip(&labels).enumerate() {
        let part = if high > low { (scores[i] - low) / (high - low) } else { 1.0 };
        let bar = bar(if part.is_nan() { 0.0 } else { part.clamp(0.0, 1.0) }, style);
        let gap = " ".repeat(BAR - bar.chars().count());
        let value = if share { format!("{:5.1} %", scores[i] * 100.0) } else { format!("{:9.4}", scores[i]) };
        let (on, off) = if style == Style::Terminal && rank == 0 { ("\x1b[1;32m", "\x1b[0m") } else { ("", "") };
        writeln!(sink, "  {on}{label}{pad}  {bar}{off}{gap} {value}", pad = " ".repeat(width - label.chars().count()))?;
    }
    Ok(())
}

/// The name of a class, without control characters (it comes from a file), cut to a column's width.
fn name(names: &[String], class: usize) -> String {
    match names.get(class).filter(|n| !n.is_empty()) {
        Some(n) if n.chars().count() > NAME => n.chars().filter(|c| !c.is_control()).take(NAME - 1).chain(['…']).collect(),
        Some(n) => n.chars().filter(|c| !c.is_control()).collect(),
        None => format!("class {class}"),
    }
}

/// A bar for a part in [0, 1].
fn bar(part: f64, style: Style) -> String {
    match style {
        Style::Plain => "#".repeat((part * BAR as f64).round() as usize),
        Style::Terminal => {
            let eighths = (part * BAR as f64 * 8.0).round() as usize;
            let tail = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
            "█".repeat(eighths / 8) + tail
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(scores: &[f64], names: &[&str], count: usize, style: Style) -> String {
        let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
        let mut out = vec![];
        write(&mut out, scores, &names, count, style).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn probabilities_are_percentages() {
        let expected = "  three    ##############################            75.0 %\n\
                        \x20 class 2  ##########                                25.0 %\n\
                        \x20 zero                                                0.0 %\n";
        assert_eq!(text(&[0.0, 0.75, 0.25, 0.0], &["zero", "three", ""], 3, Style::Plain), expected);
    }

    #[test]
    fn logits_are_numbers() {
        let lines = text(&[-3.0, 5.0, 1.0], &["a", "b", "c"], 5, Style::Plain);
        assert_eq!(lines.lines().map(|l| l.matches('#').count()).collect::<Vec<_>>(), [40, 20, 0]);
        assert!(lines.lines().next().unwrap().ends_with("    5.0000"), "{lines}");
    }

    #[test]
    fn terminals_get_eighths_and_colour() {
        let lines = text(&[0.5 + 1.0 / 320.0, 0.1], &["a", "b"], 2, Style::Terminal);
        assert!(lines.starts_with("  \x1b[1;32ma  ████████████████████▏\x1b[0m "), "{lines}");
        assert!(lines.lines().nth(1).unwrap().starts_with("  b  ████ "), "{lines}");
    }

    #[test]
    fn odd_scores_and_names_do_no_harm() {
        assert_eq!(top(&[1.0, f64::NAN, 2.0, 2.0], 9), [2, 3, 0, 1]);
        assert_eq!(text(&[], &[], 5, Style::Plain), "");
        let long = "x".repeat(100);
        let lines = text(&[f64::NAN, f64::INFINITY, -1.0, 4.0], &[&long, "a\x1b[31mb"], 4, Style::Terminal);
        assert_eq!(lines.lines().count(), 4);
        assert!(!lines.contains("\x1b[31m") && lines.contains("x…"), "{lines}");
    }
}
