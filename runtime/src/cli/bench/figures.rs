//! What was measured, for people and for scripts.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::super::table::{Columns, count};

/// Everything that was measured; rates are jobs a second.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) jobs: usize,
    pub(super) samples: usize,
    #[serde(rename = "dispatch_one")]
    pub(super) one: f64,
    #[serde(rename = "dispatch_concurrent")]
    pub(super) together: f64,
    #[serde(rename = "dispatch_bulk")]
    pub(super) bulk: f64,
    pub(super) drain: f64,
    /// From dispatch to start, on an idle worker.
    pub(super) start: Spread,
    pub(super) steady: Option<Steady>,
}

/// What came of a steady rate.
#[derive(Debug, Serialize)]
pub(super) struct Steady {
    pub(super) asked: usize,
    pub(super) reached: f64,
    pub(super) start: Spread,
}

/// How durations are spread, in milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Spread {
    #[serde(rename = "p50_ms", serialize_with = "milliseconds")]
    median: Duration,
    #[serde(rename = "p95_ms", serialize_with = "milliseconds")]
    mostly: Duration,
    #[serde(rename = "p99_ms", serialize_with = "milliseconds")]
    slow: Duration,
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64() * 1e3)
}

impl Spread {
    /// That of some durations; of none, nothing but zeros.
    pub(super) fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        let at = |percent| durations.get(durations.len() * percent / 100).copied().unwrap_or_default();
        Self { median: at(50), mostly: at(95), slow: at(99) }
    }

    fn text(&self) -> String {
        let Self { median, mostly, slow } = self;
        format!("p50 {}, p95 {}, p99 {}", shown(*median), shown(*mostly), shown(*slow))
    }
}

impl Figures {
    pub(super) fn table(&self) -> String {
        let mut columns = Columns::new(["what", "figure"]);
        let mut row = |what: &str, figure| columns.row([what.to_owned(), figure]);
        row("dispatch, one after the other", rate(self.one));
        row("dispatch, 64 callers at once", rate(self.together));
        row("dispatch in bulk", rate(self.bulk));
        row("drain", rate(self.drain));
        row("dispatch to start, idle worker", self.start.text());
        if let Some(Steady { asked, reached, start }) = &self.steady {
            row("steady run", format!("{} of {asked}", rate(*reached)));
            row("dispatch to start, steady run", start.text());
        }
        columns.text()
    }
}

fn rate(jobs_per_second: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is a small positive number")]
    let whole = jobs_per_second.round() as usize;
    format!("{}/s", count(whole, "job"))
}

fn shown(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_told_by_its_percentiles() {
        let spread = Spread::of((0..100).rev().map(Duration::from_millis).collect());
        assert_eq!(spread.text(), "p50 50.00 ms, p95 95.00 ms, p99 99.00 ms");
        assert_eq!(Spread::of(Vec::new()).text(), "p50 0.00 ms, p95 0.00 ms, p99 0.00 ms");
    }
}
