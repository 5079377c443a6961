//! Results that are kept in another store than the jobs, while either of the two fails.

use std::sync::Arc;
use std::time::Duration;

use taskwright::backend::memory::Memory;
use taskwright::backend::{
    Backend, Change, Claim, Fetched, JobFilter, Keeper, KeptOutcome, Push, QueueClaim, Reap, ResultsApart, Settled,
    Settlement,
};
use taskwright::codec::{Codec, Payload};
use taskwright::job::{BatchId, Failure, FailureKind, Job, Lease, WorkerId};
use taskwright::policy::Verdict;
use taskwright::prelude::*;
use taskwright::registry::Registry;
use taskwright::testing::Draft;
use taskwright::testing::faulty::{Fault, Faulty, Operation};
use taskwright::time::Clock;
use taskwright::{Client, JobId, Name, State};

use crate::site::{Running, within};

const HOUR: Duration = Duration::from_hours(1);
const LEASE: Duration = Duration::from_secs(30);

/// Two stores in memory that fail on request, and one backend made of them.
struct Pair {
    jobs: Arc<Faulty>,
    results: Arc<Faulty>,
    both: Arc<dyn Backend>,
    clock: Clock,
}

impl Pair {
    fn new() -> Self {
        let clock = Clock::system();
        let faulty = || Arc::new(Faulty::new(Arc::new(Memory::with_clock(clock.clone())), 0));
        let (jobs, results) = (faulty(), faulty());
        let keeper = Keeper::new(Arc::clone(&results) as Arc<dyn Backend>).unwrap();
        let both = Arc::new(ResultsApart::of_store(Arc::clone(&jobs) as Arc<dyn Backend>, keeper));
        Self { jobs, results, both, clock }
    }

    async fn push(&self, job: Draft) -> JobId {
        let id = job.id();
        self.both.push(&Push { batch: BatchId::new(), jobs: vec![job.into()] }).await.unwrap();
        id
    }

    async fn claim(&self) -> (Lease, Job) {
        let queues = vec![QueueClaim { queue: mail(), limit: 1 }];
        let claim = Claim {
            worker: WorkerId::new(),
            queues,
            limit: 1,
            unknown: vec![],
            ttl: LEASE,
            max_crashes: 3,
            aging: None,
        };
        self.both.claim(&claim).await.unwrap().jobs.pop().unwrap()
    }

    async fn lapse(&self) {
        self.clock.advance(LEASE);
        assert_eq!(self.both.reap(&Reap { limit: 9, max_crashes: 3 }).await.unwrap().returned, 1);
    }

    /// What the results say, and what the store of the jobs says alone.
    async fn known(&self, id: JobId) -> (Fetched, Fetched) {
        let of = async |backend: &dyn Backend| backend.results().unwrap().fetch(&[id]).await.unwrap().pop().unwrap();
        (of(&*self.both).await, of(&*self.jobs).await)
    }

    async fn result(&self, id: JobId) -> Option<Payload> {
        match self.known(id).await.0 {
            Fetched::Finished(outcome) => outcome.result,
            other => panic!("it has not ended: {other:?}"),
        }
    }
}

fn mail() -> Name {
    Name::new("mail").unwrap()
}

fn job() -> Draft {
    Draft::new(mail()).keep(HOUR)
}

fn text(text: &str) -> Payload {
    Payload::encode(Codec::Json, &text).unwrap()
}

fn returned((lease, job): &(Lease, Job), result: &str) -> [Settlement; 1] {
    [Settlement { lease: *lease, job: job.clone(), verdict: Verdict::Complete { result: Some(text(result)) } }]
}

#[tokio::test]
async fn result_lies_with_the_results_alone() {
    let pair = Pair::new();
    let id = pair.push(job()).await;
    assert!(matches!(pair.known(id).await.0, Fetched::Pending { state: State::Available, .. }));
    let held = pair.claim().await;
    assert_eq!(pair.both.settle(&returned(&held, "done")).await.unwrap(), [Settled::Applied]);
    assert_eq!(pair.result(id).await, Some(text("done")));
    let Fetched::Finished(alone) = pair.known(id).await.1 else { panic!("the store knows that it has ended") };
    assert_eq!((alone.state, alone.result), (State::Completed, None));
    let listed = pair.both.inspect().unwrap().list(&JobFilter::default(), None, 9).await.unwrap();
    assert_eq!(listed[0].result, Some(text("done")), "who looks at the job sees its result");
    pair.clock.advance(HOUR);
    assert_eq!(pair.known(id).await.0, Fetched::Expired);
}

