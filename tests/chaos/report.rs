//! What a run of chaos came to, for programs and for people.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::schedule::Disruption;

/// Throughput must be back so soon after the last disruption.
pub const RECOVERY: Duration = Duration::from_secs(10);

/// What a run of chaos came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where the jobs were.
    pub backend: String,
    /// What decided the disruptions.
    pub seed: u64,
    /// How long things went wrong, in seconds.
    pub seconds: u64,
    /// What went wrong, and how many seconds after the first moment.
    pub disruptions: Vec<(f64, Disruption)>,
    /// Jobs whose dispatch was acknowledged.
    pub dispatched: usize,
    /// Of these, the ones that the store does not have any more, or that did not complete.
    pub lost: Vec<String>,
    /// Jobs that were completed by a write of an attempt other than their last.
    pub stale: Vec<String>,
    /// Jobs with more attempts than their crashes explain.
    pub unexplained: Vec<String>,
    /// Attempts that held more slots of a limit at once than it has.
    pub exceeded: Vec<String>,
    /// The most slots of the limit that were seen held at once.
    pub most_at_once: usize,
    /// Jobs that nobody acknowledged, and that are there.
    pub unasked: usize,
    /// Jobs a second before the first disruption.
    pub steady: f64,
    /// Seconds from the end of the last disruption until as many jobs a second completed again; none if never.
    pub recovered: Option<f64>,
    /// How many attempts ended in a crash.
    pub crashes: u64,
}

impl Report {
    /// What is not as it must be.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let jobs = [
            (&self.lost, "lost"),
            (&self.stale, "stale writes"),
            (&self.unexplained, "unexplained attempts"),
            (&self.exceeded, "limits exceeded"),
        ];
        let mut failures: Vec<_> = jobs
            .into_iter()
            .filter(|(jobs, _)| !jobs.is_empty())
            .map(|(jobs, what)| format!("{what}: {}, the first {}", jobs.len(), jobs[0]))
            .collect();
        if self.recovered.is_none_or(|seconds| seconds > RECOVERY.as_secs_f64()) {
            failures.push(format!("throughput was back after {:?} s, and must be within {RECOVERY:?}", self.recovered));
        }
        failures
    }

    /// The report as a page.
    #[must_use]
    pub fn page(&self) -> String {
        let mut counts = BTreeMap::<_, usize>::new();
        for (_, disruption) in &self.disruptions {
            *counts.entry(disruption.name()).or_default() += 1;
        }
        let mut page = format!("# Chaos on {}\n\nSeed {}, {} seconds.\n\n", self.backend, self.seed, self.seconds);
        // Writing to a string can't fail.
        let _ = writeln!(page, "| disruption | times |\n| --- | --- |");
        for (name, count) in counts {
            let _ = writeln!(page, "| {name} | {count} |");
        }
        let recovered = self.recovered.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.1} s"));
        let rows = [
            ("dispatched and acknowledged", self.dispatched.to_string()),
            ("lost", self.lost.len().to_string()),
            ("stale writes", self.stale.len().to_string()),
            ("attempts that no crash explains", self.unexplained.len().to_string()),
            ("limits exceeded", self.exceeded.len().to_string()),
            ("most slots of a limit of 4 held at once", self.most_at_once.to_string()),
            ("there without acknowledgement", self.unasked.to_string()),
            ("attempts that ended in a crash", self.crashes.to_string()),
            ("jobs a second before", format!("{:.0}", self.steady)),
            ("as many again after the last disruption", recovered),
        ];
        let _ = writeln!(page, "\n| outcome | |\n| --- | --- |");
        for (what, value) in rows {
            let _ = writeln!(page, "| {what} | {value} |");
        }
        let failures = self.failures();
        let verdict = if failures.is_empty() { "Everything held.".to_owned() } else { failures.join("\n\n") };
        let _ = writeln!(page, "\n{verdict}");
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Report {
        Report {
            backend: "sqlite".to_owned(),
            seed: 7,
            seconds: 60,
            disruptions: vec![(1.0, Disruption::KillWorker), (2.0, Disruption::KillWorker)],
            dispatched: 100,
            lost: Vec::new(),
            stale: Vec::new(),
            unexplained: Vec::new(),
            exceeded: Vec::new(),
            most_at_once: 4,
            unasked: 0,
            steady: 50.0,
            recovered: Some(1.5),
            crashes: 3,
        }
    }

    #[test]
    fn a_good_run_has_no_failures() {
        assert!(good().failures().is_empty());
        let page = good().page();
        assert!(page.contains("| kill a worker | 2 |") && page.contains("Everything held."), "{page}");
    }

    #[test]
    fn whatever_is_lost_stale_or_late_fails() {
        let one = || vec!["a job".to_owned()];
        let bad = [
            Report { lost: one(), ..good() },
            Report { stale: one(), ..good() },
            Report { unexplained: one(), ..good() },
            Report { exceeded: one(), ..good() },
            Report { recovered: None, ..good() },
            Report { recovered: Some(10.1), ..good() },
        ];
        for report in bad {
            assert_eq!(report.failures().len(), 1, "{report:?}");
            assert!(!report.page().contains("Everything held."));
        }
    }
}
