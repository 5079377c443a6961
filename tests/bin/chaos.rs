//! Lets everything go wrong for minutes: `chaos --backend <url|name> --minutes <n> [--seed <n>] [--report <folder>]`, or each
//! thing once: `--each-once`.
//!
//! Writes a report as JSON and as a page, and fails where a job was lost, a stale write was taken, or the workers did not
//! come back to full speed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use taskwright_tests::chaos::run::{Plan, run};

struct Arguments {
    backend: String,
    plan: Plan,
    seed: u64,
    report: PathBuf,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let Arguments { backend, plan, seed, report: folder } = arguments()?;
    println!("seed {seed}");
    let program = std::env::current_exe()?.with_file_name("victim");
    let report = run(&backend, plan, seed, &program).await?;
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(format!("{}.json", report.backend)), serde_json::to_vec_pretty(&report)?)?;
    std::fs::write(folder.join(format!("{}.md", report.backend)), report.page())?;
    println!("{}", report.page());
    Ok(if report.failures().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn arguments() -> Result<Arguments> {
    let mut arguments = Arguments {
        backend: "sqlite".to_owned(),
        plan: Plan::Anything(Duration::from_mins(5)),
        seed: rand::random(),
        report: PathBuf::from("target/chaos"),
    };
    let mut given = std::env::args().skip(1);
    while let Some(option) = given.next() {
        if option == "--each-once" {
            arguments.plan = Plan::EachOnce;
            continue;
        }
        let value = given.next().with_context(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--backend" => arguments.backend = value,
            "--minutes" => arguments.plan = Plan::Anything(Duration::from_mins(value.parse()?)),
            "--seed" => arguments.seed = value.parse()?,
            "--report" => arguments.report = value.into(),
            _ => bail!("`{option}` is no option; there are --backend, --minutes, --each-once, --seed and --report"),
        }
    }
    Ok(arguments)
}
