//! What must compile, what must not, and what it says.

#[test]
fn programs_that_must_compile() {
    let cases = trybuild::TestCases::new();
    for macro_name in ["task", "derive", "main"] {
        cases.pass(format!("{macro_name}/pass/*.rs"));
    }
}
