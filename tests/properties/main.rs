//! Random operations against the reference model: every store answers as memory does, and holds the same afterwards.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod invariants;
mod order;
mod pair;
mod steps;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use proptest::test_runner::{Config, TestRunner};
use taskwright::backend::Backend;
use taskwright::backend::memory::Memory;
use taskwright::backend::sql::sqlite::Sqlite;
use taskwright::time::Clock;
use taskwright::{Result, State};

use crate::pair::Pair;
use crate::steps::steps;

/// Runs random steps against memory and against what `open` opens, and fails with the shortest list that tells them
/// apart. Returns the states in which jobs were seen, to tell whether the steps led anywhere.
fn check<B: Backend>(cases: u32, open: impl AsyncFn(Clock) -> Result<B>) -> BTreeSet<State> {
    let seen = RefCell::new(BTreeSet::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        runtime.block_on(async {
            let clock = Clock::stopped();
            let other = open(clock.clone()).await?;
            let mut pair = Pair::new(Memory::with_clock(clock.clone()), &other, clock);
            for step in &steps {
                pair.take(step).await?;
            }
            seen.borrow_mut().append(&mut pair.states);
            other.close().await?;
            Ok(())
        })
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    seen.into_inner()
}

#[test]
fn memory_keeps_its_invariants_and_its_steps_can_be_replayed() {
    let seen = check(256, async |clock| Ok(Memory::with_clock(clock)));
    let possible = State::ALL.into_iter().filter(|state| *state != State::Blocked);
    assert_eq!(seen, possible.collect());
}

#[test]
fn sqlite_does_what_memory_does() {
    let folder = tempfile::tempdir().unwrap();
    let files = Cell::new(0_u32);
    check(48, async |clock| {
        let file = folder.path().join(format!("jobs-{}.db", files.replace(files.get() + 1)));
        Sqlite::connect_with(&format!("sqlite:{}?synchronous=normal", file.display()), clock).await
    });
}
