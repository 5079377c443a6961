//! The figures: gathered over the rounds, told as a table and as JSON.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    Channel,
    RawInsertOne,
    RawInsert,
    RawDelete,
    DispatchOne,
    DispatchTogether,
    DispatchMany,
    Drain,
    DrainKept,
    StartMedian,
    StartSlow,
    IdleProcessor,
    RescueMedian,
    RescueSlowest,
    WriteAndRead,
}

impl Measure {
    /// The measure in words.
    fn title(self) -> &'static str {
        match self {
            Self::Channel => "send, receive, spawn",
            Self::RawInsertOne => "insert 1 a commit",
            Self::RawInsert => "insert 1,000 a commit",
            Self::RawDelete => "claim and delete 1,000 a commit",
            Self::DispatchOne => "dispatch, one after the other",
            Self::DispatchTogether => "dispatch, 64 callers at once",
            Self::DispatchMany => "dispatch_many",
            Self::Drain => "drain through the engine",
            Self::DrainKept => "drain, every result kept",
            Self::StartMedian => "dispatch to start, idle, p50",
            Self::StartSlow => "dispatch to start, idle, p99",
            Self::IdleProcessor => "idle worker, share of a core",
            Self::RescueMedian => "kill -9 to rerun, lease 3 s, median",
            Self::RescueSlowest => "kill -9 to rerun, lease 3 s, slowest",
            Self::WriteAndRead => "write and read a payload",
        }
    }

    /// What the same work costs without a queue, for a store of this name.
    fn baseline(self, store: &str) -> Option<(String, Self)> {
        let raw = match self {
            Self::DispatchOne => Self::RawInsertOne,
            Self::DispatchTogether | Self::DispatchMany => Self::RawInsert,
            Self::Drain | Self::DrainKept => Self::RawDelete,
            Self::WriteAndRead => Self::WriteAndRead,
            _ => return None,
        };
        match store {
            "payload" => Some(("plain rmp-serde".to_owned(), raw)),
            "plain rmp-serde" => None,
            "memory" => Some(("tokio channel".to_owned(), Self::Channel)),
            sqlite => Some((format!("raw {sqlite}"), raw)),
        }
    }
}

/// How a figure is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Unit {
    JobsPerSecond,
    Seconds,
    Share,
}

/// One measure of one store, once a round.
#[derive(Debug)]
struct Series {
    store: String,
    measure: Measure,
    unit: Unit,
    values: Vec<f64>,
}

/// All figures of a run.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Series>);

/// A figure as JSON tells it.
#[derive(Serialize)]
struct Figure<'a> {
    store: &'a str,
    measure: Measure,
    unit: Unit,
    /// The median of `values`.
    value: f64,
    values: &'a [f64],
    /// What it is compared with, and the share of it that is reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Against>,
}

#[derive(Serialize)]
struct Against {
    store: String,
    measure: Measure,
    ratio: f64,
}

impl Report {
    pub(crate) fn rate(&mut self, store: &str, measure: Measure, jobs_per_second: f64) {
        self.add(store, measure, Unit::JobsPerSecond, jobs_per_second);
    }

    pub(crate) fn duration(&mut self, store: &str, measure: Measure, duration: Duration) {
        self.add(store, measure, Unit::Seconds, duration.as_secs_f64());
    }

    pub(crate) fn share(&mut self, store: &str, measure: Measure, share: f64) {
        self.add(store, measure, Unit::Share, share);
    }

    fn add(&mut self, store: &str, measure: Measure, unit: Unit, value: f64) {
        match self.0.iter_mut().find(|series| series.store == store && series.measure == measure) {
            Some(series) => series.values.push(value),
            None => self.0.push(Series { store: store.to_owned(), measure, unit, values: vec![value] }),
        }
    }

    /// Prints the table and writes the JSON.
    pub(crate) fn publish(&self, json: &Path) -> Result<()> {
        let figures = self.figures();
        println!("{}", table(&figures));
        println!("no-op jobs with a payload of 100 bytes; medians of the rounds; {} cores", cores());
        let text = serde_json::to_string_pretty(&serde_json::json!({ "cores": cores(), "figures": figures }))?;
        let written = json.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(json, text));
        written.with_context(|| format!("{} can't be written", json.display()))?;
        println!("as JSON: {}", json.display());
        Ok(())
    }

    fn figures(&self) -> Vec<Figure<'_>> {
        let figure = |series: &'_ Series| {
            let value = median(&series.values);
            let against = series.measure.baseline(&series.store).and_then(|(store, measure)| {
                let ratio = value / self.value_of(&store, measure)?;
                Some(Against { store, measure, ratio })
            });
            (value, against)
        };
        let figures = self.0.iter().map(|series| {
            let (value, against) = figure(series);
            let Series { store, measure, unit, values } = series;
            Figure { store, measure: *measure, unit: *unit, value, values, against }
        });
        figures.collect()
    }

    fn value_of(&self, store: &str, measure: Measure) -> Option<f64> {
        let series = self.0.iter().find(|series| series.store == store && series.measure == measure)?;
        Some(median(&series.values))
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn table(figures: &[Figure<'_>]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(["store", "what", "figure", "against"]);
    for figure in figures {
        let against = figure.against.as_ref().map_or_else(String::new, |against| {
            format!("{:.2} x {}, {}", against.ratio, against.store, against.measure.title())
        });
        table.add_row([figure.store, figure.measure.title(), &shown(figure.value, figure.unit), &against]);
    }
    if let Some(figures) = table.column_mut(2) {
        figures.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::JobsPerSecond => format!("{} jobs/s", grouped(value)),
        Unit::Seconds if value < 0.001 => format!("{:.0} µs", value * 1e6),
        Unit::Seconds if value < 1.0 => format!("{:.2} ms", value * 1e3),
        Unit::Seconds => format!("{value:.2} s"),
        Unit::Share => format!("{:.2} %", value * 100.0),
    }
}

/// A whole number with a comma before every third digit from the right.
fn grouped(value: f64) -> String {
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

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_median_and_knows_its_share_of_the_baseline() {
        let mut report = Report::default();
        report.rate("tokio channel", Measure::Channel, 400.0);
        for rate in [300.0, 100.0, 200.0] {
            report.rate("memory", Measure::Drain, rate);
        }
        let figures = report.figures();
        assert!((figures[1].value - 200.0).abs() < f64::EPSILON);
        assert!((figures[1].against.as_ref().unwrap().ratio - 0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(grouped(1_234_567.4), "1,234,567");
        assert_eq!(grouped(999.0), "999");
    }
}
