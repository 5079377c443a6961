//! Every promise of the contract has a case.

use std::collections::BTreeSet;

use taskwright::testing::conformance::cases;

use crate::tree::read;

/// Promises without a case in the suite, and why that is right.
const UNTESTED: [(u32, &str); 0] = [];

#[test]
fn every_promise_is_cited_by_a_case() {
    let (promised, cited) = (promised(), cited());
    let unknown: Vec<_> = cited.difference(&promised).collect();
    assert!(unknown.is_empty(), "cases cite promises that backend/mod.rs does not make: {unknown:?}");
    for number in promised {
        match UNTESTED.iter().find(|(untested, _)| *untested == number) {
            None => assert!(cited.contains(&number), "no case cites P{number}"),
            Some((_, why)) => assert!(!cited.contains(&number), "P{number} has a case now, so it is not so that {why}"),
        }
    }
}

#[test]
fn promises_are_numbered_without_gaps() {
    let promised: Vec<u32> = promised().into_iter().collect();
    let expected: Vec<u32> = (1..).take(promised.len()).collect();
    assert!(promised.len() >= 17, "the contract lost promises");
    assert_eq!(promised, expected);
}

/// The numbers of the promises that the contract's docs make, each as `- **P1** ..`.
fn promised() -> BTreeSet<u32> {
    let contract = read("runtime/src/backend/mod.rs");
    let bold = contract.lines().filter_map(|line| line.strip_prefix("//! - **P")?.split_once("**"));
    bold.map(|(number, _)| number.parse().unwrap()).collect()
}

/// The numbers of the promises that the suite's cases check.
fn cited() -> BTreeSet<u32> {
    let promises = cases().iter().flat_map(|case| case.promises);
    promises.map(|promise| format!("{promise:?}").trim_start_matches('P').parse().unwrap()).collect()
}
