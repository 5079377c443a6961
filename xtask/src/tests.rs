//! Every test of the workspace.

use std::process::Stdio;

use anyhow::Result;

use crate::cargo::{cargo, run};
use crate::report::Report;

/// Runs every test: under nextest where it is installed, which also ends tests that hang, else under `cargo test`.
pub(crate) fn run_all(report: &mut Report) -> Result<()> {
    let everything = ["--workspace", "--all-features", "--no-fail-fast"];
    if !has_nextest() {
        println!("cargo-nextest is not installed; `cargo test` runs the tests, without a limit on their time");
        return report.tests("tests", cargo(&[&["test"], &everything[..]].concat()));
    }
    report.tests("tests", cargo(&[&["nextest", "run", "--status-level=fail"], &everything[..]].concat()))?;
    report.tests("documentation tests", cargo(&[&["test", "--doc"], &everything[..]].concat()))
}

fn has_nextest() -> bool {
    let mut command = cargo(&["nextest", "--version"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    run(command).is_ok_and(|status| status.success())
}
