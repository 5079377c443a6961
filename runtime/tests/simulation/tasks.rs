//! What the workers run: every way in which an attempt can go. Each returns the id of its own job.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use taskwright::job::WorkerId;
use taskwright::prelude::*;
use taskwright::registry::Registry;
use taskwright::{JobId, Result};

use crate::ledger::Claimant;
use crate::observed::Observed;

/// What a task finds at its worker.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) store: Arc<Observed>,
    /// Known once the worker is made.
    pub(crate) worker: Arc<OnceLock<WorkerId>>,
    pub(crate) lease: Duration,
}

/// An attempt that runs, until it is dropped.
struct Run {
    store: Arc<Observed>,
    claimant: Claimant,
    returned: bool,
}

impl Desk {
    fn start(&self, ctx: &Context) -> Run {
        let worker = self.worker.get().copied().unwrap_or_else(|| WorkerId::from_bytes([0; 16]));
        let claimant = (ctx.id(), ctx.attempt(), worker);
        self.store.ledger().started(claimant, ctx.queue());
        Run { store: Arc::clone(&self.store), claimant, returned: false }
    }
}

impl Run {
    fn done(mut self) -> TaskResult<JobId> {
        self.returned = true;
        Ok(self.claimant.0)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.store.ledger().stopped(self.claimant, self.returned);
    }
}

#[task(backoff = exponential("500ms", max = "5s"))]
pub(crate) async fn quick(#[state] desk: &Desk, ctx: &Context) -> TaskResult<JobId> {
    desk.start(ctx).done()
}

/// Its outcome is not kept.
#[task]
pub(crate) async fn forgotten(#[state] desk: &Desk, ctx: &Context) {
    let _ = desk.start(ctx).done();
}

#[task]
pub(crate) async fn nap(millis: u64, #[state] desk: &Desk, ctx: &Context) -> TaskResult<JobId> {
    let run = desk.start(ctx);
    tokio::time::sleep(Duration::from_millis(millis)).await;
    run.done()
}

#[task(max_attempts = 5, backoff = exponential("200ms", max = "5s"))]
pub(crate) async fn flaky(failures: u32, #[state] desk: &Desk, ctx: &Context) -> TaskResult<JobId> {
    let run = desk.start(ctx);
    tokio::time::sleep(Duration::from_millis(30)).await;
    if ctx.attempt() <= failures {
        return Err(TaskError::new("not yet").into());
    }
    run.done()
}

/// What the tasks that panic say.
pub(crate) const ON_PURPOSE: &str = "on purpose";

#[task(max_attempts = 4, backoff = fixed("1s"))]
pub(crate) async fn fragile(panics: u32, #[state] desk: &Desk, ctx: &Context) -> TaskResult<JobId> {
    let run = desk.start(ctx);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(ctx.attempt() > panics, "{ON_PURPOSE}");
    run.done()
}

/// Longer than its lease, so that it lives by heartbeats.
#[task]
pub(crate) async fn marathon(#[state] desk: &Desk, ctx: &Context) -> TaskResult<JobId> {
    let run = desk.start(ctx);
    for mile in 0..10_u32 {
        ctx.progress(f64::from(mile) / 10.0, "on the road").await;
        tokio::time::sleep(desk.lease / 4).await;
    }
    run.done()
}

#[task]
pub(crate) async fn drowsy(snoozes: u32, #[state] desk: &Desk, ctx: &Context) -> TaskResult<JobId> {
    let run = desk.start(ctx);
    if run.store.ledger().times_started(ctx.id()) <= snoozes {
        return Err(TaskError::snooze(Duration::from_millis(700)).into());
    }
    run.done()
}

#[task]
pub(crate) async fn hopeless(#[state] desk: &Desk, ctx: &Context) -> TaskResult<JobId> {
    let _run = desk.start(ctx);
    Err(TaskError::discard("there is no hope").into())
}

