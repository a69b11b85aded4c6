//! Fuzz targets, each run for a second on damaged texts; `TFLC_FUZZ_SECONDS=3600 cargo test -p tflc-tests --test fuzz` runs them longer.
//!
//! The seeds are the inputs of the filetests. Each round takes one, damages it in a few places, or splices two. A target panics where a
//! promise is broken: on any text it gives a value or an error, and what it takes prints and parses back.

use std::path::Path;
use std::time::{Duration, Instant};
use tflc_tests::filetest::files;
use tflc_tests::random_values::Rng;

fn seconds() -> u64 {
    std::env::var("TFLC_FUZZ_SECONDS").ok().and_then(|v| v.parse().ok()).unwrap_or(1)
}

/// Texts of all filetests, without their first line, whose input is for a target.
fn seeds(wanted: impl Fn(&str) -> bool) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests");
    let texts = files(&folder).unwrap().into_iter().map(|p| std::fs::read_to_string(p).unwrap());
    let wanted: Vec<Vec<u8>> = texts.filter(|t| wanted(t)).filter_map(|t| Some(t.split_once('\n')?.1.as_bytes().to_vec())).collect();
    assert!(!wanted.is_empty());
    wanted
}

/// Words that mean something in one of the languages.
const WORDS: &[&str] = &[
    "%0",
    "@0",
    "$1",
    "0",
    "-1",
    "18446744073709551615",
    "1e9",
    "nan(0x7fc00000)",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "\"",
    "=",
    ",",
    "; ",
    "hex \"00\"",
    "splat 0",
];

fn damage(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = rng.choose(seeds).clone();
    if rng.one_in(4) {
        let other = rng.choose(seeds);
        let (a, b) = (rng.below(bytes.len() + 1), rng.below(other.len() + 1));
        bytes.truncate(a);
        bytes.extend(&other[b..]);
    }
    for _ in 0..rng.below(4) {
        let at = rng.below(bytes.len() + 1);
        let end = (at + rng.below(20)).min(bytes.len());
        match rng.below(4) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, rng.choose(WORDS).bytes())),
            2 => drop(bytes.splice(at..end, rng.choose(WORDS).bytes())),
            _ if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            _ => {}
        }
    }
    bytes
}

fn fuzz(target: fn(&[u8]), seeds: &[Vec<u8>]) {
    seeds.iter().for_each(|s| target(s));
    let end = Instant::now() + Duration::from_secs(seconds());
    let mut rng = Rng::new(seconds());
    while Instant::now() < end {
        let bytes = damage(&mut rng, seeds);
        if let Err(panic) = std::panic::catch_unwind(|| target(&bytes)) {
            eprintln!("the text was:\n{}", String::from_utf8_lossy(&bytes));
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn graph_text() {
    fuzz(tflc::ir::parse::fuzz_parse, &seeds(|t| t.contains("\ngraph @")));
}

#[test]
fn expression_text() {
    let all = seeds(|t| t.contains("expr = ("));
    let expressions: Vec<Vec<u8>> = all
        .iter()
        .flat_map(|t| String::from_utf8_lossy(t).split("expr = ").skip(1).map(str::to_string).collect::<Vec<_>>())
        .filter_map(|t| Some(t.as_bytes()[..=t.find('}')?].to_vec()))
        .collect();
    fuzz(tflc_templates::expr::parse::fuzz_parse, &expressions);
}

#[test]
fn kernel_text() {
    fuzz(tflc_kir::parse::fuzz_parse, &seeds(|t| t.contains("\nkernel @")));
}
