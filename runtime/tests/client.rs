//! The client side as an application sees it: dispatching, awaiting, and what goes wrong there.
//!
//! Jobs are run by hand here, through the contract, so that each test says exactly when and how a job ends.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on panics, in its helpers too")]
#![allow(clippy::unused_async, reason = "these tasks are only dispatched")]

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use taskwright::backend::memory::Memory;
use taskwright::backend::{
    Backend, Cancelled, Claim, Extend, InTransaction, Pushed, QueueClaim, Reap, Renewal, Settled, Settlement,
    WorkerRecord,
};
use taskwright::codec::{Codec, Payload};
use taskwright::job::{Failure, FailureKind, Job, Lease, NewJob, OnConflict, Progress, Replace, Until, When, WorkerId};
use taskwright::policy::Verdict;
use taskwright::prelude::*;
use taskwright::registry::Registry;
use taskwright::testing::faulty::{Fault, Faulty, Operation};
use taskwright::time::Clock;
use taskwright::trace::{self, TraceContext};
use taskwright::worker::WorkerOptions;
use taskwright::{ErrorKind, JobFailure, JobOptions, Name, Shutdown, State, Timestamp, Worker};

const HOUR: Duration = Duration::from_hours(1);

#[task(name = "double", queue = "math", max_attempts = 8, priority = 3, tags = ["even"])]
async fn double(number: u64) -> TaskResult<u64> {
    Ok(number * 2)
}

#[task(name = "reindex", unique(by(shop), debounce("5s")))]
async fn reindex(shop: u64, reason: String) {
    drop((shop, reason));
}

#[task(name = "note")]
async fn note(text: String) {
    drop(text);
}

#[task(name = "counted", limit(max = 5))]
async fn counted() {}

#[task(name = "sync.account", unique = "account-{account}")]
async fn sync_account(account: u64) {
    let _ = account;
}

#[task(name = "parent")]
async fn parent() -> TaskResult<(JobId, String)> {
    let child = Note::new("from the parent").queue("slow").dispatch().await?;
    let trace = TraceContext::current().ok_or("a task runs in a trace")?;
    Ok((child.id(), trace.to_string()))
}

/// A client of a store whose time the test moves, and which fails when told to.
struct World {
    client: Client,
    faulty: Arc<Faulty>,
    clock: Clock,
    worker: WorkerId,
}

fn setup() -> World {
    setup_with(Client::builder())
}

fn setup_with(builder: taskwright::ClientBuilder) -> World {
    let clock = Clock::stopped();
    let faulty = Arc::new(Faulty::new(Arc::new(Memory::with_clock(clock.clone())), 1));
    let backend: Arc<dyn Backend> = Arc::clone(&faulty) as _;
    World { client: builder.build(backend), faulty, clock, worker: WorkerId::new() }
}

impl World {
    /// Claims the next job, whatever queue of these tests it waits in.
    async fn claim(&self) -> Option<(Lease, Job)> {
        let queue = |name| QueueClaim { queue: Name::new(name).unwrap(), limit: 1 };
        let queues = ["math", "default", "slow"].map(queue).to_vec();
        let claim = Claim {
            worker: self.worker,
            queues,
            limit: 1,
            unknown: vec![],
            ttl: Duration::from_secs(30),
            max_crashes: 3,
            aging: None,
        };
        self.client.backend().claim(&claim).await.unwrap().jobs.pop()
    }

    /// Runs the next job to this end.
    async fn finish(&self, verdict: Verdict) -> Job {
        let (lease, job) = self.claim().await.expect("a job is due");
        let settlement = Settlement { lease, job: job.clone(), verdict };
        assert_eq!(self.client.backend().settle(&[settlement]).await.unwrap(), [Settled::Applied]);
        job
    }

    /// What the next job looks like to a worker.
    async fn next_job(&self) -> Job {
        self.finish(completed_unkept()).await
    }
}

fn completed(value: &impl Serialize) -> Verdict {
    Verdict::Complete { result: Some(Payload::encode(Codec::MessagePack, value).unwrap()) }
}

fn completed_unkept() -> Verdict {
    Verdict::Complete { result: None }
}

/// Lets everything that is ready go on until it waits.
async fn settle_down() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_handle_gives_the_typed_result() {
    let world = setup();
    let handle = world.client.dispatch(Double::new(21_u64)).await.unwrap();
    assert!(handle.is_new());
    assert_eq!(handle.status().await.unwrap(), State::Available);
    let job = world.finish(completed(&42_u64)).await;
    assert_eq!(job.id(), handle.id());
    assert_eq!(job.spec.payload.decode::<Double>().unwrap().number, 21);
    assert_eq!(handle.status().await.unwrap(), State::Completed);
    assert_eq!(handle.clone().await.unwrap(), 42);
    assert_eq!(handle.await.unwrap(), 42, "a result can be read again");
}

