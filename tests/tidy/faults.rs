//! Every fault of other queues that we know of has a row, and the tests that a row names exist.

use std::collections::BTreeSet;
use std::path::Path;

use crate::tree::{files_in, read};

/// How many faults are known.
const KNOWN: usize = 32;

/// What a row says when it lacks a test, so that nobody takes it for answered.
const OPEN: &str = "**not yet**";

struct Row {
    number: String,
    tests: Vec<String>,
    open: bool,
}

fn rows() -> Vec<Row> {
    let page = read("tests/FAULTS.md");
    let lines = page.lines().filter(|line| line.starts_with("| F"));
    let row = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [number, _, _, answer] = cells[..] else { panic!("a row has four cells: {line}") };
        let tests = answer.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Row { number: number.to_owned(), tests, open: answer.contains(OPEN) }
    };
    lines.map(row).collect()
}

#[test]
fn every_fault_has_a_row_with_a_test_or_says_that_it_has_none() {
    let rows = rows();
    let numbers: Vec<_> = rows.iter().map(|row| row.number.clone()).collect();
    let expected: Vec<_> = (1..=KNOWN).map(|number| format!("F{number}")).collect();
    assert_eq!(numbers, expected);
    for Row { number, tests, open } in rows {
        assert!(open || !tests.is_empty(), "{number} names no test; say {OPEN} where there is none");
    }
}

#[test]
fn every_test_that_answers_a_fault_exists() {
    let sources = ["tests", "runtime/src"].map(files_in).into_iter().flatten();
    let is_source = |path: &str| Path::new(path).extension().is_some_and(|extension| extension == "rs");
    let sources = sources.filter(|file| is_source(&file.path) && !file.path.ends_with("tidy/faults.rs"));
    let words: BTreeSet<String> = sources
        .flat_map(|file| {
            let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            file.text.split(|letter| !is_part(letter)).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    for Row { number, tests, .. } in rows() {
        for test in tests {
            assert!(words.contains(&test), "{number} names `{test}`, which is no test");
        }
    }
}