#[tokio::test]
async fn nothing_is_settled_that_could_not_be_kept() {
    for fault in [Fault::ErrorBefore, Fault::ErrorAfter] {
        let pair = Pair::new();
        let id = pair.push(job()).await;
        let held = pair.claim().await;
        pair.results.inject(Operation::Keep, fault, 1);
        let error = pair.both.settle(&returned(&held, "done")).await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("results_url"), "{error}");
        assert!(matches!(pair.known(id).await.0, Fetched::Pending { state: State::Running, .. }));
        assert_eq!(pair.both.settle(&returned(&held, "done")).await.unwrap(), [Settled::Applied]);
        assert_eq!(pair.result(id).await, Some(text("done")), "keeping it twice changes nothing");
    }
}

#[tokio::test]
async fn job_whose_end_was_kept_but_not_settled_runs_again_and_the_later_outcome_stands() {
    let pair = Pair::new();
    let id = pair.push(job()).await;
    let first = pair.claim().await;
    pair.jobs.fail_next(Operation::Settle, 1);
    pair.both.settle(&returned(&first, "first")).await.unwrap_err();
    assert!(matches!(pair.known(id).await.0, Fetched::Pending { .. }), "the store of the jobs decides");
    pair.lapse().await;
    let second = pair.claim().await;
    assert_eq!(second.1.attempt, 2);
    pair.both.settle(&returned(&second, "second")).await.unwrap();
    assert_eq!(pair.both.settle(&returned(&first, "late")).await.unwrap(), [Settled::LeaseLost]);
    assert_eq!(pair.result(id).await, Some(text("second")));
}

#[tokio::test]
async fn late_result_is_not_that_of_a_job_that_was_discarded() {
    let pair = Pair::new();
    let id = pair.push(job().attempts(2)).await;
    let stale = pair.claim().await;
    pair.lapse().await;
    let (lease, job) = pair.claim().await;
    let failure = Failure::new(FailureKind::Error, "it broke");
    let discard = Settlement { lease, job, verdict: Verdict::Discard { failure: failure.clone() } };
    pair.both.settle(&[discard]).await.unwrap();
    assert_eq!(pair.both.settle(&returned(&stale, "late")).await.unwrap(), [Settled::LeaseLost]);
    let kept = pair.results.results().unwrap().fetch(&[id]).await.unwrap().pop().unwrap();
    for known in [pair.known(id).await.0, kept] {
        let Fetched::Finished(outcome) = known else { panic!("it has ended: {known:?}") };
        assert_eq!((outcome.state, outcome.failure), (State::Discarded, Some(failure.clone())));
    }
}

#[tokio::test]
async fn deleted_job_leaves_no_result_behind() {
    let pair = Pair::new();
    let id = pair.push(job()).await;
    let held = pair.claim().await;
    pair.both.settle(&returned(&held, "done")).await.unwrap();
    let deleted = pair.both.inspect().unwrap().change(&Change::Delete, &JobFilter::default(), 9).await.unwrap();
    assert_eq!((deleted.count, deleted.more), (1, false));
    assert_eq!(pair.known(id).await.0, Fetched::Absent);
    assert_eq!(pair.results.results().unwrap().fetch(&[id]).await.unwrap(), [Fetched::Absent]);
}

#[tokio::test]
async fn outcomes_that_have_ended_are_removed_while_jobs_are_reaped() {
    let pair = Pair::new();
    let outcome = taskwright::job::Outcome {
        id: JobId::new(),
        state: State::Completed,
        attempt: 1,
        finished: pair.clock.now(),
        result: None,
        failure: None,
    };
    let id = outcome.id;
    let results = pair.results.results().unwrap();
    results.keep(&[KeptOutcome { outcome, ttl: Duration::ZERO }]).await.unwrap();
    assert_eq!(results.fetch(&[id]).await.unwrap(), [Fetched::Expired]);
    pair.clock.advance(2 * HOUR);
    pair.both.reap(&Reap { limit: 9, max_crashes: 3 }).await.unwrap();
    assert_eq!(results.fetch(&[id]).await.unwrap(), [Fetched::Absent]);
}

#[task]
async fn echo(text: String) -> TaskResult<String> {
    Ok(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handles_wait_until_the_results_are_back() {
    let pair = Pair::new();
    pair.results.fail_next(Operation::Keep, 3);
    pair.results.fail_next(Operation::Fetch, 3);
    let client = Client::new(Arc::clone(&pair.both));
    let registry = Registry::new().with::<Echo>().unwrap();
    let worker =
        taskwright::Worker::new(client.clone(), registry, Arc::default(), taskwright::worker::WorkerOptions::default());
    let worker = Running::start(worker.unwrap());
    let handle = client.dispatch(Echo::new("hello")).await.unwrap();
    assert_eq!(within(handle).await.unwrap(), "hello");
    let summary = worker.stop().await;
    assert_eq!((summary.completed, summary.lost), (1, 0));
}
