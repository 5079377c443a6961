//! Two stores that are asked the same and must answer the same.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use taskwright::Name;
use taskwright::backend::memory::Memory;
use taskwright::backend::{
    Backend, Cancel, Claim, Extend, Inspect, JobFilter, LimitSource, Limiter, Push, QueueClaim, Reap, Renewal, Results,
    Retention, Settled, Settlement, WorkerRecord,
};
use taskwright::codec::{Codec, Payload};
use taskwright::job::{Allowance, BatchId, Job, JobId, JobLimit, Lease, Progress, State, WorkerId};
use taskwright::policy::Verdict;
use taskwright::policy::limits::queue_key;
use taskwright::testing::Draft;
use taskwright::time::{Clock, Timestamp};

use crate::invariants::Invariants;
use crate::steps::{FilterStep, JobStep, Step, UniqueStep};

pub(crate) type Checked<T = ()> = Result<T, TestCaseError>;

const TTL: Duration = Duration::from_secs(5);
const RETENTION: Retention = Retention {
    expired_result: Duration::from_secs(3),
    discarded: Duration::from_secs(9),
    cancelled: Duration::from_secs(6),
};
/// More than a run ever has, for what a store may choose from when it is limited.
const ALL: usize = 10_000;
/// The number of the name that the task of tagged jobs has.
const TAGGED: u8 = 9;
/// The number of the name that the task of other jobs with a unique key has.
const UNTAGGED: u8 = 8;

/// Memory and another store, one clock for both, and what has been done to them.
pub(crate) struct Pair<'a> {
    model: Memory,
    other: &'a dyn Backend,
    clock: Clock,
    started: Timestamp,
    batches: Vec<Push>,
    ids: Vec<JobId>,
    claims: Vec<Claimed>,
    invariants: Invariants,
    /// The states in which jobs were seen.
    pub(crate) states: BTreeSet<State>,
    /// Makes ids, so that a run can be repeated.
    made: u64,
}

/// A job that both stores handed out, each under a lease of its own.
struct Claimed {
    model: (Lease, Job),
    other: (Lease, Job),
}

impl<'a> Pair<'a> {
    pub(crate) fn new(model: Memory, other: &'a dyn Backend, clock: Clock) -> Self {
        Self {
            model,
            other,
            started: clock.now(),
            clock,
            batches: Vec::new(),
            ids: Vec::new(),
            claims: Vec::new(),
            invariants: Invariants::default(),
            states: BTreeSet::new(),
            made: 0,
        }
    }

    /// Does one step to both, compares what they answered, then all that they hold.
    pub(crate) async fn take(&mut self, step: &Step) -> Checked {
        match step {
            Step::Push(jobs) => self.push_new(jobs).await?,
            Step::PushAgain(batch) => {
                if let Some(push) = pick(&self.batches, *batch).cloned() {
                    self.push(&push).await?;
                }
            }
            Step::PushJobsAgain(batch) => {
                if let Some(push) = pick(&self.batches, *batch).cloned() {
                    let batch = BatchId::from_bytes(self.fresh());
                    self.push(&Push { batch, ..push }).await?;
                }
            }
            Step::Claim { worker, queues, limit, knows_all, aging } => {
                let unknown = if *knows_all { vec![] } else { vec![name(TAGGED)] };
                let queues =
                    queues.iter().map(|(queue, limit)| QueueClaim { queue: name(*queue), limit: *limit }).collect();
                let (worker, limit, aging) = (crate::pair::worker(*worker), *limit, *aging);
                self.claim(Claim { worker, queues, limit, unknown, ttl: TTL, max_crashes: 3, aging }).await?;
            }
            Step::Settle(ends) => self.settle(ends).await?,
            Step::Extend { worker, leases } => self.extend(*worker, leases).await?,
            Step::Cancel(jobs) => self.cancel(jobs).await?,
            Step::Reap { max_crashes } => self.reap(*max_crashes).await?,
            Step::Advance(time) => self.clock.advance(*time),
            Step::Change(change, filter) => {
                let filter = self.filter(filter);
                let model = self.model.change(change, &filter, ALL).await?;
                same("change", &model, &inspect(self.other)?.change(change, &filter, ALL).await?)?;
            }
            Step::Pause(queue, paused) => {
                self.model.pause(&name(*queue), *paused).await?;
                inspect(self.other)?.pause(&name(*queue), *paused).await?;
            }
            Step::Prune => {
                let model = self.model.prune(&RETENTION, ALL).await?;
                same("prune", &model, &inspect(self.other)?.prune(&RETENTION, ALL).await?)?;
            }
            Step::Deregister(number) => {
                self.model.deregister(worker(*number)).await?;
                inspect(self.other)?.deregister(worker(*number)).await?;
            }
            Step::SetLimit(number, by_hand, max) => {
                let source = if *by_hand { LimitSource::RunTime } else { LimitSource::Configuration };
                let allowance = max.map(Allowance::at_once).unwrap_or_default();
                self.model.set_limit(&key(*number), source, allowance).await?;
                limiter(self.other)?.set_limit(&key(*number), source, allowance).await?;
            }
        }
        self.compare().await
    }

