//! The generated program: every command for people and for scripts, and what becomes of bad input.
//!
//! Most tests run the program inside the test process, on a memory store of their own; `process` runs it as one.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "in a test, a panic is how a failure is told")]

mod bench;
mod commands;
mod dispatch;
mod help;
mod jobs;
mod permissions;
mod process;
mod settings;

// The fixture program, whose tasks and wiring are used in this process too.
#[path = "../bin/fixture.rs"]
#[allow(dead_code, reason = "its `main` is for the program of its own")]
mod fixture;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use taskwright::App;
use taskwright::backend::Backend;
use taskwright::backend::connect::connect;
use taskwright::cli::{Invocation, run};
use taskwright::private::Program;

const PROGRAM: Program = Program { name: "fixture", version: "1.2.3" };

/// A store and a folder of its own, and the program to run on them.
struct Setup {
    url: String,
    directory: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

/// What one run of the program did.
#[derive(Debug)]
struct Ran {
    exit: u8,
    stdout: String,
    stderr: String,
}

fn setup() -> Setup {
    static STORES: AtomicUsize = AtomicUsize::new(0);
    let url = format!("memory:cli-{}", STORES.fetch_add(1, Ordering::Relaxed));
    Setup { url, directory: tempfile::tempdir().unwrap(), environment: Vec::new() }
}

impl Setup {
    fn run(&self, args: &[&str]) -> Ran {
        self.run_with(&[&["--url", &self.url], args].concat(), "")
    }

    /// Without `--url`, and with something on standard input.
    fn run_with(&self, args: &[&str], stdin: &str) -> Ran {
        self.run_wired(args, stdin, fixture::wire)
    }

    /// With wiring of its own.
    fn run_wired<R: Future<Output = anyhow::Result<App>>>(
        &self,
        args: &[&str],
        stdin: &str,
        wiring: impl FnOnce(App) -> R,
    ) -> Ran {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let invocation = Invocation {
            args: std::iter::once(&"fixture").chain(args).map(Into::into).collect(),
            environment: self.environment.clone(),
            directory: self.directory.path().to_owned(),
            stdin: &mut stdin.as_bytes(),
            stdout: &mut stdout,
            stderr: &mut stderr,
            terminal: false,
        };
        let exit = run(PROGRAM, invocation, wiring);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { exit, stdout: text(stdout), stderr: text(stderr) }
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.path().join(name), text).unwrap();
        self
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The store that the program works on.
    async fn store(&self) -> Arc<dyn Backend> {
        connect(&self.url).await.unwrap()
    }
}

impl Ran {
    /// The answer of a run that went well.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.exit, 0, "{self:?}");
        self.stdout
    }

    /// The JSON answer of a run, whatever its exit code.
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What a run that went wrong says, having answered nothing.
    #[track_caller]
    fn refused(self, exit: u8) -> String {
        assert_eq!((self.exit, self.stdout.as_str()), (exit, ""), "{self:?}");
        self.stderr
    }
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}
