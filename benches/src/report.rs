//! The figures: gathered over the rounds, told as a table and as JSON.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::floors::{Floor, floors};

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    RawOne,
    RawBulk,
    RawBare,
    RawSpawn,
    RawDelete,
    RawReadDelete,
    RawClaimSettle,
    RawConsume,
    DispatchOne,
    DispatchTogether,
    DispatchMany,
    Drain,
    DrainKept,
    ProcessorOwn,
    ProcessorServer,
    Wal,
    StartMedian,
    StartMostly,
    StartSlow,
    LoadedMedian,
    LoadedMostly,
    LoadedSlow,
    Connections,
    IdleProcessor,
    IdleTransactions,
    IdleStatements,
    RescueMedian,
    RescueSlowest,
    WriteAndRead,
    PlainWriteAndRead,
}

impl Measure {
    /// The measure in words.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::RawOne => "raw: one a commit, script call or confirm",
            Self::RawBulk => "raw: 1,000 together",
            Self::RawBare => "raw: 1,000 together, payloads alone",
            Self::RawSpawn => "raw: spawn, under a semaphore",
            Self::RawDelete => "raw: claim and delete 1,000",
            Self::RawReadDelete => "raw: read 1,000, then delete them",
            Self::RawClaimSettle => "raw: claim 1,000, then settle them",
            Self::RawConsume => "raw: consumer with manual acks",
            Self::DispatchOne => "dispatch, one after the other",
            Self::DispatchTogether => "dispatch, 64 callers at once",
            Self::DispatchMany => "dispatch_many",
            Self::Drain => "drain through the engine",
            Self::DrainKept => "drain, every result kept a day",
            Self::ProcessorOwn => "processor time a job, client and worker",
            Self::ProcessorServer => "processor time a job, server",
            Self::Wal => "WAL a job, in and out",
            Self::StartMedian => "dispatch to start, idle, p50",
            Self::StartMostly => "dispatch to start, idle, p95",
            Self::StartSlow => "dispatch to start, idle, p99",
            Self::LoadedMedian => "dispatch to start, half load, p50",
            Self::LoadedMostly => "dispatch to start, half load, p95",
            Self::LoadedSlow => "dispatch to start, half load, p99",
            Self::Connections => "connections of a worker",
            Self::IdleProcessor => "idle worker, share of a core",
            Self::IdleTransactions => "idle worker, transactions a second",
            Self::IdleStatements => "idle worker, statements a second",
            Self::RescueMedian => "kill -9 to rerun, lease 3 s, median",
            Self::RescueSlowest => "kill -9 to rerun, lease 3 s, slowest",
            Self::WriteAndRead => "write and read a payload",
            Self::PlainWriteAndRead => "raw: the same with plain rmp-serde",
        }
    }

    fn unit(self) -> Unit {
        match self {
            Self::ProcessorOwn
            | Self::ProcessorServer
            | Self::StartMedian
            | Self::StartMostly
            | Self::StartSlow
            | Self::LoadedMedian
            | Self::LoadedMostly
            | Self::LoadedSlow
            | Self::RescueMedian
            | Self::RescueSlowest => Unit::Seconds,
            Self::IdleProcessor => Unit::Share,
            Self::IdleTransactions | Self::IdleStatements => Unit::PerSecond,
            Self::Connections => Unit::Count,
            Self::Wal => Unit::Bytes,
            _ => Unit::JobsPerSecond,
        }
    }
}

/// How a figure is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    JobsPerSecond,
    Seconds,
    Share,
    PerSecond,
    Count,
    Bytes,
}

/// One measure of one store, once a round.
#[derive(Debug)]
struct Series {
    store: String,
    measure: Measure,
    values: Vec<f64>,
}

/// All figures of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    series: Vec<Series>,
    /// What runs where a store is, where that can be asked.
    pub(crate) versions: BTreeMap<String, String>,
}

/// A figure as JSON tells it.
#[derive(Serialize)]
pub(crate) struct Figure<'a> {
    pub(crate) store: &'a str,
    pub(crate) measure: Measure,
    pub(crate) unit: Unit,
    /// The median of `values`.
    pub(crate) value: f64,
    pub(crate) values: &'a [f64],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) floors: Vec<Judged>,
}

/// What a figure is held against, and how it stands.
#[derive(Serialize)]
pub(crate) struct Judged {
    #[serde(flatten)]
    pub(crate) floor: Floor,
    /// The share of the other measure that is reached; for a bound in the measure's own unit, the figure.
    pub(crate) reached: f64,
    pub(crate) met: Option<bool>,
}

impl Judged {
    /// In words: the store, what was measured, what is reached, the floor and the verdict.
    pub(crate) fn row(&self, figure: &Figure<'_>) -> [String; 5] {
        let (reached, floor) = match &self.floor {
            Floor::Of { measure, share } => {
                let floor = share.map_or_else(String::new, |share| format!("{share:.2}"));
                (format!("{:.2} x {}", self.reached, measure.title()), floor)
            }
            Floor::AtMost { most } => (shown(self.reached, figure.unit), shown(*most, figure.unit)),
        };
        let verdict = match (self.met, self.floor.missed_by(self.reached)) {
            (None, _) => String::new(),
            (Some(true), _) => "met".to_owned(),
            (Some(false), missed) => format!("missed by {:.0} %", missed * 100.0),
        };
        [figure.store.to_owned(), figure.measure.title().to_owned(), reached, floor, verdict]
    }
}

