//! Every test of the workspace.

use std::process::Stdio;

use anyhow::Result;

use crate::cargo::{cargo, run};
use crate::report::Report;
use crate::services::Services;

/// Runs every test: under nextest where it is installed, which also ends tests that hang, else under `cargo test`.
pub(crate) fn run_all(report: &mut Report) -> Result<()> {
    let everything = ["--workspace", "--all-features", "--no-fail-fast"];
    // All of them first, so that the servers don't wait for the compiler.
    report.gate("build", cargo(&[&["test", "--no-run", "--quiet"], &everything[..]].concat()))?;
    let services = Services::start()?;
    let with_services = |arguments: &[&str]| {
        let mut command = cargo(&[arguments, &everything].concat());
        command.envs(services.variables.iter().cloned());
        command
    };
    if !has_nextest() {
        println!("cargo-nextest is not installed; `cargo test` runs the tests, without a limit on their time");
        return report.tests("tests", with_services(&["test"]));
    }
    report.tests("tests", with_services(&["nextest", "run", "--status-level=fail"]))?;
    report.tests("documentation tests", with_services(&["test", "--doc"]))
}

fn has_nextest() -> bool {
    let mut command = cargo(&["nextest", "--version"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    run(command).is_ok_and(|status| status.success())
}
