//! What must compile, what must not, and what it says.
//!
//! `TRYBUILD=overwrite cargo test -p taskwright-ui-tests` writes what is said now beside the cases.
//! `cargo test -p taskwright-ui-tests -- programs trybuild=impl_trait` runs the cases of that name.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;

const MACROS: [&str; 3] = ["task", "derive", "main"];

#[test]
fn programs_are_accepted_or_refused_as_they_should_be() {
    let cases = trybuild::TestCases::new();
    for name in MACROS {
        cases.pass(format!("{name}/pass/*.rs"));
        cases.compile_fail(format!("{name}/fail/*.rs"));
    }
}

/// A message that no case shows may have lost its place, or its sense.
#[test]
fn every_message_of_the_macros_is_shown_by_a_case() {
    let shown = expected_output();
    for file in ["parse.rs", "options.rs", "ast.rs", "check.rs"] {
        let source = fs::read_to_string(Path::new("../macros/src").join(file)).unwrap();
        for message in messages(&source) {
            let parts = fixed_parts(&message);
            assert!(
                shown.lines().any(|line| in_order(line, &parts)),
                "no case shows this message of {file}: {message}"
            );
        }
    }
}

fn expected_output() -> String {
    let folders = MACROS.map(|name| Path::new(name).join("fail"));
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    let outputs = files.filter(|file| file.extension().is_some_and(|extension| extension == "stderr"));
    outputs.map(|file| fs::read_to_string(file).unwrap()).collect()
}

/// The literals in a source file that are sentences.
fn messages(source: &str) -> Vec<String> {
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let literals = code.flat_map(literals);
    literals.filter(|literal| literal.split(' ').count() > 2).collect()
}

/// The literals in a line of code.
fn literals(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, open.take()) {
            ('"', None) => open = Some(String::new()),
            ('"', Some(literal)) => found.push(literal),
            ('\\', Some(literal)) => open = Some(literal + &chars.next().unwrap_or_default().to_string()),
            (c, Some(literal)) => open = Some(format!("{literal}{c}")),
            (_, None) => {}
        }
    }
    found
}

/// What a format string always shows, between the places where it shows something else.
fn fixed_parts(message: &str) -> Vec<&str> {
    message.split(['{', '}']).step_by(2).filter(|part| !part.is_empty()).collect()
}

fn in_order(line: &str, parts: &[&str]) -> bool {
    let mut rest = Some(line);
    for part in parts {
        rest = rest.and_then(|rest| Some(&rest[rest.find(part)? + part.len()..]));
    }
    rest.is_some()
}
