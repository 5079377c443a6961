//! What was meant for one machine or one afternoon.

use crate::tree::{File, files_ending, files_in};

/// Each in two parts, so that this file does not hold what it looks for.
const UNFINISHED: [(&str, &str); 3] = [("todo", "!("), ("dbg", "!("), ("#[ig", "nore")];

/// Where machines of a developer keep things.
const FOREIGN_PATHS: [(&str, &str); 4] = [("/wo", "rk/"), ("/ho", "me/"), ("/ro", "ot/"), ("/tm", "p/")];

fn lines_with(files: &[File], marks: &[(&str, &str)], stands_alone: bool) -> Vec<String> {
    let marks: Vec<String> = marks.iter().map(|(start, end)| format!("{start}{end}")).collect();
    let has_mark = |line: &str| marks.iter().any(|mark| holds(line, mark, stands_alone));
    let lines = files.iter().flat_map(|file| {
        let numbered = file.text.lines().enumerate().filter(|(_, line)| has_mark(line));
        numbered.map(move |(index, line)| format!("{}:{}: {}", file.path, index + 1, line.trim()))
    });
    lines.collect()
}

/// Whether a line holds the mark; if it must stand alone, then not as the end of a longer path.
fn holds(line: &str, mark: &str, stands_alone: bool) -> bool {
    let ends_a_path = |before: &str| before.ends_with(|c: char| c.is_alphanumeric() || "._-}".contains(c));
    line.match_indices(mark).any(|(at, _)| !(stands_alone && ends_a_path(&line[..at])))
}

#[test]
fn sources_hold_nothing_unfinished() {
    let found = lines_with(&files_ending(".rs"), &UNFINISHED, false);
    assert!(found.is_empty(), "finish or remove:\n{}", found.join("\n"));
}

#[test]
fn no_file_knows_a_path_of_one_machine() {
    let found = lines_with(&files_in(""), &FOREIGN_PATHS, true);
    assert!(found.is_empty(), "use a relative path or a temporary folder:\n{}", found.join("\n"));
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let line = ["see /wo", "rk/notes"].concat();
    assert!(holds(&line, &["/wo", "rk/"].concat(), true));
    let inner = ["a/frame/wo", "rk/notes"].concat();
    assert!(!holds(&inner, &["/wo", "rk/"].concat(), true));
}
