//! Queues that are programs of their own: for the sake of their dependencies, or of their language.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::Amount;
use crate::work::Rates;

/// How long one may take, its build aside.
const PATIENCE: Duration = Duration::from_mins(4);

/// effectum, on the SQLite that it brings along.
pub(crate) async fn effectum(file: &Path, amount: Amount) -> Result<Rates> {
    let mut program = built("effectum").await?;
    program.arg(file);
    rates(program, amount).await
}

/// apalis on a database of MySQL, which it wants to be empty.
pub(crate) async fn apalis_mysql(url: &str, amount: Amount) -> Result<Rates> {
    let mut program = built("apalis-mysql").await?;
    program.arg(url);
    rates(program, amount).await
}

/// One of those on an empty database of Postgres that use an older sqlx, by its name in the table.
pub(crate) async fn older_sqlx(queue: &str, url: &str, amount: Amount) -> Result<Rates> {
    let mut program = built("older-sqlx").await?;
    program.args([queue, url]);
    rates(program, amount).await
}

/// `BullMQ`, at the host and port of a Redis URL.
pub(crate) async fn bullmq(url: &str, amount: Amount) -> Result<Rates> {
    let folder = Path::new("target/peers-bullmq");
    std::fs::create_dir_all(folder)?;
    for file in ["package.json", "main.mjs"] {
        std::fs::copy(home("bullmq").join(file), folder.join(file))?;
    }
    let mut install = Command::new("npm");
    install.args(["install", "--no-package-lock", "--no-audit", "--no-fund", "--silent"]).current_dir(folder);
    output(install).await.context("`npm` does not bring it; is Node.js on this machine?")?;
    let mut program = Command::new("node");
    program.arg("main.mjs").arg(url).current_dir(folder);
    rates(program, amount).await
}

fn home(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A program of the workspace of that name.
async fn built(name: &str) -> Result<Command> {
    let target = Path::new("target").join("peers-outside");
    let mut build = Command::new("cargo");
    build.args(["build", "--release", "--locked", "--quiet", "--manifest-path"]).arg(home(name).join("Cargo.toml"));
    build.arg("--target-dir").arg(&target);
    output(build).await?;
    Ok(Command::new(target.join("release").join(format!("taskwright-peers-{name}"))))
}

/// What it prints last, given how much to do.
async fn rates(mut program: Command, amount: Amount) -> Result<Rates> {
    program.arg(amount.jobs.to_string()).arg(amount.single.to_string());
    let Ok(printed) = tokio::time::timeout(PATIENCE, output(program)).await else {
        bail!("it did not end within {PATIENCE:?}");
    };
    let printed = printed?;
    let rates: Value =
        serde_json::from_str(printed.lines().last().unwrap_or_default()).context("it prints no rates")?;
    let rate = |name: &str| rates[name].as_f64().with_context(|| format!("it prints no rate `{name}`"));
    Ok(Rates { bulk: rate("bulk")?, one: rate("one")?, drain: rate("drain")? })
}

async fn output(mut program: Command) -> Result<String> {
    let ended = program.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    let complaint = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{}", complaint.lines().find(|line| !line.is_empty()).unwrap_or("it failed"));
    Ok(String::from_utf8(ended.stdout)?)
}