    async fn push_new(&mut self, jobs: &[JobStep]) -> Checked {
        let jobs = jobs.iter().map(|job| self.draft(job).into()).collect();
        let push = Push { batch: BatchId::from_bytes(self.fresh()), jobs };
        self.ids.extend(push.jobs.iter().map(|job| job.spec.id));
        self.batches.push(push.clone());
        self.push(&push).await
    }

    async fn push(&mut self, push: &Push) -> Checked {
        same("push", &self.model.push(push).await?, &self.other.push(push).await?)
    }

    async fn claim(&mut self, claim: Claim) -> Checked {
        let (model, other) = (self.model.claim(&claim).await?.jobs, self.other.claim(&claim).await?.jobs);
        let jobs = |claimed: &[(Lease, Job)]| claimed.iter().map(|(_, job)| job.clone()).collect::<Vec<_>>();
        same("claim", &jobs(&model), &jobs(&other))?;
        self.invariants.claimed(&claim, &model, self.clock.now())?;
        self.claims.extend(model.into_iter().zip(other).map(|(model, other)| Claimed { model, other }));
        Ok(())
    }

    async fn settle(&mut self, ends: &[(usize, Verdict)]) -> Checked {
        let mut ends: Vec<_> =
            ends.iter().filter_map(|(claim, end)| Some((index(&self.claims, *claim)?, end))).collect();
        // One batch ends a claim once: what else it would mean no store promises.
        ends.sort_by_key(|(claim, _)| *claim);
        ends.dedup_by_key(|(claim, _)| *claim);
        let settlements = |side: fn(&Claimed) -> &(Lease, Job)| -> Vec<_> {
            let claims = ends.iter().map(|(claim, end)| (side(&self.claims[*claim]), *end));
            claims
                .map(|((lease, job), end)| Settlement { lease: *lease, job: job.clone(), verdict: end.clone() })
                .collect()
        };
        let model = self.model.settle(&settlements(|claim| &claim.model)).await?;
        let other = self.other.settle(&settlements(|claim| &claim.other)).await?;
        same("settle", &model, &other)?;
        for ((claim, _), settled) in ends.iter().zip(&model) {
            self.invariants.settled(&self.claims[*claim].model.0, *settled == Settled::Applied)?;
        }
        Ok(())
    }

    async fn extend(&mut self, number: u8, leases: &[(usize, bool)]) -> Checked {
        let mut leases: Vec<_> =
            leases.iter().filter_map(|(claim, news)| Some((index(&self.claims, *claim)?, *news))).collect();
        leases.sort_unstable();
        leases.dedup_by_key(|(claim, _)| *claim);
        let extend = |side: fn(&Claimed) -> &(Lease, Job)| Extend {
            worker: self.record(number),
            ttl: TTL,
            renewals: leases.iter().map(|(claim, news)| renewal(side(&self.claims[*claim]).0, *news)).collect(),
        };
        let model = self.model.extend(&extend(|claim| &claim.model)).await?;
        let other = self.other.extend(&extend(|claim| &claim.other)).await?;
        same("paused", &model.paused, &other.paused)?;
        let sorted = |leases: &[Lease]| sorted(leases.iter().map(|lease| (lease.job, lease.attempt)).collect());
        same("lost", &sorted(&model.lost), &sorted(&other.lost))?;
        let reasons = |cancelled: &[(Lease, String)]| {
            let mut reasons: Vec<_> = cancelled.iter().map(|(lease, reason)| (lease.job, reason.clone())).collect();
            reasons.sort();
            reasons
        };
        same("cancelled", &reasons(&model.cancelled), &reasons(&other.cancelled))?;
        for (claim, _) in &leases {
            let lease = self.claims[*claim].model.0;
            self.invariants.extended(&lease, !model.lost.contains(&lease), self.clock.now().after(TTL))?;
        }
        Ok(())
    }

    async fn cancel(&mut self, jobs: &[usize]) -> Checked {
        let mut ids: Vec<_> = jobs.iter().filter_map(|job| pick(&self.ids, *job).copied()).collect();
        ids.sort_unstable();
        ids.dedup();
        let cancel = Cancel { ids, reason: "by id".to_owned() };
        same("cancel", &self.model.cancel(&cancel).await?, &self.other.cancel(&cancel).await?)
    }

