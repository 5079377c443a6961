//! What is particular to this store; what it shares with others is in the conformance suite.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::backend::{Hint, KeptOutcome, Listener, QueueClaim, Retention, WorkerRecord};
use crate::codec::{Codec, Payload};
use crate::job::{BatchId, JobId, JobSpec, NewJob, Outcome, State, When, WorkerId};
use crate::policy::{Backoff, Verdict};

const TTL: Duration = Duration::from_secs(30);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn new_job(queue: &str, due: When) -> NewJob {
    let spec = JobSpec {
        id: JobId::new(),
        task: name("test"),
        queue: name(queue),
        payload: Payload::encode(Codec::MessagePack, &()).unwrap(),
        priority: 0,
        max_attempts: 3,
        timeout: None,
        backoff: Backoff::DEFAULT,
        keep_result: None,
        unique: None,
        limits: Vec::new(),
        headers: std::collections::BTreeMap::default(),
        tags: Vec::new(),
        parent: None,
    };
    NewJob { spec: Arc::new(spec), due, expires: None }
}

fn push_of(jobs: Vec<NewJob>) -> Push {
    Push { batch: BatchId::new(), jobs }
}

fn claim_of(queue: &str, limit: usize) -> Claim {
    let queues = vec![QueueClaim { queue: name(queue), limit }];
    Claim { worker: WorkerId::new(), queues, limit, unknown: vec![], ttl: TTL, max_crashes: 3, aging: None }
}

async fn complete(memory: &Memory, claimed: Claimed) -> Vec<Settled> {
    let verdict = Verdict::Complete { result: None };
    let end = |(lease, job)| Settlement { lease, job, verdict: verdict.clone() };
    memory.settle(&claimed.jobs.into_iter().map(end).collect::<Vec<_>>()).await.unwrap()
}

#[tokio::test]
async fn fifty_thousand_jobs_due_at_one_instant_all_come_out() {
    let clock = Clock::stopped();
    let memory = Memory::with_clock(clock.clone());
    let due = When::At(clock.now().after(Duration::from_mins(1)));
    memory.push(&push_of((0..50_000).map(|_| new_job("mail", due)).collect())).await.unwrap();
    let before = memory.claim(&claim_of("mail", 10_000)).await.unwrap();
    assert_eq!((before.jobs.len(), before.next_due), (0, Some(Duration::from_mins(1))));

    clock.advance(Duration::from_mins(1));
    for _ in 0..5 {
        let claimed = memory.claim(&claim_of("mail", 10_000)).await.unwrap();
        assert_eq!(claimed.jobs.len(), 10_000);
        assert!(complete(&memory, claimed).await.iter().all(|settled| *settled == Settled::Applied));
    }
    assert_eq!(memory.claim(&claim_of("mail", 10_000)).await.unwrap().next_due, None);
}

#[tokio::test]
async fn a_store_that_was_emptied_holds_nothing() {
    let memory = Memory::new();
    memory.push(&push_of((0..100).map(|_| new_job("mail", When::NOW)).collect())).await.unwrap();
    complete(&memory, memory.claim(&claim_of("mail", 100)).await.unwrap()).await;
    memory.reap(&Reap { limit: 1, max_crashes: 3 }).await.unwrap();
    let store = memory.shared.store.lock().unwrap();
    assert_eq!(store.jobs.iter().count() + store.by_id.len() + store.queues.len() + store.finished.len(), 0);
}

#[tokio::test]
async fn a_clock_that_is_turned_back_makes_no_job_early() {
    let clock = Clock::stopped();
    let memory = Memory::with_clock(clock.clone());
    memory.push(&push_of(vec![new_job("mail", When::After(TTL)), new_job("mail", When::After(TTL))])).await.unwrap();
    clock.advance(TTL);
    assert_eq!(memory.claim(&claim_of("mail", 1)).await.unwrap().jobs.len(), 1);
    clock.turn_back(TTL);
    let claimed = memory.claim(&claim_of("mail", 1)).await.unwrap();
    assert_eq!((claimed.jobs.len(), claimed.next_due), (0, Some(TTL)));
    clock.advance(TTL);
    assert_eq!(memory.claim(&claim_of("mail", 1)).await.unwrap().jobs.len(), 1);
}

#[tokio::test]
async fn a_closed_handle_refuses_everything_and_leaves_the_others_open() {
    let memory = Memory::new();
    let other = memory.share();
    let mut listener = memory.listen().await.unwrap();
    memory.close().await.unwrap();
    memory.close().await.unwrap();

    let closed = |error: Error| assert_eq!(error.kind(), ErrorKind::Closed);
    closed(memory.push(&push_of(vec![new_job("mail", When::NOW)])).await.unwrap_err());
    closed(memory.queues().await.unwrap_err());
    closed(memory.listen().await.err().unwrap());
    closed(listener.next().await.unwrap_err());
    other.push(&push_of(vec![new_job("mail", When::NOW)])).await.unwrap();
}

#[tokio::test]
async fn handles_of_one_name_share_their_jobs() {
    let (one, two) = (Memory::named(&name("tests.shared")), Memory::named(&name("tests.shared")));
    one.push(&push_of(vec![new_job("mail", When::NOW)])).await.unwrap();
    assert_eq!(two.claim(&claim_of("mail", 9)).await.unwrap().jobs.len(), 1);
    assert!(Memory::named(&name("tests.alone")).claim(&claim_of("mail", 9)).await.unwrap().jobs.is_empty());
}

