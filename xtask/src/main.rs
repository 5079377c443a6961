//! The project's own commands: `cargo xtask test` and `cargo xtask ci`.

mod cargo;
mod gates;
mod report;
mod tally;
mod tests;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::report::Report;

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds and runs every test: unit, integration, ui, examples, documentation.
    Test,
    /// Checks formatting, lints, documentation and every feature alone, then runs every test.
    Ci,
}

fn main() -> anyhow::Result<ExitCode> {
    let mut report = Report::new(cargo::in_ci());
    match Arguments::parse().task {
        Task::Test => tests::run_all(&mut report)?,
        Task::Ci => {
            gates::run_all(&mut report)?;
            tests::run_all(&mut report)?;
        }
    }
    Ok(report.close())
}
