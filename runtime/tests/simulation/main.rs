//! Deterministic simulation: real workers and clients, on paused time, over a store that fails in every way.
//!
//! A seed decides all of it: how many workers there are and how they work, what is dispatched, which calls fail, hang,
//! are repeated or come late, when a worker crashes, stalls past its lease or stops, when the clock jumps, and what the
//! operator calls off.
//! Then the faults end, everything must come to its end, and what the store has must be what happened.
//!
//! `cargo xtask simulate` runs many seeds in release; with `--seed 7`, or here with `TASKWRIGHT_SIM_SEED=7`, it runs that
//! one and prints what happens.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on panics, in its helpers too")]

#[cfg(feature = "sqlite")]
mod aside;
mod dice;
mod keys;
mod ledger;
mod limits;
mod observed;
mod tasks;
mod twins;
mod world;

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use taskwright::backend::Backend;
use taskwright::backend::memory::Memory;
use taskwright::context::States;
use taskwright::time::Clock;
use taskwright::worker::WorkerOptions;
use taskwright::{Client, Shutdown, Worker};
use tokio::task::JoinSet;

use crate::observed::Observed;
use crate::twins::{Flaw, Twin};
use crate::world::{Open, Run, run};

/// How many seeds a test run tries.
const SEEDS: u64 = 300;

/// As many take as long on SQLite.
#[cfg(feature = "sqlite")]
const SQLITE_SEEDS: u64 = 20;

fn memory(clock: &Clock) -> Arc<dyn Backend> {
    Arc::new(Memory::with_clock(clock.clone()))
}

/// In memory, since what a seed does would otherwise depend on the disk.
#[cfg(feature = "sqlite")]
fn sqlite(clock: &Clock) -> Arc<dyn Backend> {
    use taskwright::backend::sql::sqlite::Sqlite;
    let clock = clock.clone();
    let opened = aside::Aside::open(async move { Sqlite::connect_with("sqlite::memory:", clock).await });
    Arc::new(opened.expect("a database in memory can be opened"))
}

/// The store that the variable names, and how many seeds of it a test run tries.
fn chosen_store() -> (&'static Open, u64) {
    match std::env::var("TASKWRIGHT_SIM_BACKEND").as_deref() {
        #[cfg(feature = "sqlite")]
        Ok("sqlite") => (&sqlite, SQLITE_SEEDS),
        Ok("memory") | Err(_) => (&memory, SEEDS),
        Ok(other) => {
            panic!("TASKWRIGHT_SIM_BACKEND is `{other}`; choose memory, or sqlite in a build with that feature")
        }
    }
}

#[test]
fn every_seed_keeps_every_promise() {
    quiet_panics();
    let (open, usual) = chosen_store();
    if let Some(seed) = number("TASKWRIGHT_SIM_SEED") {
        let run = run(seed, open);
        println!("{}", run.log);
        assert!(run.broken.is_none(), "{}", report(seed, &run));
        return;
    }
    let first = number("TASKWRIGHT_SIM_FIRST").unwrap_or(1);
    let count = number("TASKWRIGHT_SIM_SEEDS").unwrap_or(usual);
    let broken = try_all(first..first + count, open);
    assert!(broken.is_empty(), "{} of {count} seeds fail\n{}", broken.len(), broken[0]);
}

#[cfg(feature = "sqlite")]
#[test]
fn every_seed_keeps_every_promise_on_sqlite() {
    quiet_panics();
    let broken = try_all(1..1 + SQLITE_SEEDS, &sqlite);
    assert!(broken.is_empty(), "{} of {SQLITE_SEEDS} seeds fail\n{}", broken.len(), broken[0]);
}

#[test]
fn the_same_seed_is_the_same_run() {
    quiet_panics();
    (1..20).for_each(|seed| is_the_same(seed, &memory));
    assert_ne!(run(1, &memory).log, run(2, &memory).log);
}

#[cfg(feature = "sqlite")]
#[test]
fn the_same_seed_is_the_same_run_on_sqlite() {
    quiet_panics();
    (1..4).for_each(|seed| is_the_same(seed, &sqlite));
}

fn is_the_same(seed: u64, open: &Open) {
    let (first, second) = (run(seed, open), run(seed, open));
    let differs = first.log.lines().zip(second.log.lines()).find(|(first, second)| first != second);
    assert_eq!(differs, None, "seed {seed}");
    assert_eq!(first.log.len(), second.log.len(), "seed {seed}");
}