    async fn reap(&mut self, max_crashes: u32) -> Checked {
        let reap = Reap { limit: ALL, max_crashes };
        same("reap", &self.model.reap(&reap).await?, &self.other.reap(&reap).await?)?;
        self.invariants.reaped(self.clock.now());
        Ok(())
    }

    /// Compares all that can be seen of both, and checks what must hold of any store.
    async fn compare(&mut self) -> Checked {
        let now = self.clock.now();
        let everything = JobFilter::default();
        let model = self.model.list(&everything, None, ALL).await?;
        let other = inspect(self.other)?.list(&everything, None, ALL).await?;
        same("jobs", &model, &other)?;
        self.states.extend(model.iter().map(|job| job.state));
        self.invariants.hold(&model, now)?;
        let results = self.other.results().ok_or_else(|| TestCaseError::fail("no results facet"))?;
        same("results", &self.model.fetch(&self.ids).await?, &results.fetch(&self.ids).await?)?;
        same("limits", &self.model.limits(None, ALL).await?, &limiter(self.other)?.limits(None, ALL).await?)?;
        same("queues", &self.model.queues().await?, &inspect(self.other)?.queues().await?)?;
        same("workers", &self.model.workers().await?, &inspect(self.other)?.workers().await?)
    }

    fn draft(&mut self, job: &JobStep) -> Draft {
        let id = JobId::from_bytes(self.fresh());
        let mut draft = Draft::new(name(job.queue)).with_id(id).priority(job.priority).attempts(job.attempts);
        draft = draft.delay(job.delay);
        draft = job.expires.into_iter().fold(draft, Draft::expires);
        draft = job.keep.into_iter().fold(draft, Draft::keep);
        if let Some(UniqueStep { key, until, conflict }) = job.unique {
            draft = draft.unique(format!("key-{key}")).until(until).on_conflict(conflict);
            // One task for all queues, so that jobs of one replace those of another.
            draft = draft.task(&name(UNTAGGED)).payload(id.as_bytes().to_vec());
        }
        draft.spec.limits = job
            .limits
            .iter()
            .map(|(number, allowance, weight)| JobLimit { key: key(*number), allowance: *allowance, weight: *weight })
            .collect();
        if job.tagged { draft.tag("tagged").task(&name(TAGGED)) } else { draft }
    }

    fn filter(&self, filter: &FilterStep) -> JobFilter {
        JobFilter {
            ids: filter.ids.iter().filter_map(|id| pick(&self.ids, *id).copied()).collect(),
            states: filter.states.clone(),
            queue: filter.queue.map(name),
            tag: filter.tagged.then(|| "tagged".to_owned()),
            ..JobFilter::default()
        }
    }

    fn record(&self, number: u8) -> WorkerRecord {
        WorkerRecord {
            id: worker(number),
            host: "here".to_owned(),
            pid: u32::from(number),
            program: "properties".to_owned(),
            started: self.started,
            queues: vec![name(0), name(1), name(2)],
            concurrency: 4,
        }
    }

    /// Bytes for an id that was not made before and does not sort by when it was made.
    fn fresh(&mut self) -> [u8; 16] {
        self.made += 1;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.made.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        bytes
    }
}

pub(crate) fn payload() -> Payload {
    Payload { codec: Codec::MessagePack, bytes: vec![0xc3].into() }
}

fn renewal(lease: Lease, news: bool) -> Renewal {
    Renewal { lease, progress: news.then(|| Progress { fraction: 0.5, note: "half".to_owned() }) }
}

fn inspect(backend: &dyn Backend) -> Checked<&dyn Inspect> {
    backend.inspect().ok_or_else(|| TestCaseError::fail("no inspect facet"))
}

fn limiter(backend: &dyn Backend) -> Checked<&dyn Limiter> {
    backend.limiter().ok_or_else(|| TestCaseError::fail("no limiter facet"))
}

fn same<T: PartialEq + Debug>(what: &str, model: &T, other: &T) -> Checked {
    prop_assert!(model == other, "{what} differs\n  memory: {model:#?}\n  other: {other:#?}");
    Ok(())
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}

fn index<T>(items: &[T], number: usize) -> Option<usize> {
    // The latest are the likeliest to be of interest, and shrink towards nought.
    (!items.is_empty()).then(|| items.len() - 1 - number % items.len())
}

fn pick<T>(items: &[T], number: usize) -> Option<&T> {
    items.get(index(items, number)?)
}

/// Three keys of jobs, and those of the three queues.
fn key(number: u8) -> String {
    if number < 3 { format!("key-{number}") } else { queue_key(&name(number - 3)) }
}

fn name(queue: u8) -> Name {
    Name::new(format!("queue-{queue}")).unwrap()
}

fn worker(number: u8) -> WorkerId {
    WorkerId::from_bytes([number + 1; 16])
}
