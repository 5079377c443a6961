//! What must hold before a test is worth running.

use anyhow::{Context, Result};

use crate::cargo::cargo;
use crate::report::Report;

/// Formatting, lints, documentation, and every feature of the library alone.
pub(crate) fn run_all(report: &mut Report) -> Result<()> {
    report.gate("format", cargo(&["fmt", "--all", "--check"]))?;
    report.gate("lints", lints(&["--workspace", "--all-targets", "--all-features"]))?;
    let mut rustdoc = cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
    rustdoc.env("RUSTDOCFLAGS", "-D warnings");
    report.gate("documentation", rustdoc)?;
    report.gate("no feature", lints(&["--package", "taskwright", "--no-default-features"]))?;
    for feature in features()? {
        let alone = ["--package", "taskwright", "--no-default-features", "--features", &feature];
        report.gate(&format!("feature {feature} alone"), lints(&alone))?;
    }
    Ok(())
}

/// A check with lints, none of which may warn.
fn lints(what: &[&str]) -> std::process::Command {
    cargo(&[&["clippy", "--quiet"], what, &["--", "-D", "warnings"]].concat())
}

/// The features of the library, as its manifest names them.
fn features() -> Result<Vec<String>> {
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1"]).output()?;
    anyhow::ensure!(output.status.success(), "`cargo metadata`: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("`cargo metadata` lists no packages")?;
    let library = packages.iter().find(|package| package["name"] == "taskwright");
    let features = library.and_then(|library| library["features"].as_object());
    Ok(features.context("`cargo metadata` does not know the package taskwright")?.keys().cloned().collect())
}