#[task]
pub(crate) async fn quitter(#[state] desk: &Desk, ctx: &Context) -> TaskResult<JobId> {
    let _run = desk.start(ctx);
    Err(TaskError::cancel("thought better of it").into())
}

/// Hears that it is called off.
#[task(max_attempts = 3, backoff = fixed("1s"))]
pub(crate) async fn attentive(#[state] desk: &Desk, ctx: &Context) -> TaskResult<JobId> {
    let run = desk.start(ctx);
    tokio::select! {
        biased;
        () = ctx.cancellation().cancelled() => Err(TaskError::new("stopped in the middle").into()),
        () = tokio::time::sleep(Duration::from_secs(8)) => run.done(),
    }
}

/// Does not care that it is called off.
#[task(max_attempts = 3, backoff = fixed("1s"))]
pub(crate) async fn stubborn(#[state] desk: &Desk, ctx: &Context) -> TaskResult<JobId> {
    let run = desk.start(ctx);
    tokio::time::sleep(Duration::from_secs(12)).await;
    run.done()
}

#[task(timeout = "2s", max_attempts = 2, backoff = fixed("1s"))]
pub(crate) async fn tardy(seconds: u64, #[state] desk: &Desk, ctx: &Context) -> TaskResult<JobId> {
    let run = desk.start(ctx);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    run.done()
}

/// Dispatches others, under the same ids in every attempt.
#[task(max_attempts = 6, backoff = fixed("2s"))]
pub(crate) async fn parent(children: u8, #[state] desk: &Desk, ctx: &Context) -> TaskResult<JobId> {
    let run = desk.start(ctx);
    for child in 0..children {
        let mut id = *ctx.id().as_bytes();
        id[15] ^= child + 1;
        id[0] ^= 0x80;
        Quick::new().id(JobId::from_bytes(id)).queue(ctx.queue().as_str()).dispatch().await?;
    }
    run.done()
}

/// Known to some workers only.
#[task]
pub(crate) async fn rare(#[state] desk: &Desk, ctx: &Context) -> TaskResult<JobId> {
    desk.start(ctx).done()
}

/// Counts against a limit, of which others ask for less.
#[task(limit(max = 2, key = "gate-{gate}"), backoff = fixed("1s"))]
pub(crate) async fn turnstile(gate: u32, millis: u64, #[state] desk: &Desk, ctx: &Context) -> TaskResult<JobId> {
    let run = desk.start(ctx);
    tokio::time::sleep(Duration::from_millis(millis)).await;
    // The gate that is not there fails once.
    if gate > 1 && ctx.attempt() == 1 {
        return Err(TaskError::new("no such gate").into());
    }
    run.done()
}

/// Has the first gate to itself, and does not start often.
#[task(limit(max = 1, key = "gate-0"), rate(3, per = "3s", key = "pace"))]
pub(crate) async fn procession(#[state] desk: &Desk, ctx: &Context) -> TaskResult<JobId> {
    let run = desk.start(ctx);
    tokio::time::sleep(Duration::from_millis(300)).await;
    run.done()
}

/// Starts so often at the most.
#[task(rate(4, per = "3s", key = "pace"))]
pub(crate) async fn paced(#[state] desk: &Desk, ctx: &Context) -> TaskResult<JobId> {
    desk.start(ctx).done()
}

/// What a worker knows.
pub(crate) fn registry(with_rare: bool) -> Result<Registry> {
    let common = Registry::new()
        .with::<Quick>()?
        .with::<Forgotten>()?
        .with::<Nap>()?
        .with::<Flaky>()?
        .with::<Fragile>()?
        .with::<Marathon>()?
        .with::<Drowsy>()?
        .with::<Hopeless>()?
        .with::<Quitter>()?
        .with::<Attentive>()?
        .with::<Stubborn>()?
        .with::<Tardy>()?
        .with::<Parent>()?
        .with::<Turnstile>()?
        .with::<Procession>()?
        .with::<Paced>()?;
    if with_rare { common.with::<Rare>() } else { Ok(common) }
}