#[tokio::test]
async fn a_wait_that_began_before_the_end_is_woken_by_it() {
    let world = setup();
    let handle = world.client.dispatch(Double::new(1_u64)).await.unwrap();
    let waiting = tokio::spawn(async move { handle.await });
    settle_down().await;
    assert!(!waiting.is_finished());
    world.finish(completed(&2_u64)).await;
    assert_eq!(waiting.await.unwrap().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_listener_polling_finds_the_end() {
    let world = setup();
    world.faulty.fail_next(Operation::Listen, 1_000);
    let handle = world.client.dispatch(Double::new(1_u64)).await.unwrap();
    let waiting = tokio::spawn(async move { handle.await });
    settle_down().await;
    world.finish(completed(&2_u64)).await;
    assert_eq!(waiting.await.unwrap().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn waiting_survives_a_store_that_is_away() {
    let world = setup();
    let handle = world.client.dispatch(Double::new(1_u64)).await.unwrap();
    world.faulty.fail_next(Operation::Fetch, 5);
    world.faulty.fail_next(Operation::Next, 3);
    world.faulty.inject(Operation::Fetch, Fault::HangBefore, 1);
    let waiting = tokio::spawn(async move { handle.await });
    settle_down().await;
    world.finish(completed(&2_u64)).await;
    assert_eq!(waiting.await.unwrap().unwrap(), 2);
    assert!(world.faulty.calls(Operation::Fetch) >= 7);
}

#[tokio::test(start_paused = true)]
async fn many_handles_share_fetches_and_one_listener() {
    let world = setup();
    let handles = world.client.dispatch_many((0..2_000_u64).map(Double::new)).await.unwrap();
    let waiting = tokio::spawn(futures_util::future::join_all(handles.into_iter().map(IntoFuture::into_future)));
    settle_down().await;
    let before = world.faulty.calls(Operation::Fetch);
    assert!(before <= 10, "{before} fetches for 2000 handles");
    for number in 0..2_000_u64 {
        world.finish(completed(&number)).await;
    }
    let results: Vec<u64> = waiting.await.unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!(results, (0..2_000).collect::<Vec<_>>());
    assert_eq!(world.faulty.calls(Operation::Listen), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_when_nobody_waits() {
    let world = setup();
    let handle = world.client.dispatch(Double::new(1_u64)).await.unwrap();
    let error = handle.result(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    settle_down().await;
    let before = world.faulty.calls(Operation::Fetch);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(world.faulty.calls(Operation::Fetch), before);
    world.finish(completed(&2_u64)).await;
    assert_eq!(handle.result(Duration::from_secs(5)).await.unwrap(), 2, "a handle can be awaited again");
}

#[tokio::test]
async fn what_a_task_returns_as_unit_is_not_kept_and_still_awaited() {
    let world = setup();
    let handle = world.client.dispatch(Note::new("milk")).await.unwrap();
    let waiting = tokio::spawn(handle.clone().into_future());
    settle_down().await;
    let job = world.finish(completed_unkept()).await;
    assert_eq!(job.spec.keep_result, None);
    waiting.await.unwrap().unwrap();
    assert_eq!(handle.status().await.unwrap(), State::Completed);
    assert_eq!(handle.progress().await.unwrap(), None);
    let found = world.client.handle::<()>(handle.id());
    assert_eq!(found.await.unwrap_err().kind(), ErrorKind::NotFound, "an id alone does not say that there was a job");
}

#[tokio::test]
async fn a_failed_job_tells_the_tasks_own_error_with_its_causes() {
    let world = setup();
    let handle = world.client.dispatch(Double::new(1_u64)).await.unwrap();
    let mut failure = Failure::new(FailureKind::Error, "no connection to the mail server");
    failure.causes = vec!["tls handshake failed".to_owned(), "certificate expired".to_owned()];
    world.finish(Verdict::Discard { failure: failure.clone() }).await;
    let id = handle.id();
    let error = handle.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Job);
    assert_eq!(error.to_string(), format!("job {id} was discarded after attempt 1"));
    let job_failure = JobFailure::of(&error).unwrap();
    assert_eq!((job_failure.state(), job_failure.attempt()), (State::Discarded, 1));
    assert_eq!(job_failure.failure(), Some(&failure));
    let mut messages = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        messages.push(error.to_string());
        cause = error.source();
    }
    assert_eq!(messages, ["no connection to the mail server", "tls handshake failed", "certificate expired"]);
}

#[tokio::test]
async fn a_cancelled_job_never_runs_and_says_why() {
    let world = setup();
    let handle = world.client.dispatch(Double::new(1_u64)).await.unwrap();
    assert_eq!(handle.cancel("not needed").await.unwrap(), Cancelled::Ended);
    assert_eq!(handle.cancel("again").await.unwrap(), Cancelled::Finished(State::Cancelled));
    assert!(world.claim().await.is_none());
    assert_eq!(handle.status().await.unwrap(), State::Cancelled);
    let error = handle.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Job);
    assert_eq!(error.source().unwrap().to_string(), "not needed");
}

#[tokio::test]
async fn a_job_that_expired_is_told_apart_from_one_whose_result_did() {
    let world = setup();
    let too_late = world.client.dispatch(Double::new(1_u64).expires(Duration::from_secs(5))).await.unwrap();
    world.clock.advance(Duration::from_secs(6));
    world.client.backend().reap(&Reap { limit: 10, max_crashes: 3 }).await.unwrap();
    let error = too_late.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Job);
    assert!(error.to_string().contains("expired before it could start"), "{error}");

    let kept_briefly = world.client.dispatch(Double::new(1_u64).keep_result(Duration::from_secs(5))).await.unwrap();
    world.finish(completed(&2_u64)).await;
    world.clock.advance(Duration::from_secs(6));
    assert_eq!(kept_briefly.status().await.unwrap(), State::Completed);
    let error = kept_briefly.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("time to live has ended"), "{error}");
}

#[tokio::test]
async fn a_result_that_was_not_kept_is_not_made_up() {
    let world = setup();
    let handle = world.client.dispatch(Double::new(1_u64).forget_result()).await.unwrap();
    world.finish(completed_unkept()).await;
    let error = handle.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("keep_result"), "{error}");
}

#[tokio::test]
async fn a_result_of_another_type_is_an_error() {
    let world = setup();
    let id = world.client.dispatch(Double::new(1_u64)).await.unwrap().id();
    world.finish(completed(&"not a number")).await;
    let error = world.client.handle::<u64>(id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
}

#[tokio::test]
async fn a_job_is_found_again_from_its_id() {
    let world = setup();
    let id = world.client.dispatch(Double::new(1_u64)).await.unwrap().id();
    let stored = serde_json::to_string(&id).unwrap();
    world.finish(completed(&2_u64)).await;
    let id: JobId = serde_json::from_str(&stored).unwrap();
    let result = world.client.scope(async { Double::handle(id)?.await }).await;
    assert_eq!(result.unwrap(), 2);
}

#[tokio::test]
async fn progress_is_seen_while_a_job_runs() {
    let world = setup();
    let handle = world.client.dispatch(Double::new(1_u64)).await.unwrap();
    assert_eq!(handle.progress().await.unwrap(), None);
    assert_eq!(handle.status().await.unwrap(), State::Available);
    let (lease, _job) = world.claim().await.unwrap();
    assert_eq!(handle.status().await.unwrap(), State::Running);
    let progress = Progress { fraction: 0.5, note: "halfway".to_owned() };
    let renewal = Renewal { lease, progress: Some(progress.clone()) };
    let worker = WorkerRecord {
        id: world.worker,
        host: "here".to_owned(),
        pid: 1,
        program: "test".to_owned(),
        started: Timestamp::now(),
        queues: Vec::new(),
        concurrency: 1,
    };
    let extend = Extend { worker, ttl: Duration::from_secs(30), renewals: vec![renewal] };
    world.client.backend().extend(&extend).await.unwrap();
    assert_eq!(handle.progress().await.unwrap(), Some(progress));
}

#[tokio::test]
async fn a_dispatch_finds_its_client_in_scope_then_installed_then_not_at_all() {
    assert!(Client::uninstall().is_none());
    let error = Note::new("lost").dispatch().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConfigured);
    for remedy in ["client.scope(..)", "client.install()", ".dispatch_on(&client)"] {
        assert!(error.to_string().contains(remedy), "{error}");
    }
    let (installed, scoped) = (setup(), setup());
    assert!(installed.client.install().is_none());
    Note::new("to the installed").dispatch().await.unwrap();
    scoped.client.scope(async { Note::new("to the scoped").dispatch().await }).await.unwrap();
    let text = |job: Job| job.spec.payload.decode::<Note>().unwrap().text;
    assert_eq!(text(installed.next_job().await), "to the installed");
    assert_eq!(text(scoped.next_job().await), "to the scoped");
    assert!(scoped.client.install().is_some(), "the client that was installed before is given back");
    assert!(Client::uninstall().is_some());
}

#[tokio::test]
async fn every_option_of_a_dispatch_reaches_the_job() {
    let world = setup();
    let id = JobId::new();
    let backoff = Backoff::fixed(Duration::from_secs(9));
    let handle = Double::new(7_u64)
        .id(id)
        .queue("slow")
        .priority(-5)
        .max_attempts(2)
        .timeout(Duration::from_secs(3))
        .backoff(backoff)
        .keep_result(Duration::from_mins(1))
        .expires(Duration::from_mins(10))
        .unique_key("seven")
        .header("tenant", "acme")
        .tag("odd")
        .codec(Codec::Json)
        .delay(Duration::from_secs(30))
        .dispatch_on(&world.client)
        .await
        .unwrap();
    assert_eq!((handle.id(), handle.status().await.unwrap()), (id, State::Scheduled));
    assert!(world.claim().await.is_none());
    world.clock.advance(Duration::from_secs(30));
    let job = world.next_job().await;
    let spec = &job.spec;
    assert_eq!((spec.queue.as_str(), spec.priority, spec.max_attempts), ("slow", -5, 2));
    assert_eq!((spec.timeout, spec.backoff), (Some(Duration::from_secs(3)), backoff));
    assert_eq!(spec.keep_result, Some(Duration::from_mins(1)));
    assert_eq!(spec.unique.as_ref().unwrap().key, "seven");
    assert_eq!(spec.headers, BTreeMap::from([("tenant".to_owned(), "acme".to_owned())]));
    assert_eq!(spec.tags, ["even", "odd"]);
    assert_eq!(&spec.payload.bytes[..], br#"{"number":7}"#);
    assert_eq!(job.expires, Some(job.pushed.after(Duration::from_mins(10))));
}

#[tokio::test]
async fn a_moment_to_start_may_be_a_system_time() {
    let world = setup();
    let moment = std::time::SystemTime::now() + Duration::from_hours(1);
    let handle = world.client.dispatch(Note::new("later").at(moment)).await.unwrap();
    assert_eq!(handle.status().await.unwrap(), State::Scheduled);
    world.clock.advance(Duration::from_secs(3_601));
    assert_eq!(world.next_job().await.due, Timestamp::from(moment));
}

#[tokio::test]
async fn the_dispatch_is_stronger_than_the_client_and_the_client_than_the_attribute() {
    let world = setup_with(
        Client::builder()
            .options(JobOptions {
                max_attempts: Some(5),
                timeout: Some(Duration::from_mins(1)),
                ..JobOptions::default()
            })
            .task_options("double", JobOptions { max_attempts: Some(4), ..JobOptions::default() }),
    );
    world.client.dispatch(Note::new("plain")).await.unwrap();
    let job = world.next_job().await;
    assert_eq!((job.spec.max_attempts, job.spec.priority, job.spec.queue.as_str()), (5, 0, "default"));
    assert_eq!((job.spec.timeout, job.spec.keep_result), (Some(Duration::from_mins(1)), None));

    world.client.dispatch(Double::new(1_u64)).await.unwrap();
    let job = world.next_job().await;
    assert_eq!((job.spec.max_attempts, job.spec.priority, job.spec.queue.as_str()), (4, 3, "math"));
    assert_eq!(job.spec.keep_result, Some(JobOptions::KEEP_RESULT));

    world.client.dispatch(Double::new(1_u64).max_attempts(3).no_timeout()).await.unwrap();
    let job = world.next_job().await;
    assert_eq!((job.spec.max_attempts, job.spec.timeout), (3, None));
}

#[tokio::test]
async fn values_that_cannot_be_used_are_errors_and_nothing_is_sent() {
    let world = setup();
    let second = Duration::from_secs(1);
    let cases = [
        (Note::new("x").queue("no blanks"), "`no blanks`"),
        (Note::new("x").max_attempts(0), "at least one attempt"),
        (Note::new("x").unique_key(""), "unique key"),
        (Note::new("x").unique_key("k".repeat(513)), "513"),
        (Note::new("x").unique_key("k").within(Duration::ZERO), "a time of zero"),
        (Note::new("x").delay(60 * second).expires(30 * second), "would never start"),
    ];
    for (dispatch, expected) in cases {
        let error = dispatch.dispatch_on(&world.client).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let message = error.to_string();
        assert!(message.contains(expected) && message.contains("task note"), "{message}");
    }
    let bad_third = (0..5_u64).map(|number| Double::new(number).max_attempts(u32::from(number != 2)));
    assert_eq!(world.client.dispatch_many(bad_third).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(world.faulty.calls(Operation::Push), 0);
}

#[tokio::test]
async fn a_payload_that_is_too_large_is_refused_before_it_is_sent() {
    let world = setup();
    let limit = world.client.backend().info().limits.max_payload;
    let error = world.client.dispatch(Note::new("x".repeat(limit))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains(&limit.to_string()), "{error}");
    assert_eq!(world.faulty.calls(Operation::Push), 0);
}

#[tokio::test]
async fn many_tasks_go_in_few_writes_and_keep_their_order() {
    let world = setup();
    let handles = world.client.dispatch_many((0..25_000_u64).map(|n| Double::new(n).priority(1))).await.unwrap();
    assert_eq!(handles.len(), 25_000);
    assert_eq!(world.faulty.calls(Operation::Push), 3);
    assert!(handles.windows(2).all(|pair| pair[0].id() < pair[1].id()));
    assert_eq!(world.next_job().await.id(), handles[0].id());
    assert!(world.client.dispatch_many(Vec::<Note>::new()).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_bulk_dispatch_that_fails_halfway_says_how_far_it_came() {
    let world = setup();
    let tasks = (0..20_001_u64).map(Double::new);
    let dispatching = world.client.dispatch_many(tasks);
    world.faulty.inject(Operation::Push, Fault::Slow(Duration::ZERO), 2);
    world.faulty.fail_next(Operation::Push, 100);
    let error = dispatching.await.unwrap_err();
    assert!(error.is_transient());
    assert!(error.to_string().contains("stored 20000 of 20001 jobs"), "{error}");
}

/// The most jobs that memory takes in one push.
const PIECE: usize = 10_000;

fn notes(count: usize) -> impl Iterator<Item = Note> {
    (0..count).map(|number| Note::new(number.to_string()))
}

/// Dispatches in a task of its own.
fn dispatch_apart<T: Task<Output: Send>>(
    world: &World,
    tasks: impl Iterator<Item = Dispatch<T>>,
) -> tokio::task::JoinHandle<taskwright::Result<Vec<JobHandle<T::Output>>>> {
    let (client, tasks) = (world.client.clone(), tasks.collect::<Vec<_>>());
    tokio::spawn(async move { client.dispatch_many(tasks).await })
}

#[tokio::test]
async fn two_pieces_of_a_large_dispatch_are_stored_at_a_time_and_answered_in_order() {
    let world = setup();
    world.faulty.inject(Operation::Push, Fault::HangBefore, 3);
    let dispatching = dispatch_apart(&world, notes(4 * PIECE + 1).map(Dispatch::new));
    world.faulty.until_hanging(2).await;
    settle_down().await;
    assert_eq!(world.faulty.calls(Operation::Push), 2, "the third piece waits for one of the first two");
    world.faulty.release();
    settle_down().await;
    assert_eq!(world.faulty.calls(Operation::Push), 5, "the others went on to the end while the third piece hangs");
    world.faulty.release();
    let handles = dispatching.await.unwrap().unwrap();
    assert_eq!(handles.len(), 4 * PIECE + 1);
    assert!(handles.iter().map(JobHandle::id).is_sorted(), "ids grow in the order of the tasks");
    assert!(handles.iter().all(JobHandle::is_new));
}

#[tokio::test]
async fn pieces_with_unique_keys_or_limits_are_stored_one_after_the_other() {
    let world = setup();
    world.faulty.inject(Operation::Push, Fault::HangBefore, 1);
    let first = dispatch_apart(&world, notes(PIECE + 1).map(|task| task.unique_key("the same")));
    world.faulty.until_hanging(1).await;
    settle_down().await;
    assert_eq!(world.faulty.calls(Operation::Push), 1, "the second piece may have to see the first");
    world.faulty.release();
    let handles = first.await.unwrap().unwrap();
    assert!(handles[0].is_new() && handles[1..].iter().all(|other| !other.is_new() && other.id() == handles[0].id()));
    world.faulty.inject(Operation::Push, Fault::HangBefore, 1);
    let second = dispatch_apart(&world, (0..=PIECE).map(|_| Dispatch::new(Counted::new())));
    world.faulty.until_hanging(1).await;
    settle_down().await;
    assert_eq!(world.faulty.calls(Operation::Push), 3);
    world.faulty.release();
    assert_eq!(second.await.unwrap().unwrap().len(), PIECE + 1);
}

#[tokio::test(start_paused = true)]
async fn a_piece_that_fails_leaves_the_others_stored() {
    let world = setup();
    world.faulty.inject(Operation::Push, Fault::HangBefore, 1);
    let dispatching = dispatch_apart(&world, notes(3 * PIECE).map(Dispatch::new));
    // The first hangs until the client's patience is over, and meanwhile the others are stored.
    let error = dispatching.await.unwrap().unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("stored 20000 of 30000 jobs"), "{error}");
    assert_eq!(world.faulty.calls(Operation::Push), 3);
}

#[tokio::test]
async fn a_piece_on_its_way_is_stored_though_the_caller_left_and_the_client_closes() {
    let world = setup();
    world.faulty.inject(Operation::Push, Fault::Slow(Duration::ZERO), 1);
    world.faulty.inject(Operation::Push, Fault::HangBefore, 1);
    let dispatching = dispatch_apart(&world, notes(2 * PIECE).map(Dispatch::new));
    world.faulty.until_hanging(1).await;
    dispatching.abort();
    assert!(dispatching.await.unwrap_err().is_cancelled());
    let closing = tokio::spawn({
        let client = world.client.clone();
        async move { client.close().await }
    });
    settle_down().await;
    assert!(!closing.is_finished(), "closing waits for the second piece");
    assert_eq!(world.faulty.calls(Operation::Close), 0);
    world.faulty.release();
    closing.await.unwrap().unwrap();
    assert_eq!(world.faulty.calls(Operation::Close), 1);
}

#[tokio::test]
async fn dispatches_at_the_same_time_share_a_write() {
    let world = setup();
    world.faulty.inject(Operation::Push, Fault::HangBefore, 1);
    let dispatch = |n| {
        let client = world.client.clone();
        tokio::spawn(async move { client.dispatch(Double::new(n)).await })
    };
    let first = dispatch(0_u64);
    world.faulty.until_hanging(1).await;
    let others: Vec<_> = (1..=100_u64).map(dispatch).collect();
    settle_down().await;
    world.faulty.release();
    first.await.unwrap().unwrap();
    for other in others {
        other.await.unwrap().unwrap();
    }
    assert_eq!(world.faulty.calls(Operation::Push), 2);
}

#[tokio::test(start_paused = true)]
async fn a_push_whose_answer_was_lost_is_stored_once_and_new() {
    let world = setup();
    world.faulty.inject(Operation::Push, Fault::ErrorAfter, 1);
    let handle = world.client.dispatch(Double::new(1_u64)).await.unwrap();
    assert!(handle.is_new());
    assert!(world.claim().await.is_some());
    assert!(world.claim().await.is_none());
}

#[tokio::test]
async fn a_unique_key_leads_to_the_job_that_has_it() {
    let world = setup();
    let first = world.client.dispatch(SyncAccount::new(7_u64)).await.unwrap();
    let second = world.client.dispatch(SyncAccount::new(7_u64)).await.unwrap();
    let other = world.client.dispatch(SyncAccount::new(8_u64)).await.unwrap();
    assert!(first.is_new() && other.is_new() && !second.is_new());
    assert_eq!(second.id(), first.id());
    let by_hand = world.client.dispatch(SyncAccount::new(7_u64).unique_key("another")).await.unwrap();
    assert!(by_hand.is_new(), "the dispatch's own key is stronger than the attribute's");
}

#[tokio::test]
async fn a_dispatch_is_refused_replaces_or_skips_as_it_asks() {
    let world = setup();
    let note = |text: &str| Note::new(text).unique_key("note").delay(HOUR);
    let first = world.client.dispatch(note("first")).await.unwrap();

    let skipped = world.client.dispatch(note("second")).await.unwrap();
    assert_eq!((skipped.id(), skipped.is_new(), skipped.is_replaced()), (first.id(), false, false));

    let refused = world.client.dispatch(note("third").on_conflict(OnConflict::Refuse)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(!refused.is_transient() && refused.to_string().contains(&first.id().to_string()), "{refused}");

    let many = vec![Note::new("fourth").delay(HOUR), note("fifth").on_conflict(OnConflict::Refuse)];
    let refused = world.client.dispatch_many(many).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(format!("{refused:?}").contains('1'), "how many were stored: {refused:?}");

    let replacing = note("sixth").on_conflict(OnConflict::Replace(Replace::ALL));
    let replaced = world.client.dispatch(replacing).await.unwrap();
    assert_eq!((replaced.id(), replaced.is_new(), replaced.is_replaced()), (first.id(), false, true));
}

#[tokio::test]
async fn debounce_and_throttle_are_names_of_rules() {
    let world = setup();
    let dispatched = async |dispatch: Dispatch<Note>| {
        world.client.dispatch(dispatch).await.unwrap();
        world.clock.advance(4 * HOUR);
        world.next_job().await
    };
    let job = dispatched(Note::new("x").unique_key("a").debounce(HOUR)).await;
    let unique = job.spec.unique.clone().unwrap();
    assert_eq!((unique.until, unique.conflict), (Until::Started, OnConflict::Replace(Replace::ALL)));
    assert_eq!(job.due, job.pushed.after(HOUR));

    let job = dispatched(Note::new("x").unique_key("b").debounce_at_most(HOUR, 2 * HOUR).delay(3 * HOUR)).await;
    let longest = Replace { longest: Some(2 * HOUR), ..Replace::ALL };
    assert_eq!(job.spec.unique.clone().unwrap().conflict, OnConflict::Replace(longest));
    assert_eq!(job.due, job.pushed.after(3 * HOUR), "a delay of its own is stronger");

    let job = dispatched(Note::new("x").throttle(HOUR).unique_key("c")).await;
    let unique = job.spec.unique.clone().unwrap();
    assert_eq!((unique.until, unique.conflict), (Until::Elapsed(HOUR), OnConflict::Skip));

    let error = world.client.dispatch(Note::new("x").debounce(HOUR)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("add `.unique_key(..)`"), "{error}");
}

#[tokio::test]
async fn a_task_says_how_its_jobs_are_unique_and_a_dispatch_says_it_better() {
    let world = setup();
    let first = world.client.dispatch(Reindex::new(7_u64, "typo")).await.unwrap();
    let second = world.client.dispatch(Reindex::new(7_u64, "picture")).await.unwrap();
    assert!(second.is_replaced() && second.id() == first.id());
    let skipped = Reindex::new(7_u64, "comma").on_conflict(OnConflict::Skip);
    assert!(!world.client.dispatch(skipped).await.unwrap().is_replaced());
    assert!(world.claim().await.is_none(), "it waits for more");
    world.clock.advance(Duration::from_secs(5));
    let (_, job) = world.claim().await.unwrap();
    assert_eq!(job.spec.unique.as_ref().unwrap().key, "reindex(7)");
    assert_eq!(job.spec.payload.decode::<Reindex>().unwrap().reason, "picture");
    let at_once = Reindex::new(8_u64, "other").throttle(HOUR);
    world.client.dispatch(at_once).await.unwrap();
    assert!(world.claim().await.is_some(), "a dispatch that is not debounced does not wait");
}

#[tokio::test]
async fn the_same_id_is_stored_once() {
    let world = setup();
    let id = JobId::new();
    let both = tokio::join!(
        world.client.dispatch(Double::new(1_u64).id(id)),
        world.client.dispatch(Double::new(1_u64).id(id)),
    );
    let (first, second) = (both.0.unwrap(), both.1.unwrap());
    assert_eq!((first.id(), second.id()), (id, id));
    assert!(first.is_new() && !second.is_new());
    let twice = [Double::new(1_u64).id(id), Double::new(2_u64).id(id)];
    let error = world.client.dispatch_many(twice).await.unwrap_err();
    assert!(error.to_string().contains(&id.to_string()), "{error}");
}

#[tokio::test]
async fn jobs_made_by_hand_are_pushed_as_they_are() {
    let world = setup();
    world.client.dispatch(Note::new("once")).await.unwrap();
    let job = world.next_job().await;
    let again = NewJob { spec: job.spec, due: When::NOW, expires: None };
    assert_eq!(world.client.push(vec![again.clone()]).await.unwrap(), [Pushed::Stored]);
    assert_eq!(world.client.push(vec![again.clone()]).await.unwrap(), [Pushed::Repeated]);
    assert_eq!(world.client.push(vec![again.clone(), again]).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(world.client.push(Vec::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_trace_goes_along_in_the_headers() {
    let world = setup();
    let trace = TraceContext::root().with_state("rojo=1");
    trace.scope(async { world.client.dispatch(Note::new("traced")).await }).await.unwrap();
    assert_eq!(TraceContext::from_headers(&world.next_job().await.spec.headers), Some(trace));

    tokio::task_local!(static SPAN: TraceContext);
    trace::set_source(|| SPAN.try_with(TraceContext::clone).ok());
    let span = TraceContext::root();
    let dispatch = async { world.client.dispatch(Note::new("from the source")).await };
    SPAN.scope(span.clone(), TraceContext::root().scope(dispatch)).await.unwrap();
    assert_eq!(TraceContext::from_headers(&world.next_job().await.spec.headers), Some(span));

    world.client.dispatch(Note::new("untraced")).await.unwrap();
    assert!(world.next_job().await.spec.headers.is_empty());
}

#[tokio::test]
async fn what_a_task_dispatches_is_its_child_in_the_same_trace() {
    let world = setup();
    let registry = Registry::new().with::<Parent>().unwrap();
    let options = WorkerOptions::default();
    let worker = Worker::new(world.client.clone(), registry, Arc::default(), options).unwrap();
    let shutdown = Shutdown::new();
    let running = tokio::spawn(worker.run(shutdown.clone()));
    let trace = TraceContext::root();
    let parent = trace.scope(async { world.client.dispatch(Parent::new()).await }).await.unwrap();
    let parent_id = parent.id();
    let (child_id, inside) = parent.await.unwrap();
    shutdown.stop();
    running.await.unwrap().unwrap();
    let child = world.next_job().await;
    assert_eq!((child.id(), child.spec.parent), (child_id, Some(parent_id)));
    assert_eq!(child.spec.headers[trace::TRACEPARENT], inside);
    let inside = TraceContext::parse(&inside).unwrap();
    assert_eq!(inside.trace_id(), trace.trace_id());
    assert_ne!(inside.span_id(), trace.span_id(), "the attempt has a place of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thousands_of_handles_are_answered_while_a_worker_runs() {
    let client = Client::new(Arc::new(Memory::new()));
    let registry = Registry::new().with::<Double>().unwrap();
    let options = WorkerOptions { queues: vec!["math".parse().unwrap()], ..WorkerOptions::default() };
    let worker = Worker::new(client.clone(), registry, Arc::default(), options).unwrap();
    let shutdown = Shutdown::new();
    let running = tokio::spawn(worker.run(shutdown.clone()));
    let callers = (0..5_000_u64).map(|number| {
        let client = client.clone();
        tokio::spawn(async move { client.dispatch(Double::new(number)).await?.await })
    });
    for (caller, number) in callers.collect::<Vec<_>>().into_iter().zip(0_u64..) {
        assert_eq!(caller.await.unwrap().unwrap(), number * 2);
    }
    shutdown.stop();
    assert_eq!(running.await.unwrap().unwrap().completed, 5_000);
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_dispatch_in_a_transaction_needs_a_store_that_has_them() {
    struct Connection;
    impl InTransaction for Connection {
        fn connection(&mut self) -> &mut (dyn std::any::Any + Send) {
            self
        }
    }
    let world = setup();
    let error = world.client.dispatch_in(Note::new("x"), &mut Connection).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let message = error.to_string();
    assert!(message.contains("memory") && message.contains("after the commit"), "{message}");
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_job_dispatched_in_a_transaction_exists_once_that_is_committed() {
    use sqlx::Connection as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let client = Client::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut db = sqlx::SqliteConnection::connect_with(&options).await.unwrap();

    let mut transaction = db.begin().await.unwrap();
    let undone = client.dispatch_in(Note::new("undone"), &mut transaction).await.unwrap();
    transaction.rollback().await.unwrap();
    let error = undone.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("transaction is not committed"), "{error}");

    // Spawned, so that this does not compile when the future can't move between threads.
    let dispatching = tokio::spawn(client.scope(async move {
        let mut transaction = db.begin().await.unwrap();
        let handle = Note::new("done").priority(2).dispatch_in(&mut transaction).await.unwrap();
        transaction.commit().await.unwrap();
        handle
    }));
    let handle = dispatching.await.unwrap();
    assert!(handle.is_new());
    assert_eq!(handle.status().await.unwrap(), State::Available);
    client.close().await.unwrap();
}

#[tokio::test]
async fn closing_writes_what_is_on_its_way_and_ends_waits() {
    let world = setup();
    let handle = world.client.dispatch(Double::new(1_u64)).await.unwrap();
    let waiting = tokio::spawn(handle.into_future());
    settle_down().await;
    world.faulty.inject(Operation::Push, Fault::HangBefore, 1);
    let late = tokio::spawn({
        let client = world.client.clone();
        async move { client.dispatch(Double::new(2_u64)).await }
    });
    world.faulty.until_hanging(1).await;
    let closing = tokio::spawn({
        let client = world.client.clone();
        async move { client.close().await }
    });
    settle_down().await;
    assert!(!closing.is_finished(), "closing waits for the push");
    world.faulty.release();
    closing.await.unwrap().unwrap();
    late.await.unwrap().unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(world.client.dispatch(Double::new(3_u64)).await.unwrap_err().kind(), ErrorKind::Closed);
    world.client.close().await.unwrap();
}
