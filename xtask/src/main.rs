//! The project's own commands: `cargo xtask test`, `ci`, `services` and `bench`.

mod cargo;
mod gates;
mod report;
mod services;
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
    /// Starts the servers that tests share, and keeps them until Ctrl-C.
    Services,
    /// Measures this build: throughput, latency, idle cost, rescue.
    Bench {
        /// Options of the benchmark; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let mut report = Report::new(cargo::in_ci());
    match Arguments::parse().task {
        Task::Test => tests::run_all(&mut report)?,
        Task::Ci => {
            gates::run_all(&mut report)?;
            tests::run_all(&mut report)?;
        }
        Task::Services => {
            services::Services::start()?.keep()?;
            return Ok(ExitCode::SUCCESS);
        }
        Task::Bench { options } => return bench(&options),
    }
    Ok(report.close())
}

fn bench(options: &[String]) -> anyhow::Result<ExitCode> {
    let mut command = cargo::cargo(&["run", "--release", "--package", "taskwright-benches", "--"]);
    command.args(options);
    Ok(if cargo::run(command)?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
