//! The rates as things grow, each beside that of the smallest.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use serde::{Deserialize, Serialize};

use crate::report::{cores, grouped, median};

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Axis {
    /// Jobs that are due, behind those that are drained.
    Waiting,
    /// Jobs that are due in an hour.
    Scheduled,
    /// Processes that drain one backlog.
    Workers,
    /// Queues that the jobs are spread over.
    Queues,
    /// Milliseconds that everything arrives later, each way.
    Late,
}

impl Axis {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Waiting => "jobs waiting behind",
            Self::Scheduled => "jobs scheduled behind",
            Self::Workers => "worker processes",
            Self::Queues => "queues",
            Self::Late => "ms of network each way",
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    One,
    Bulk,
    Drain,
}

impl Way {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::One => "dispatch, one after the other",
            Self::Bulk => "dispatch_many",
            Self::Drain => "drain through the engine",
        }
    }
}

/// Which share of the smallest's rate is to be kept when there are so many.
fn goal(axis: Axis, at: usize, way: Way) -> Option<f64> {
    match (axis, way) {
        (Axis::Waiting | Axis::Scheduled, Way::Drain) if at >= 10_000_000 => Some(0.8),
        (Axis::Waiting | Axis::Scheduled, Way::Drain) if at >= 1_000_000 => Some(0.9),
        (Axis::Workers, Way::Drain) if at >= 8 => Some(1.0),
        _ => None,
    }
}

/// One rate, once a round.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) store: String,
    pub(crate) axis: Axis,
    /// How many of them there are.
    pub(crate) at: usize,
    pub(crate) way: Way,
    /// Jobs a second.
    pub(crate) values: Vec<f64>,
    /// The median of the values.
    #[serde(default)]
    pub(crate) value: f64,
    /// Its share of the rate of the smallest.
    #[serde(default)]
    pub(crate) ratio: f64,
    #[serde(default)]
    pub(crate) goal: Option<f64>,
    /// Whether it is what the others are compared with.
    #[serde(default)]
    pub(crate) is_first: bool,
}

impl Figure {
    fn is_of(&self, store: &str, axis: Axis, way: Way) -> bool {
        (self.axis, self.way) == (axis, way) && self.store == store
    }

    pub(crate) fn verdict(&self) -> &'static str {
        match self.goal {
            None => "",
            Some(goal) if self.ratio >= goal => "met",
            Some(_) => "missed",
        }
    }

    /// In words: the store, what is done, at what, the rate, its ratio, the goal and the verdict.
    pub(crate) fn row(&self) -> [String; 7] {
        [
            self.store.clone(),
            self.way.title().to_owned(),
            format!("{} {}", grouped(crate::engine::count(self.at)), self.axis.title()),
            format!("{} jobs/s", grouped(self.value)),
            format!("{:.2}", self.ratio),
            self.goal.map_or_else(String::new, |goal| format!("{goal:.2}")),
            self.verdict().to_owned(),
        ]
    }
}

/// All of a run, in the order in which they were measured first.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Figure>);

impl Figures {
    /// A rate; the first one of a store, an axis and a way is what the others are compared with.
    pub(crate) fn add(&mut self, store: &str, axis: Axis, at: usize, way: Way, rate: f64) {
        eprintln!("{store}: {} at {} {}: {} jobs/s", way.title(), at, axis.title(), grouped(rate));
        if let Some(figure) = self.0.iter_mut().find(|figure| figure.is_of(store, axis, way) && figure.at == at) {
            figure.values.push(rate);
        } else {
            let is_first = !self.0.iter().any(|other| other.is_of(store, axis, way));
            let (store, values, goal) = (store.to_owned(), vec![rate], goal(axis, at, way));
            self.0.push(Figure { store, axis, at, way, values, value: 0.0, ratio: 0.0, goal, is_first });
        }
        self.compare();
    }

    fn compare(&mut self) {
        for figure in &mut self.0 {
            figure.value = median(&figure.values);
        }
        for index in 0..self.0.len() {
            let figure = &self.0[index];
            let first = self.0.iter().find(|other| other.is_of(&figure.store, figure.axis, figure.way));
            let first = first.map_or(figure.value, |first| first.value);
            self.0[index].ratio = self.0[index].value / first;
        }
    }

    /// Writes the JSON of what there is so far.
    pub(crate) fn save(&self, json: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.0)?;
        let written = json.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(json, text));
        written.with_context(|| format!("{} can't be written", json.display()))
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        println!("{}", self.table());
        println!("no-op jobs with a payload of 100 bytes; medians of the rounds; {} cores", cores());
    }

    /// The goals that are not reached.
    pub(crate) fn missed(&self) -> Vec<String> {
        let missed = self.0.iter().filter(|figure| figure.verdict() == "missed");
        missed.map(|figure| figure.row().join(", ")).collect()
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY).set_header(["store", "what", "at", "figure", "ratio", "goal", ""]);
        table.add_rows(self.0.iter().map(Figure::row));
        for column in [3, 4, 5] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(at_a_million: f64) -> Figures {
        let mut figures = Figures::default();
        for rate in [90.0, 100.0, 300.0] {
            figures.add("postgres", Axis::Waiting, 10_000, Way::Drain, rate);
            figures.add("postgres", Axis::Waiting, 10_000, Way::Bulk, 7.0);
        }
        figures.add("postgres", Axis::Waiting, 1_000_000, Way::Drain, at_a_million);
        figures
    }

    #[test]
    fn a_median_is_compared_with_that_of_the_smallest() {
        let figures = figures(95.0);
        let row = figures.0.last().unwrap().row();
        assert_eq!(row[2..], ["1,000,000 jobs waiting behind", "95 jobs/s", "0.95", "0.90", "met"].map(str::to_owned));
        assert!(figures.missed().is_empty());
    }

    #[test]
    fn a_goal_that_is_missed_is_named() {
        let missed = figures(89.0).missed();
        assert_eq!(missed.len(), 1);
        assert!(missed[0].starts_with("postgres, drain through the engine, 1,000,000 jobs"), "{missed:?}");
    }
}
