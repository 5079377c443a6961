//! What limits cost that are not in the way of anything: nobody should pay for them but those who have them.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use taskwright::backend::LimitSource;
use taskwright::context::States;
use taskwright::job::Allowance;
use taskwright::registry::Registry;
use taskwright::worker::WorkerOptions;
use taskwright::{Client, Dispatch, Shutdown};

use crate::Scale;
use crate::engine::{many, per_second};
use crate::report::median;
use crate::sites::{Store, worker};
use crate::tasks::{Capped, Noop};

/// How much of its speed a limited queue may lose.
const COST: f64 = 0.2;

/// Where the figures go as JSON unless another place is named.
pub(crate) const JSON: &str = "target/limited.json";

/// What stands in the way of nothing.
const MOST: u32 = 100_000;

/// How a round is limited.
#[derive(Clone, Copy, PartialEq)]
enum Limited {
    Not,
    /// Not, beside jobs of another queue that are.
    Beside,
    Queue,
    OneKey,
    ManyKeys,
}

impl Limited {
    const ALL: [Self; 5] = [Self::Not, Self::Beside, Self::Queue, Self::OneKey, Self::ManyKeys];

    fn title(self) -> &'static str {
        match self {
            Self::Not => "no limit",
            Self::Beside => "no limit, beside limited jobs of another queue",
            Self::Queue => "the queue's own limit",
            Self::OneKey => "one key",
            Self::ManyKeys => "100 keys",
        }
    }
}

/// How fast a store is with limits of one kind.
#[derive(Serialize)]
struct Figure {
    store: String,
    limited: &'static str,
    /// The median of `rates`, in jobs a second.
    rate: f64,
    rates: Vec<f64>,
    /// The part that `rate` is of the one without limits.
    share: f64,
}

/// Prints jobs a second through each and writes them as JSON; then fails where limits cost more than a fifth.
pub(crate) async fn measure(scale: &Scale, stores: &[Store], json: &Path) -> Result<()> {
    let mut figures = Vec::new();
    for store in stores {
        figures.extend(compare(scale, store).await?);
        // After each store, so that what was measured is there if the next one fails.
        save(&figures, json)?;
    }
    println!("as JSON: {}", json.display());
    let dear = figures.iter().filter(|figure| figure.share < 1.0 - COST);
    let dear: Vec<_> = dear.map(|figure| format!("{} with {}", figure.store, figure.limited)).collect();
    ensure!(dear.is_empty(), "limits cost more than a fifth: {}", dear.join("; "));
    Ok(())
}

/// The figures of one store.
async fn compare(scale: &Scale, store: &Store) -> Result<Vec<Figure>> {
    let mut rates = Limited::ALL.map(|_| Vec::new());
    for _ in 0..scale.rounds {
        for (limited, rates) in Limited::ALL.into_iter().zip(&mut rates) {
            rates.push(drain(store, limited, store.kind.jobs(scale.jobs)).await?);
        }
    }
    let without = median(&rates[0]);
    let figures = Limited::ALL.into_iter().zip(rates).map(|(limited, rates)| {
        let (name, rate) = (store.name(), median(&rates));
        let share = rate / without;
        println!("{name:>13}: {rate:>9.0} jobs/s, {share:.2} of those without: {}", limited.title());
        Figure { store: name.to_owned(), limited: limited.title(), rate, rates, share }
    });
    Ok(figures.collect())
}

fn save(figures: &[Figure], json: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(figures)?;
    let written = json.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(json, text));
    written.with_context(|| format!("{} can't be written", json.display()))
}

async fn drain(store: &Store, limited: Limited, jobs: usize) -> Result<f64> {
    let site = store.site()?;
    let client = site.client().await?;
    match limited {
        Limited::Not => drop(many(&client, jobs, Dispatch::new).await?),
        Limited::Beside => {
            capped(&client, 1_000, 100, |job| job.queue("other")).await?;
            many(&client, jobs, Dispatch::new).await?;
        }
        Limited::Queue => {
            let facet = client.backend().limiter().context("it has no limits")?;
            facet.set_limit("queue:default", LimitSource::RunTime, Allowance::at_once(MOST)).await?;
            many(&client, jobs, Dispatch::new).await?;
        }
        Limited::OneKey => capped(&client, jobs, 1, |job| job).await?,
        Limited::ManyKeys => capped(&client, jobs, 100, |job| job).await?,
    }
    let options = WorkerOptions { drain: true, ..WorkerOptions::default() };
    let tasks = Registry::new().with::<Noop>()?.with::<Capped>()?;
    let worker = worker(&client, tasks, States::default(), options)?;
    let began = Instant::now();
    let summary = worker.run(Shutdown::new()).await?;
    ensure!(usize::try_from(summary.completed)? == jobs, "not all completed: {summary:?}");
    let rate = per_second(jobs, began);
    client.close().await?;
    Ok(rate)
}

/// Dispatches jobs under so many keys in turn.
async fn capped(
    client: &Client,
    jobs: usize,
    keys: usize,
    options: impl Fn(Dispatch<Capped>) -> Dispatch<Capped>,
) -> Result<()> {
    client.dispatch_many((0..jobs).map(|number| options(Dispatch::new(Capped::sample(number % keys))))).await?;
    Ok(())
}