async fn hints(listener: &mut Box<dyn Listener>, count: usize) -> Vec<Hint> {
    let mut hints = Vec::new();
    for _ in 0..count {
        hints.push(listener.next().await.unwrap());
    }
    hints
}

#[tokio::test]
async fn hints_are_coalesced_until_they_are_heard() {
    let memory = Memory::new();
    let mut listener = memory.listen().await.unwrap();
    for queue in ["mail", "slow", "mail"] {
        memory.push(&push_of(vec![new_job(queue, When::NOW), new_job(queue, When::NOW)])).await.unwrap();
    }
    memory.pause(&name("mail"), true).await.unwrap();
    let expected = [Hint::Jobs(name("mail")), Hint::Jobs(name("slow")), Hint::Control];
    assert_eq!(hints(&mut listener, 3).await, expected);

    memory.push(&push_of(vec![new_job("mail", When::NOW)])).await.unwrap();
    assert_eq!(listener.next().await.unwrap(), Hint::Jobs(name("mail")));
}

#[tokio::test]
async fn a_listener_that_falls_behind_is_told_that_anything_may_have_happened() {
    let memory = Memory::new();
    let mut listener = memory.listen().await.unwrap();
    for number in 0..1_000 {
        memory.push(&push_of(vec![new_job(&format!("queue-{number}"), When::NOW)])).await.unwrap();
    }
    assert_eq!(listener.next().await.unwrap(), Hint::Everything);
    memory.push(&push_of(vec![new_job("mail", When::NOW)])).await.unwrap();
    assert_eq!(listener.next().await.unwrap(), Hint::Jobs(name("mail")));
}

#[tokio::test]
async fn a_job_called_off_while_it_ran_does_not_wait_again() {
    let clock = Clock::stopped();
    let memory = Memory::with_clock(clock.clone());
    let job = new_job("mail", When::NOW);
    let id = job.spec.id;
    memory.push(&push_of(vec![job])).await.unwrap();
    memory.claim(&claim_of("mail", 1)).await.unwrap();
    let cancel = Cancel { ids: vec![id], reason: "by hand".to_owned() };
    assert_eq!(memory.cancel(&cancel).await.unwrap(), [Cancelled::Requested]);

    clock.advance(TTL);
    memory.reap(&Reap { limit: 9, max_crashes: 3 }).await.unwrap();
    assert_eq!(memory.cancel(&cancel).await.unwrap(), [Cancelled::Finished(State::Cancelled)]);
}

#[tokio::test]
async fn a_worker_is_listed_until_its_heartbeat_lapses() {
    let clock = Clock::stopped();
    let memory = Memory::with_clock(clock.clone());
    let id = WorkerId::new();
    let worker = WorkerRecord {
        id,
        host: "here".to_owned(),
        pid: 1,
        program: "tests".to_owned(),
        started: clock.now(),
        queues: vec![name("mail")],
        concurrency: 4,
    };
    memory.extend(&Extend { worker, ttl: TTL, renewals: Vec::new() }).await.unwrap();
    memory.push(&push_of(vec![new_job("mail", When::NOW)])).await.unwrap();
    memory.claim(&Claim { worker: id, ..claim_of("mail", 1) }).await.unwrap();
    assert_eq!(memory.workers().await.unwrap().first().map(|worker| worker.running), Some(1));
    clock.advance(TTL);
    assert!(memory.workers().await.unwrap().is_empty());
}

#[tokio::test]
async fn outcomes_of_another_backend_are_kept_expire_and_are_pruned() {
    let clock = Clock::stopped();
    let memory = Memory::with_clock(clock.clone());
    let outcome = Outcome {
        id: JobId::new(),
        state: State::Completed,
        attempt: 2,
        finished: clock.now(),
        result: None,
        failure: None,
    };
    let older = Outcome { attempt: 1, ..outcome.clone() };
    for outcome in [&outcome, &older] {
        memory.keep(&[KeptOutcome { outcome: outcome.clone(), ttl: TTL }]).await.unwrap();
    }
    assert_eq!(memory.fetch(&[outcome.id]).await.unwrap(), [crate::backend::Fetched::Finished(outcome.clone())]);

    clock.advance(TTL);
    assert_eq!(memory.fetch(&[outcome.id]).await.unwrap(), [crate::backend::Fetched::Expired]);
    clock.advance(Retention::default().expired_result);
    assert_eq!(memory.prune(&Retention::default(), 9).await.unwrap().count, 1);
    assert_eq!(memory.fetch(&[outcome.id]).await.unwrap(), [crate::backend::Fetched::Absent]);
}

#[tokio::test]
async fn a_repeated_batch_is_answered_as_before_until_an_hour_has_passed() {
    let clock = Clock::stopped();
    let memory = Memory::with_clock(clock.clone());
    let push = push_of(vec![new_job("mail", When::NOW)]);
    assert_eq!(memory.push(&push).await.unwrap(), [Pushed::Stored]);
    complete(&memory, memory.claim(&claim_of("mail", 1)).await.unwrap()).await;
    assert_eq!(memory.push(&push).await.unwrap(), [Pushed::Repeated]);
    clock.advance(Duration::from_hours(1));
    assert_eq!(memory.push(&push).await.unwrap(), [Pushed::Stored]);
}
