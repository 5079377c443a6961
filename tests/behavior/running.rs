//! What a task sees and does while it runs.

use std::sync::{Arc, Mutex};

use taskwright::State;
use taskwright::backend::JobFilter;
use taskwright::context::States;
use taskwright::prelude::*;
use taskwright::registry::Registry;
use taskwright::trace::TraceContext;
use tokio::sync::Semaphore;

use crate::on_every_backend;
use crate::site::{Site, eventually, within};

on_every_backend!(
    a_child_is_dispatched_through_its_parents_client,
    trace_context_flows_from_dispatch_to_run_and_on,
    a_plain_function_runs_on_the_thread_pool,
    a_stuck_thread_is_reported_and_its_slot_replaced,
    headers_and_attempt_are_seen,
    a_derived_task_runs_its_hooks,
);

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, note: impl Into<String>) {
        self.0.lock().unwrap().push(note.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn states(&self) -> States {
        let mut states = States::default();
        states.insert(self.clone());
        states
    }
}

#[task]
async fn parent() -> TaskResult<JobId> {
    Ok(Child::new("hello").dispatch().await?.id())
}

#[task]
async fn child(word: String) -> TaskResult<String> {
    Ok(word)
}

async fn a_child_is_dispatched_through_its_parents_client(site: &Site) {
    let registry = Registry::new().with::<Parent>().unwrap().with::<Child>().unwrap();
    let _worker = site.worker(registry, |_| {});
    let handle = site.client.dispatch(Parent::new()).await.unwrap();
    let parent = handle.id();
    let child = within(handle).await.unwrap();
    let job = site.job_in(child, State::Completed).await;
    assert_eq!(job.spec.parent, Some(parent));
}

#[task]
async fn traced(depth: u32, #[state] notes: &Notes) -> TaskResult {
    let trace = TraceContext::current().ok_or("no trace context")?;
    notes.add(format!("{:032x}", trace.trace_id()));
    if depth > 0 {
        Traced::new(depth - 1).dispatch().await?;
    }
    Ok(())
}

async fn trace_context_flows_from_dispatch_to_run_and_on(site: &Site) {
    let notes = Notes::default();
    let _worker = site.worker_with(Registry::new().with::<Traced>().unwrap(), notes.states(), |_| {});
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    site.client.dispatch(Traced::new(2_u32).header("traceparent", parent)).await.unwrap();
    eventually("all three ran", async || notes.all().len() == 3).await;
    assert_eq!(notes.all(), ["4bf92f3577b34da6a3ce929d0e0e4736"; 3]);
}

#[task]
fn on_a_thread(ctx: &Context) -> TaskResult<bool> {
    // Blocking here is allowed, and would panic on the executor.
    let child = tokio::runtime::Handle::current().block_on(Child::new("from a thread").dispatch())?;
    Ok(child.id() != ctx.id() && Context::current().is_some_and(|current| current.id() == ctx.id()))
}

async fn a_plain_function_runs_on_the_thread_pool(site: &Site) {
    let _worker = site.worker(Registry::new().with::<OnAThread>().unwrap(), |_| {});
    let handle = site.client.dispatch(OnAThread::new()).await.unwrap();
    assert!(within(handle).await.unwrap());
}

#[derive(Clone)]
struct Gate(Arc<Semaphore>);

#[task(timeout = "20ms", max_attempts = 1)]
fn blocks(#[state] gate: &Gate) {
    while gate.0.try_acquire().is_err() {
        std::thread::yield_now();
    }
}

#[task]
fn quick() -> TaskResult<u32> {
    Ok(1)
}

async fn a_stuck_thread_is_reported_and_its_slot_replaced(site: &Site) {
    let gate = Gate(Arc::new(Semaphore::new(0)));
    let mut states = States::default();
    states.insert(gate.clone());
    let registry = Registry::new().with::<Blocks>().unwrap().with::<Quick>().unwrap();
    let worker = site.worker_with(registry, states, |options| options.blocking_threads = 1);
    let stuck = site.client.dispatch(Blocks::new()).await.unwrap();
    site.job_in(stuck.id(), State::Discarded).await;
    assert_eq!(worker.health.report().stuck_threads, 1);
    assert_eq!(within(site.client.dispatch(Quick::new()).await.unwrap()).await.unwrap(), 1);
    gate.0.add_permits(1);
    eventually("the thread is free again", async || worker.health.report().stuck_threads == 0).await;
    worker.stop().await;
}

#[task(max_attempts = 3, backoff = fixed("1ms"))]
async fn looks_around(#[state] notes: &Notes, ctx: &Context) -> TaskResult {
    let tenant = ctx.headers().get("tenant").cloned().unwrap_or_default();
    notes.add(format!("{tenant} {} {} {}", ctx.queue(), ctx.attempt(), ctx.is_last_attempt()));
    Err("again, please".into())
}

async fn headers_and_attempt_are_seen(site: &Site) {
    let notes = Notes::default();
    let _worker = site.worker_with(Registry::new().with::<LooksAround>().unwrap(), notes.states(), |_| {});
    let handle = site.client.dispatch(LooksAround::new().header("tenant", "acme")).await.unwrap();
    site.job_in(handle.id(), State::Discarded).await;
    assert_eq!(notes.all(), ["acme default 1 false", "acme default 2 false", "acme default 3 true"]);
    assert_eq!(site.jobs(JobFilter::default()).await.len(), 1);
}

#[derive(Serialize, Deserialize, Task)]
#[task(max_attempts = 2, backoff = fixed("1ms"))]
struct Hooked {
    fails: u32,
}

impl Run for Hooked {
    type Output = u32;

    async fn before(&self, ctx: &Context) -> TaskResult {
        note(ctx, format!("before {}", ctx.attempt()));
        Ok(())
    }

    async fn run(&self, ctx: &Context) -> TaskResult<u32> {
        if ctx.attempt() <= self.fails { Err("not yet".into()) } else { Ok(ctx.attempt()) }
    }

    async fn after(&self, ctx: &Context, output: &u32) {
        note(ctx, format!("after {output}"));
    }

    async fn failed(&self, ctx: &Context, error: &TaskError) {
        note(ctx, format!("failed {error}"));
    }
}

fn note(ctx: &Context, note: String) {
    if let Some(notes) = ctx.state::<Notes>() {
        notes.add(note);
    }
}

async fn a_derived_task_runs_its_hooks(site: &Site) {
    let notes = Notes::default();
    let _worker = site.worker_with(Registry::new().with::<Hooked>().unwrap(), notes.states(), |_| {});
    let handle = site.client.dispatch(Hooked { fails: 1 }).await.unwrap();
    assert_eq!(within(handle).await.unwrap(), 2);
    assert_eq!(notes.all(), ["before 1", "failed not yet", "before 2", "after 2"]);
}
