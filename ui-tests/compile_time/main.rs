//! What a hundred tasks add to the compile time of a crate, against a hundred functions with the derives they replace.
//!
//! `cargo run -p taskwright-ui-tests --example compile_time` writes both crates below `target/compile-time`, builds their
//! dependencies once, then builds each in turn, several times, and prints the medians.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, io};

const TASKS: usize = 100;
const ROUNDS: usize = 5;

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/compile-time");
    let crates = [("functions", function as fn(usize) -> String), ("tasks", task)];
    for (name, item) in crates {
        write_crate(&folder.join(name), name, item)?;
        build(&folder, name)?;
    }
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for ((name, _), times) in crates.iter().zip(&mut times) {
            times.push(build(&folder, name)?);
        }
    }
    let [functions, tasks] = times.map(median);
    println!("{TASKS} functions with derives: {functions:.2?}");
    println!("{TASKS} tasks: {tasks:.2?}");
    println!("added: {:.2?}", tasks.saturating_sub(functions));
    Ok(())
}

fn function(number: usize) -> String {
    format!(
        "/// Mails a receipt.
pub async fn send_receipt_{number}(order: u64, to: String, lines: Vec<u32>, ctx: &Context) -> TaskResult<u64> {{
    ctx.progress(0.5, to).await;
    Ok(order + lines.len() as u64)
}}

/// What goes into it.
#[derive(Serialize, Deserialize)]
pub struct SendReceipt{number} {{
    /// The order.
    pub order: u64,
    /// Who is told.
    pub to: String,
    /// What was bought.
    pub lines: Vec<u32>,
}}
"
    )
}

fn task(number: usize) -> String {
    format!(
        "/// Mails a receipt.
#[task(queue = \"mail\", max_attempts = 8)]
pub async fn send_receipt_{number}(order: u64, to: String, lines: Vec<u32>, ctx: &Context) -> TaskResult<u64> {{
    ctx.progress(0.5, to).await;
    Ok(order + lines.len() as u64)
}}
"
    )
}

fn write_crate(folder: &Path, name: &str, item: fn(usize) -> String) -> io::Result<()> {
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime").canonicalize()?;
    let runtime = runtime.display();
    fs::create_dir_all(folder.join("src"))?;
    fs::write(
        folder.join("Cargo.toml"),
        format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n\
             taskwright = {{ path = '{runtime}', default-features = false }}\nserde = {{ version = \"1\", features = [\"derive\"] }}\n\n\
             [workspace]\n"
        ),
    )?;
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock"), folder.join("Cargo.lock"))?;
    let items: String = (0..TASKS).map(item).collect();
    fs::write(
        folder.join("src/lib.rs"),
        format!("//! Compiled for its time.\n\n#![allow(unused_imports)]\nuse taskwright::prelude::*;\n\n{items}"),
    )
}

/// Builds the crate anew, its dependencies apart, and says how long that took.
fn build(folder: &Path, name: &str) -> io::Result<Duration> {
    let source: PathBuf = folder.join(name).join("src/lib.rs");
    let text = fs::read(&source)?;
    fs::write(&source, text)?;
    let started = Instant::now();
    let status = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(["build", "--quiet", "--manifest-path"])
        .arg(folder.join(name).join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env("CARGO_INCREMENTAL", "0")
        .status()?;
    if !status.success() {
        return Err(io::Error::other(format!("crate {name} does not build")));
    }
    Ok(started.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
