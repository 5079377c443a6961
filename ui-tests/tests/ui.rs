//! What must compile, what must not, and what it says.
//!
//! `TRYBUILD=overwrite cargo test -p taskwright-ui-tests` writes what is said now beside the cases.

const MACROS: [&str; 3] = ["task", "derive", "main"];

#[test]
fn programs_are_accepted_or_refused_as_they_should_be() {
    let cases = trybuild::TestCases::new();
    for name in MACROS {
        cases.pass(format!("{name}/pass/*.rs"));
        cases.compile_fail(format!("{name}/fail/*.rs"));
    }
}
