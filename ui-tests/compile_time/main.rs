//! What a hundred tasks add to the compile time of a crate, against a hundred functions with the derives they replace.
//!
//! `cargo run -p taskwright-ui-tests --example compile_time` writes both crates below `target/compile-time`, once with
//! the feature `cli`, which lets tasks be dispatched by name, and once without.
//! It builds their dependencies once, then each crate in turn, several times, and prints the least of each: of the
//! processor time that a build took, and of the time that passed. Other work on the machine only ever adds to them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, io};

const TASKS: usize = 100;
const ROUNDS: usize = 5;

/// A crate to build.
struct Subject {
    name: &'static str,
    features: &'static str,
    item: fn(usize) -> String,
}

const SUBJECTS: [Subject; 4] = [
    Subject { name: "functions", features: "", item: function },
    Subject { name: "tasks", features: "", item: task },
    Subject { name: "functions-cli", features: "\"cli\"", item: function },
    Subject { name: "tasks-cli", features: "\"cli\"", item: task },
];

/// What one build took.
#[derive(Clone, Copy)]
struct Cost {
    processor: Duration,
    passed: Duration,
}

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/compile-time");
    for subject in &SUBJECTS {
        subject.write(&folder)?;
        subject.build(&folder)?;
    }
    let mut costs = SUBJECTS.map(|_| Cost::ENDLESS);
    for _ in 0..ROUNDS {
        for (subject, cost) in SUBJECTS.iter().zip(&mut costs) {
            *cost = cost.least(subject.build(&folder)?);
        }
    }
    let [functions, tasks, functions_cli, tasks_cli] = costs;
    report("without the feature cli", functions, tasks);
    report("with the feature cli", functions_cli, tasks_cli);
    Ok(())
}

impl Cost {
    const ENDLESS: Self = Self { processor: Duration::MAX, passed: Duration::MAX };

    fn least(self, other: Self) -> Self {
        Self { processor: self.processor.min(other.processor), passed: self.passed.min(other.passed) }
    }
}

fn report(case: &str, functions: Cost, tasks: Cost) {
    println!("{case}:");
    let rows =
        [("processor time", functions.processor, tasks.processor), ("time passed", functions.passed, tasks.passed)];
    for (what, functions, tasks) in rows {
        let added = tasks.saturating_sub(functions);
        println!("  {what}: {TASKS} functions {functions:.2?}, {TASKS} tasks {tasks:.2?}, added {added:.2?}");
    }
}

impl Subject {
    fn write(&self, folder: &Path) -> io::Result<()> {
        let Self { name, features, item } = self;
        let folder = folder.join(name);
        let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime").canonicalize()?;
        let runtime = runtime.display();
        fs::create_dir_all(folder.join("src"))?;
        fs::write(
            folder.join("Cargo.toml"),
            format!(
                "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n\
                 taskwright = {{ path = '{runtime}', default-features = false, features = [{features}] }}\n\
                 serde = {{ version = \"1\", features = [\"derive\"] }}\n\n[workspace]\n"
            ),
        )?;
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock"), folder.join("Cargo.lock"))?;
        let items: String = (0..TASKS).map(item).collect();
        fs::write(
            folder.join("src/lib.rs"),
            format!("//! Compiled for its time.\n\n#![allow(unused_imports)]\nuse taskwright::prelude::*;\n\n{items}"),
        )
    }

    /// Builds the crate anew, its dependencies apart, and says what that took.
    fn build(&self, folder: &Path) -> io::Result<Cost> {
        let name = self.name;
        let source: PathBuf = folder.join(name).join("src/lib.rs");
        let text = fs::read(&source)?;
        fs::write(&source, text)?;
        let (before, started) = (processor_time_of_children(), Instant::now());
        let status = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
            .args(["build", "--quiet", "--manifest-path"])
            .arg(folder.join(name).join("Cargo.toml"))
            .env("CARGO_TARGET_DIR", folder.join("target"))
            .env("CARGO_INCREMENTAL", "0")
            .status()?;
        if !status.success() {
            return Err(io::Error::other(format!("crate {name} does not build")));
        }
        Ok(Cost { processor: processor_time_of_children().saturating_sub(before), passed: started.elapsed() })
    }
}

/// What the processes that this one has waited for, and those that they waited for, have used; zero where there is no
/// `/proc`.
fn processor_time_of_children() -> Duration {
    // The sixteenth and seventeenth field, in hundredths of a second; a name in parentheses comes before.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
    Duration::from_millis(ticks * 10)
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
