//! Tests that the language reference is complete and its examples are kir.

const REFERENCE: &str = include_str!("../../docs/kir.md");

#[test]
fn every_operator_has_a_row_in_the_reference() {
    let rows: Vec<&str> = REFERENCE.lines().filter(|l| l.starts_with("| `")).filter_map(|l| l.split('|').nth(1)).collect();
    let documented: Vec<&str> = rows.iter().flat_map(|r| r.split('`').skip(1).step_by(2)).collect();
    for name in crate::parse::mnemonics() {
        assert!(documented.contains(&name.as_str()), "compiler/docs/kir.md has no row for `{name}`");
    }
}

#[test]
fn examples_in_the_reference_parse() {
    let mut count = 0;
    for block in REFERENCE.split("```kir\n").skip(1) {
        let text = block.split("```").next().unwrap_or_default();
        crate::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn the_example_of_the_printer_prints_so() {
    let source = include_str!("print.rs");
    let text: String = source
        .lines()
        .skip_while(|l| !l.contains("```text"))
        .skip(1)
        .take_while(|l| !l.contains("```"))
        .map(|l| format!("{}\n", &l[4..]))
        .collect();
    assert_eq!(crate::print(&crate::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))), text);
}
