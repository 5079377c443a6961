//! Random operations against the reference model: every store answers as memory does, and holds the same afterwards.

mod invariants;
mod pair;
mod steps;

use proptest::test_runner::{Config, TestRunner};
use taskwright::Result;
use taskwright::backend::Backend;
use taskwright::backend::memory::Memory;
use taskwright::backend::sql::sqlite::Sqlite;
use taskwright::time::Clock;

use crate::pair::Pair;
use crate::steps::steps;

/// Runs random steps against memory and against what `open` opens, and fails with the shortest list that tells them
/// apart.
fn check<B: Backend>(cases: u32, open: impl AsyncFn(Clock) -> Result<B>) {
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
            other.close().await?;
            Ok(())
        })
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn memory_keeps_its_invariants_and_its_steps_can_be_replayed() {
    check(256, async |clock| Ok(Memory::with_clock(clock)));
}

#[test]
fn sqlite_does_what_memory_does() {
    let folder = tempfile::tempdir().unwrap();
    let files = std::cell::Cell::new(0_u32);
    check(48, async |clock| {
        let file = folder.path().join(format!("jobs-{}.db", files.replace(files.get() + 1)));
        Sqlite::connect_with(&format!("sqlite:{}?synchronous=normal", file.display()), clock).await
    });
}
