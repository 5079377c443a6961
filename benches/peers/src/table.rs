//! What was measured, as a table and as JSON.

use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::presets::UTF8_BORDERS_ONLY;
use serde_json::json;

use crate::rivals;
use crate::work::Rates;

/// What ours is to reach of others: where, how it is tuned, beside whom, in which way, and how many times as fast.
type Floor = (&'static str, &'static str, &'static str, Way, f64);

const FLOORS: &[Floor] = &[
    ("memory", "taskwright", "apalis", Way::Drain, 0.5),
    ("sqlite", "taskwright", "apalis-sqlite", Way::Drain, 3.0),
    ("sqlite", "taskwright", "effectum", Way::Drain, 3.0),
    ("postgres", "taskwright, tuned", "graphile_worker, tuned", Way::Drain, 2.0),
    ("postgres", "taskwright", "graphile_worker, tuned", Way::Drain, 1.2),
    ("postgres", "taskwright", "pgmq, read and delete", Way::Drain, 1.2),
    ("postgres", "taskwright", "pgmq, read and delete, 4 consumers", Way::Drain, 1.2),
    ("mysql", "taskwright", "apalis-mysql", Way::Drain, 3.0),
    ("redis", "taskwright", "bullmq", Way::Drain, 2.0),
    ("redis", "taskwright", "bullmq", Way::Bulk, 1.5),
    ("redis", "taskwright", "rusty-sidekiq", Way::Drain, 2.0),
    ("redis", "taskwright", "oxana", Way::Drain, 2.0),
    ("redis", "taskwright", "apalis-redis", Way::Drain, 2.0),
    ("redis", "taskwright", "apalis-redis, no locks", Way::Drain, 1.2),
    ("redis", "taskwright", "rusty-sidekiq", Way::Bulk, 1.5),
    ("redis", "taskwright", "oxana", Way::Bulk, 1.5),
    ("redis", "taskwright", "apalis-redis", Way::Bulk, 1.5),
    ("redis", "taskwright", "apalis-redis, no locks", Way::Bulk, 1.5),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Bulk,
    One,
    Drain,
}

impl Way {
    const ALL: [Self; 3] = [Self::Bulk, Self::One, Self::Drain];

    fn title(self) -> &'static str {
        match self {
            Self::Bulk => "enqueue in bulk",
            Self::One => "enqueue one, awaited",
            Self::Drain => "drain",
        }
    }

    fn of(self, rates: &Rates) -> f64 {
        match self {
            Self::Bulk => rates.bulk,
            Self::One => rates.one,
            Self::Drain => rates.drain,
        }
    }
}

/// The rates of each queue on each store, once a round.
pub(crate) struct Table {
    /// The others that are measured; empty for all.
    only: Vec<String>,
    rates: Vec<(String, String, Vec<Rates>)>,
}

impl Table {
    pub(crate) fn only(only: Vec<String>) -> Self {
        Self { only, rates: Vec::new() }
    }

    pub(crate) fn add(&mut self, store: &str, queue: &str, rates: Rates) {
        match self.rates.iter_mut().find(|(at, who, _)| at == store && who == queue) {
            Some((_, _, rounds)) => rounds.push(rates),
            None => self.rates.push((store.to_owned(), queue.to_owned(), vec![rates])),
        }
    }

    /// Measures another queue, which may fail, unless others are asked for.
    pub(crate) async fn compare(&mut self, store: &str, queue: &str, measured: impl Future<Output = Result<Rates>>) {
        if !self.asks_for(queue) {
            return;
        }
        match measured.await {
            Ok(rates) => self.add(store, queue, rates),
            Err(error) => eprintln!("{store}, {queue}: not measured: {error:#}"),
        }
    }

    /// Prints the tables and writes the JSON.
    pub(crate) fn publish(&self, json: &Path) -> Result<()> {
        let mut figures = Vec::new();
        let mut table = comfy_table::Table::new();
        let ways = Way::ALL.map(Way::title);
        table.load_style(UTF8_BORDERS_ONLY).set_header(["store", "queue", "version", ways[0], ways[1], ways[2]]);
        for (store, queue, rounds) in &self.rates {
            let rates = Way::ALL.map(|way| median(rounds, way));
            let [bulk, one, drain] = rates.map(|rate| format!("{rate:.0} /s"));
            let version = rivals::about(queue).map_or("", |(version, _)| version);
            table.add_row([store, queue, version, &bulk, &one, &drain]);
            let (version, kept) = rivals::about(queue).unzip();
            let [bulk, one, drain] = rates;
            figures.push(json!({
                "store": store, "queue": queue, "version": version, "kept": kept,
                "bulk": bulk, "one": one, "drain": drain,
            }));
        }
        println!("{table}");
        println!("{}", self.ratios());
        for (store, own, other, way, floor) in FLOORS.iter().filter(|floor| self.wants(floor)) {
            println!("not judged: {store}, {own}, {} of {floor:.1} x {other}", way.title());
        }
        println!("no-op jobs with a payload of 100 bytes; medians of the rounds");
        let written = json.parent().map_or(Ok(()), std::fs::create_dir_all);
        let written = written.and_then(|()| std::fs::write(json, serde_json::to_string_pretty(&figures)?));
        written.with_context(|| format!("{} can't be written", json.display()))?;
        println!("as JSON: {}", json.display());
        Ok(())
    }

    /// Whether a floor is of a store and a queue that were to be measured, and can't be judged.
    fn wants(&self, (store, own, other, ..): &Floor) -> bool {
        let measured = |who: &str| self.rates.iter().any(|(at, queue, _)| at.starts_with(store) && queue == who);
        measured(own) && !measured(other) && self.asks_for(other)
    }

    fn asks_for(&self, queue: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == rivals::name(queue))
    }

    /// Ours beside each other one.
    fn ratios(&self) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table.load_style(UTF8_BORDERS_ONLY).set_header(["store", "ours", "what", "beside", "ratio", "floor", ""]);
        let ours = |who: &str| who.starts_with("taskwright");
        for (store, own, rounds) in self.rates.iter().filter(|(_, who, _)| ours(who)) {
            for (_, other, theirs) in self.rates.iter().filter(|(at, who, _)| at == store && !ours(who)) {
                for way in Way::ALL {
                    let ratio = median(rounds, way) / median(theirs, way);
                    let floor = FLOORS.iter().find(|(at, who, beside, of, _)| {
                        store.starts_with(at) && who == own && beside == other && *of == way
                    });
                    let (floor, verdict) = match floor {
                        None => (String::new(), ""),
                        Some((.., floor)) => (format!("{floor:.1}"), if ratio >= *floor { "met" } else { "missed" }),
                    };
                    table.add_row([store, own, way.title(), other, &format!("{ratio:.2}"), &floor, verdict]);
                }
            }
        }
        table
    }
}

fn median(rounds: &[Rates], way: Way) -> f64 {
    let mut rates: Vec<_> = rounds.iter().map(|rates| way.of(rates)).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}
