//! The closing summary: what each step took and how the tests ended.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cargo;
use crate::tally::Tally;

/// What has been run so far.
pub(crate) struct Report {
    /// Whether a skipped test is a failure.
    strict: bool,
    steps: Vec<Step>,
    tally: Tally,
}

struct Step {
    name: String,
    ended: Result<(), String>,
    took: Duration,
}

impl Report {
    pub(crate) fn new(strict: bool) -> Self {
        Self { strict, steps: Vec::new(), tally: Tally::default() }
    }

    /// Runs a command that must succeed; one that does not counts as one failure.
    pub(crate) fn gate(&mut self, name: &str, command: Command) -> Result<()> {
        let began = announce(name);
        let ended = if cargo::run(command)?.success() { Ok(()) } else { Err("failed".to_owned()) };
        self.tally.failed += u64::from(ended.is_err());
        self.steps.push(Step { name: name.to_owned(), ended, took: began.elapsed() });
        Ok(())
    }

    /// Runs a test runner and counts its tests.
    pub(crate) fn tests(&mut self, name: &str, command: Command) -> Result<()> {
        let began = announce(name);
        let (status, mut tally) = cargo::run_counted(command)?;
        let ended = judge(status.success(), tally, self.strict);
        if ended.is_err() && tally.failed == 0 {
            // What did not build, or was skipped where nothing may be, has no failed test to show.
            tally.failed = 1;
        }
        self.tally.add(tally);
        self.steps.push(Step { name: name.to_owned(), ended, took: began.elapsed() });
        Ok(())
    }

    /// Prints the summary; its last line alone says how many tests passed and failed.
    pub(crate) fn close(self) -> ExitCode {
        let wall = self.steps.iter().map(|step| step.took).sum::<Duration>();
        println!("\n{} steps in {}", self.steps.len(), seconds(wall));
        for step in &self.steps {
            let ended = step.ended.as_ref().map_or_else(String::as_str, |()| "ok");
            println!("  {:>6}  {:<40} {ended}", seconds(step.took), step.name);
        }
        let Tally { passed, failed, skipped } = self.tally;
        let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
        println!("{passed} passed, {failed} failed{skipped}");
        if self.steps.iter().all(|step| step.ended.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn judge(success: bool, tally: Tally, strict: bool) -> Result<(), String> {
    if !success {
        return Err(match tally.failed {
            0 => "failed".to_owned(),
            failed => format!("{failed} failed"),
        });
    }
    if strict && tally.skipped > 0 {
        return Err(format!("{} skipped, which CI does not allow", tally.skipped));
    }
    if tally.passed == 0 {
        return Err("ran no test".to_owned());
    }
    Ok(())
}

fn announce(name: &str) -> Instant {
    println!("\n==> {name}");
    Instant::now()
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u64, failed: u64, skipped: u64) -> Tally {
        Tally { passed, failed, skipped }
    }

    #[test]
    fn a_skipped_test_fails_in_ci_alone() {
        assert!(judge(true, tally(3, 0, 1), true).is_err());
        assert!(judge(true, tally(3, 0, 1), false).is_ok());
    }

    #[test]
    fn a_run_without_tests_fails() {
        assert!(judge(true, tally(0, 0, 0), false).is_err());
    }

    #[test]
    fn a_failed_runner_fails_whatever_it_counted() {
        assert!(judge(false, tally(3, 0, 0), false).is_err());
    }
}