impl Report {
    pub(crate) fn rate(&mut self, store: &str, measure: Measure, jobs_per_second: f64) {
        self.add(store, measure, jobs_per_second);
    }

    pub(crate) fn duration(&mut self, store: &str, measure: Measure, duration: Duration) {
        self.add(store, measure, duration.as_secs_f64());
    }

    /// A figure in its measure's unit.
    pub(crate) fn add(&mut self, store: &str, measure: Measure, value: f64) {
        match self.series.iter_mut().find(|series| series.store == store && series.measure == measure) {
            Some(series) => series.values.push(value),
            None => self.series.push(Series { store: store.to_owned(), measure, values: vec![value] }),
        }
    }

    /// Prints the tables and writes the JSON.
    pub(crate) fn publish(&self, json: &Path) -> Result<()> {
        let figures = self.figures();
        println!("{}", table(&figures));
        println!("{}", floors_table(&figures));
        println!("no-op jobs with a payload of 100 bytes; medians of the rounds; {} cores", cores());
        let text = serde_json::to_string_pretty(
            &serde_json::json!({ "cores": cores(), "versions": self.versions, "figures": figures }),
        )?;
        let written = json.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(json, text));
        written.with_context(|| format!("{} can't be written", json.display()))?;
        println!("as JSON: {}", json.display());
        Ok(())
    }

    pub(crate) fn figures(&self) -> Vec<Figure<'_>> {
        let figure = |series: &'_ Series| {
            let value = median(&series.values);
            let floors = floors(&series.store, series.measure).filter_map(|floor| self.judge(series, value, floor));
            (value, floors.collect())
        };
        let figures = self.series.iter().map(|series| {
            let (value, floors) = figure(series);
            let Series { store, measure, values } = series;
            Figure { store, measure: *measure, unit: measure.unit(), value, values, floors }
        });
        figures.collect()
    }

    fn judge(&self, series: &Series, value: f64, floor: Floor) -> Option<Judged> {
        let (reached, met) = match floor {
            Floor::Of { measure, share } => {
                let reached = value / self.value_of(&series.store, measure)?;
                (reached, share.map(|share| reached >= share))
            }
            Floor::AtMost { most } => (value, Some(value <= most)),
        };
        Some(Judged { floor, reached, met })
    }

    pub(crate) fn value_of(&self, store: &str, measure: Measure) -> Option<f64> {
        let series = self.series.iter().find(|series| series.store == store && series.measure == measure)?;
        Some(median(&series.values))
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn table(figures: &[Figure<'_>]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(["store", "what", "figure"]);
    for figure in figures {
        table.add_row([figure.store, figure.measure.title(), &shown(figure.value, figure.unit)]);
    }
    if let Some(figures) = table.column_mut(2) {
        figures.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Each figure that is held against another one or a bound.
fn floors_table(figures: &[Figure<'_>]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(["store", "what", "reached", "floor", ""]);
    for (figure, judged) in figures.iter().flat_map(|figure| figure.floors.iter().map(move |floor| (figure, floor))) {
        table.add_row(judged.row(figure));
    }
    table
}

pub(crate) fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::JobsPerSecond => format!("{} jobs/s", grouped(value)),
        Unit::Seconds if value < 0.001 => format!("{:.0} µs", value * 1e6),
        Unit::Seconds if value < 1.0 => format!("{:.2} ms", value * 1e3),
        Unit::Seconds => format!("{value:.2} s"),
        Unit::Share => format!("{:.2} %", value * 100.0),
        Unit::PerSecond => format!("{value:.1} /s"),
        Unit::Count => format!("{value:.0}"),
        Unit::Bytes => format!("{} bytes", grouped(value)),
    }
}

/// A whole number with a comma before every third digit from the right.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_median_and_is_held_against_its_floor() {
        let mut report = Report::default();
        report.rate("memory", Measure::RawSpawn, 400.0);
        for rate in [300.0, 100.0, 200.0] {
            report.rate("memory", Measure::Drain, rate);
        }
        let figures = report.figures();
        assert!((figures[1].value - 200.0).abs() < f64::EPSILON);
        let judged = &figures[1].floors[0];
        assert!((judged.reached - 0.5).abs() < f64::EPSILON);
        assert_eq!(judged.met, Some(false));
        assert!(floors_table(&figures).to_string().contains("missed by 17 %"));
    }

    #[test]
    fn a_latency_has_a_ceiling() {
        let mut report = Report::default();
        report.duration("redis", Measure::StartMedian, Duration::from_micros(900));
        assert_eq!(report.figures()[0].floors[0].met, Some(true));
    }

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(grouped(1_234_567.4), "1,234,567");
        assert_eq!(grouped(999.0), "999");
    }
}
