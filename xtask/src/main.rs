//! The project's own commands: `cargo xtask test`, `ci`, `services`, `bench`, `simulate` and `chaos`.

mod cargo;
mod gates;
mod report;
mod services;
mod tally;
mod tests;

use std::process::{Command, ExitCode};

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
    /// Measures this build: throughput, latency, idle cost, rescue; `bench peers` does it beside other queues.
    Bench {
        /// Options of the benchmark, after `peers` of that one; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Kills, stops and cuts off real workers and servers under steady work, and writes a report to `target/chaos`.
    Chaos {
        /// `sqlite`, `postgres`, `mysql`, `redis` or `rabbitmq`, with a server of its own; or a URL.
        #[arg(long, default_value = "sqlite")]
        backend: String,
        /// How long.
        #[arg(long, default_value_t = 5)]
        minutes: u64,
        /// Each thing that can go wrong goes wrong once, however long that takes.
        #[arg(long, conflicts_with = "minutes")]
        each_once: bool,
        /// What goes wrong when; a new one each time unless given.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Runs workers and clients on simulated time over a store that fails, one run for each seed.
    Simulate {
        /// How many seeds to run.
        #[arg(long, default_value_t = 100_000)]
        seeds: u64,
        /// The first of them.
        #[arg(long, default_value_t = 1)]
        first: u64,
        /// Over which store.
        #[arg(long, value_parser = ["memory", "sqlite"], default_value = "memory")]
        backend: String,
        /// Runs this seed alone, and prints all that happens in it.
        #[arg(long, conflicts_with_all = ["seeds", "first"])]
        seed: Option<u64>,
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
        Task::Chaos { backend, minutes, each_once, seed } => {
            return chaos(&backend, (!each_once).then_some(minutes), seed);
        }
        Task::Simulate { seeds, first, backend, seed } => return simulate(seeds, first, &backend, seed),
    }
    Ok(report.close())
}

fn bench(options: &[String]) -> anyhow::Result<ExitCode> {
    const OWN: &[&str] = &["run", "--release", "--package", "taskwright-benches", "--"];
    // With a lockfile of its own, since its dependencies are other queues.
    const PEERS: &[&str] = &[
        "run",
        "--release",
        "--locked",
        "--manifest-path",
        "benches/peers/Cargo.toml",
        "--target-dir",
        "target",
        "--",
    ];
    let (run, options) = match options {
        [first, rest @ ..] if first == "peers" => (PEERS, rest),
        options => (OWN, options),
    };
    let mut command = cargo::cargo(run);
    command.args(options);
    ended(command)
}

/// With its worker beside it; each thing once where no time is said.
fn chaos(backend: &str, minutes: Option<u64>, seed: Option<u64>) -> anyhow::Result<ExitCode> {
    let built = cargo::run(cargo::cargo(&["build", "--package", "taskwright-tests", "--bin", "victim"]))?;
    anyhow::ensure!(built.success(), "the worker for it does not build");
    let run = ["run", "--package", "taskwright-tests", "--bin", "chaos", "--", "--backend", backend];
    let mut command = cargo::cargo(&run);
    match minutes {
        Some(minutes) => command.args(["--minutes", &minutes.to_string()]),
        None => command.arg("--each-once"),
    };
    if let Some(seed) = seed {
        command.args(["--seed", &seed.to_string()]);
    }
    ended(command)
}

/// Few features, so that little is built in release.
fn simulate(seeds: u64, first: u64, backend: &str, seed: Option<u64>) -> anyhow::Result<ExitCode> {
    let features = if backend == "sqlite" { "testing,sqlite" } else { "testing" };
    let build = ["test", "--release", "--package", "taskwright", "--no-default-features", "--features", features];
    let mut command = cargo::cargo(&build);
    command.env("TASKWRIGHT_SIM_BACKEND", backend);
    command.args(["--test", "simulation", "--", "every_seed", "--nocapture"]);
    command.env("TASKWRIGHT_SIM_SEEDS", seeds.to_string()).env("TASKWRIGHT_SIM_FIRST", first.to_string());
    if let Some(seed) = seed {
        command.env("TASKWRIGHT_SIM_SEED", seed.to_string());
    }
    ended(command)
}

fn ended(command: Command) -> anyhow::Result<ExitCode> {
    Ok(if cargo::run(command)?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