#[test]
fn the_runs_are_worth_it() {
    quiet_panics();
    let runs: Vec<Run> = (1..40).map(|seed| run(seed, &memory)).collect();
    let seen = |what: &str| runs.iter().filter(|run| run.log.contains(what)).count();
    for what in [
        "crash ",
        "stall ",
        "stop ",
        "lapsed [j",
        "expired [j",
        "LeaseLost",
        "repeated",
        "conflict with",
        "Requested",
        "-> Ended",
        "failed (the task panicked",
        "failed (the attempt took longer",
        "returned (Snoozed)",
        "returned (Stopping)",
        "returned (UnknownTask)",
        "given up (",
        "called off (the operator",
        "pause ",
        "in place of j",
        "limit  gate-",
        "limit  queue:",
    ] {
        assert!(seen(what) >= 2, "`{what}` is seen in {} of {} runs", seen(what), runs.len());
    }
    assert!(runs.iter().map(|run| run.faults).sum::<usize>() > 1_000);
    assert!(runs.iter().map(|run| run.jobs).sum::<usize>() > 500);
}

#[tokio::test(start_paused = true)]
async fn a_task_goes_to_the_worker_that_knows_it() {
    for place in 0..4 {
        let clock = Clock::stopped();
        let store = Arc::new(Observed::new(memory(&clock), &clock));
        let client = Client::new(Arc::clone(&store) as Arc<dyn Backend>);
        let hire = |knows_it| {
            let mut states = States::default();
            let (store, worker) = (Arc::clone(&store), Arc::default());
            states.insert(tasks::Desk { store, worker, lease: Duration::from_secs(30) });
            let registry = tasks::registry(knows_it).unwrap();
            // Who looks more often sets its alarm for the due time later, and is woken after the others.
            let poll = Duration::from_millis(if knows_it { 250 } else { 5_000 });
            let options = WorkerOptions { poll, ..WorkerOptions::default() };
            Worker::new(client.clone(), registry, Arc::new(states), options).unwrap()
        };
        let mut workers = JoinSet::new();
        for worker in 0..4 {
            workers.spawn(hire(worker == place).run(Shutdown::new()));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let handle = client.dispatch(tasks::Rare::new()).await.unwrap();
        // Each of the others may take it once, which costs a quarter of a minute.
        handle.result(Duration::from_mins(2)).await.unwrap();
    }
}

#[test]
fn a_store_that_settles_without_a_fence_is_found() {
    is_found(Flaw::SettlesWithoutAFence, "P3");
}

#[test]
fn a_store_that_reaps_without_counting_is_found() {
    is_found(Flaw::ReapsWithoutCounting, "attempts");
}

#[test]
fn a_store_that_keeps_keys_without_a_lock_is_found() {
    is_found(Flaw::KeepsKeysWithoutALock, "P7");
}

#[test]
fn a_store_that_counts_no_limits_is_found() {
    is_found(Flaw::CountsNoLimits, "P13");
}

/// The simulation finds the flaw within a thousand seeds, and names what is broken.
fn is_found(flaw: Flaw, promise: &str) {
    quiet_panics();
    let twin = move |clock: &Clock| Arc::new(Twin::new(flaw, clock)) as Arc<dyn Backend>;
    let found = (1..=1_000).find_map(|seed| run(seed, &twin).broken.map(|broken| (seed, broken)));
    let (seed, broken) = found.unwrap_or_else(|| panic!("a thousand seeds don't find a store that {flaw:?}"));
    println!("{flaw:?} is found by seed {seed}: {broken}");
    assert!(broken.starts_with(promise), "seed {seed} finds something else: {broken}");
}

/// Runs all seeds, on as many threads as there are cores, and reports those that fail.
fn try_all(seeds: Range<u64>, open: &Open) -> Vec<String> {
    let began = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let (jobs, faults) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let try_some = || {
        let mut broken = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return broken;
            }
            let run = run(seed, open);
            jobs.fetch_add(run.jobs, Ordering::Relaxed);
            faults.fetch_add(run.faults, Ordering::Relaxed);
            if run.broken.is_some() {
                println!("seed {seed}: {}", run.broken.as_deref().unwrap_or_default());
                broken.push(report(seed, &run));
            }
            if seed.is_multiple_of(10_000) {
                println!("seed {seed} after {:?}", began.elapsed());
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let broken: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(try_some)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a run does not panic")).collect()
    });
    let (jobs, faults) = (jobs.into_inner(), faults.into_inner());
    println!(
        "{} seeds, {jobs} jobs, {faults} faults, {} failed, {:?}",
        seeds.end - seeds.start,
        broken.len(),
        began.elapsed()
    );
    broken
}

/// What somebody who has to find the cause needs to see.
fn report(seed: u64, run: &Run) -> String {
    let lines: Vec<&str> = run.log.lines().collect();
    let end = lines.iter().position(|line| line.contains("**")).map_or(lines.len(), |line| line + 1);
    let mut report = format!("seed {seed}: {}\n", run.broken.as_deref().unwrap_or("it passes"));
    let _ = writeln!(report, "replay it with TASKWRIGHT_SIM_SEED={seed}; the last events before that were");
    for line in &lines[end.saturating_sub(60)..end] {
        let _ = writeln!(report, "{line}");
    }
    report
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// Tasks panic on purpose here, thousands of times; that is not worth a message.
fn quiet_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload_as_str() != Some(tasks::ON_PURPOSE) {
                usual(panic);
            }
        }));
    });
}
