//! **The contract** between Taskwright and a store of jobs.
//!
//! A backend is one type that implements [`Backend`]: eight operations that every store can do, all batched, and
//! [facets](#facets) for what only some can.
//! It moves jobs between three places (waiting, leased, finished) and decides nothing itself: what happens to a job
//! is a pure function in [`policy::state`](crate::policy::state), and the backend stores its answer.
//! Retries, spans and error context are added around every backend by one wrapper, so a backend holds store logic only.
//!
//! # Promises
//!
//! Each has cases in the conformance suite that cite its number; [`testing`](crate::testing) runs them on any backend.
//!
//! - **P1** A pushed job is stored whole or not at all, is as durable when acknowledged as [`Info::durability`] says,
//!   and a repeated push adds nothing: the same [`BatchId`] within an hour, or the same id while the job exists.
//! - **P2** A job has at most one live lease.
//! - **P3** [`settle`](Backend::settle), [`extend`](Backend::extend) and progress change only the claim whose
//!   [`Lease::token`] they carry; a stale one is told so and changes nothing.
//! - **P4** Nothing is handed out before it is due, by the store's clock.
//! - **P5** An expired lease is back, or discarded as poison, within one [`reap`](Backend::reap) that has room for it.
//! - **P6** Claims of a queue go by priority (higher first), then due time, then id; best effort across workers.
//!   Where the claim asks for [aging](Claim::aging), priority and due time make one key, so that no priority starves
//!   another: [`policy::order`](crate::policy::order) says which job goes first.
//! - **P7** A unique key has at most one job at a time, until that is done, is started, or a time has elapsed
//!   ([`Until`](crate::job::Until)), under concurrent pushes, retries and rescues; who comes second skips, replaces or
//!   is refused, and learns which job has it.
//! - **P8** A job whose task a worker does not know keeps its attempts when it is given back as [`Return::UnknownTask`];
//!   from then on the worker names the task in [`Claim::unknown`], and a store that [can](Info::passes_over) leaves such
//!   jobs to others. However many they are, what lies behind them is handed out.
//! - **P9** A job cancelled before it was claimed never runs; the holder of a running one hears it from its next
//!   [`extend`](Backend::extend).
//! - **P10** A job past its expiry is never handed out.
//! - **P11** A paused queue hands out nothing.
//! - **P12** A kept result is readable once its job is completed, until its time to live ends; absent, pending and
//!   expired can be told apart.
//! - **P13** Limits are never exceeded, also under faults, and count live leases: a slot is free again when its lease
//!   has ended, however it did. What waits for a limit costs no attempt and stands in nobody's way.
//! - **P14** A job given back by a stopping worker keeps its attempts.
//! - **P15** Every write may be repeated after an unknown outcome: executed, but the caller saw an error.
//!   A repeated settle answers [`Settled::LeaseLost`], which whoever repeats it takes for done.
//! - **P16** Retention removes terminal jobs in bounded batches.
//! - **P17** Schema changes are additive, may run concurrently, and touch nothing but their own tables or keys.
//!
//! # Time
//!
//! A store goes by one clock, its own; callers send durations wherever they can.
//! [`Clock`](crate::time::Clock) lets a test move that clock: embedded stores ask it, servers add its offset.
//!
//! # Limits
//!
//! A job counts against its own limits ([`JobSpec::limits`](crate::job::JobSpec::limits)) and against that of its queue,
//! whose key is [`queue_key`](crate::policy::limits::queue_key), where one is set.
//! It holds its slots from its claim to the end of its lease, also while a lapsed one is not yet reaped, and counts as
//! started at its claim; a start is not given back.
//! Jobs of one queue with the same limits are a lane.
//! Within a lane the order is that of P6; lanes take turns, and half of what a claim takes of a queue goes to lanes where
//! jobs without limits are due too.
//! A job that is due and waits for a limit is [`Available`](State::Available).
//!
//! # Facets
//!
//! [`Results`], [`Wake`], [`Leader`], [`Inspect`], [`Limiter`], [`Ledger`] and [`Transaction`] are reached through methods
//! that answer `None` where the store can't do it.
//! Results may lie in another store than the jobs, and hints go through another one: [`ResultsApart`] and [`EventsApart`]
//! make one backend of the two.
//! Nothing has a default body, so that a wrapper which forgets one does not compile.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::job::{Allowance, BatchId, Job, JobId, Lease, Name, NewJob, Outcome, Progress, State, WorkerId};
use crate::policy::Verdict;
#[cfg(doc)]
use crate::policy::state::Return;
use crate::time::Timestamp;

mod apart;
pub mod connect;
mod events;
mod keeper;
mod listeners;
mod location;
pub mod memory;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub mod sql;
mod traced;

pub use apart::ResultsApart;
pub use events::EventsApart;
pub use keeper::Keeper;
pub use traced::Traced;

/// A store of jobs.
///
/// Every method takes a batch and answers for each of its parts, in the order asked.
/// An error means that the whole call failed and that any part of it may have happened (P15); what concerns one job
/// alone is an answer, never an error.
/// An empty batch is answered without asking the store.
/// Dropping a returned future leaves the call done or not done, never half done.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// What this store is and where its limits lie; the same for the life of the backend.
    fn info(&self) -> &Info;

    /// Stores jobs (P1, P7) and hints to whoever waits for their queues, once per batch.
    ///
    /// A job is due at its [`When`](crate::job::When), resolved by the store's clock.
    /// With [`Info::atomic_push`] either all jobs of the batch are stored (those answered otherwise excepted) or none.
    /// A batch pushed again is answered as at first, with [`Pushed::Repeated`] in place of [`Pushed::Stored`]: what it
    /// stored may have ended since, a job that was refused is refused again, and one that replaced another does not
    /// do so again.
    /// Jobs of one batch with the same unique key meet in their order: the first is stored, and the second conflicts with
    /// it or changes it.
    /// [`policy::unique`](crate::policy::unique) says who has a key, and what a push changes.
    ///
    /// A store without [`Limiter`] refuses jobs with limits, and stores nothing of their batch.
    async fn push(&self, push: &Push) -> Result<Vec<Pushed>>;

    /// Hands out jobs that are due, in order (P2, P4, P6, P10, P11, P13), each under a lease that lives for `ttl`.
    ///
    /// Queues, all different, are served in the order given, each up to its own limit, all together up to the claim's.
    /// Every job comes out as [`policy::state::claim`](crate::policy::state::claim) left it.
    async fn claim(&self, claim: &Claim) -> Result<Claimed>;

    /// Renews leases for `ttl` from now, writes progress (P3), and tells the worker what it should know (P9, P11).
    ///
    /// A lease lives until `ttl` has passed since it was given or renewed, and lapses at that moment.
    /// One that lapsed but was not yet reaped is renewed, and may still be settled.
    /// That a job was called off is told every time, until its attempt ends.
    /// A worker may send it without leases, to be seen and to hear which queues are paused.
    async fn extend(&self, extend: &Extend) -> Result<Extended>;

    /// Ends attempts (P3, P15): each job becomes what [`policy::state::settle`](crate::policy::state::settle) says.
    ///
    /// State and result are written together or not at all.
    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>>;

    /// Calls jobs off (P9): waiting ones end at once, running ones are marked.
    ///
    /// A marked job never waits again.
    /// Where its attempt put it back (a retry, a return, a crash), it ends by
    /// [`policy::state::heed`](crate::policy::state::heed) with this reason after all; any other ending stands.
    async fn cancel(&self, cancel: &Cancel) -> Result<Vec<Cancelled>>;

    /// Puts back or discards jobs whose lease has lapsed (P5), and ends waiting jobs whose expiry has passed (P10).
    ///
    /// Lapsed leases go first, those that lapsed earliest before the others; each call does at most `limit` jobs.
    /// Any number of workers may reap at once.
    async fn reap(&self, reap: &Reap) -> Result<Reaped>;

    /// Lets go of connections and files. Calls after it fail with [`ErrorKind::Closed`];
    /// closing twice is fine.
    async fn close(&self) -> Result<()>;

    /// Keeps outcomes and lets them be asked for.
    fn results(&self) -> Option<&dyn Results>;

    /// Says when something happened, so that nobody needs to poll.
    fn wake(&self) -> Option<&dyn Wake>;

    /// Elects one worker for what only one should do.
    fn leader(&self) -> Option<&dyn Leader>;

    /// Lists, counts, changes and prunes jobs, queues and workers.
    fn inspect(&self) -> Option<&dyn Inspect>;

    /// Limits how many jobs of a key run at once, and how many start in a time.
    fn limiter(&self) -> Option<&dyn Limiter>;

    /// Hands out jobs that another backend carries here by their ids.
    fn ledger(&self) -> Option<&dyn Ledger>;

    /// Pushes inside a transaction that the caller began, and ends jobs inside one that their task wrote in.
    fn transaction(&self) -> Option<&dyn Transaction>;
}

/// What a store is.
#[derive(Clone, Debug)]
pub struct Info {
    /// Its name in messages and tables: `sqlite`.
    pub name: &'static str,
    /// Where it is, without secrets.
    pub location: String,
    /// What survives what, in words: `fsync at every commit`.
    pub durability: String,
    /// What in its configuration puts jobs at risk, one sentence each; `doctor` shows them.
    pub warnings: Vec<String>,
    /// The version of its tables since it was opened; `None` when they have none.
    pub schema: Option<Schema>,
    /// Whether a push stores all of its batch or nothing.
    pub atomic_push: bool,
    /// Whether a claim leaves jobs of tasks that its worker [does not know](Claim::unknown) where they are.
    /// Where not, they are handed out to whoever asks, and have to be given back with a delay.
    pub passes_over: bool,
    /// Whether a claim may ask for [aging](Claim::aging); where not, one that does is refused.
    pub ages: bool,
    /// Sizes and times past which the core works around it or refuses.
    pub limits: Limits,
}

/// At which version a store's tables are, and which this program brings them to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Schema {
    /// The version that the tables have; higher than `known` when a newer program has been here (P17).
    pub version: i64,
    /// The newest version that this program knows.
    pub known: i64,
}

/// Where a store's abilities end.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest payload or result, in bytes.
    pub max_payload: usize,
    /// The longest delay; `None` when any will do.
    pub max_delay: Option<Duration>,
    /// The most jobs in one push.
    pub max_push: usize,
    /// The most jobs in one claim.
    pub max_claim: usize,
    /// The longest that one claim can be held in all, however often it is extended; `None` when any time will do.
    pub max_lease: Option<Duration>,
    /// Moments closer together than this may be the same moment to it.
    pub time_precision: Duration,
}

/// Jobs to store.
#[derive(Clone, Debug)]
pub struct Push {
    /// Recognises this batch when it is pushed again.
    pub batch: BatchId,
    /// The jobs, with different ids.
    pub jobs: Vec<NewJob>,
}

/// What became of one pushed job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is stored.
    Stored,
    /// It was stored before, by this batch or another with the same id.
    Repeated,
    /// It is not stored: this job has its unique key.
    Conflict(JobId),
    /// It is not stored: this job has its unique key, waits, and was changed as
    /// [`policy::unique::replaced`](crate::policy::unique::replaced) says.
    Replaced(JobId),
}

/// A worker's wish for jobs.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Who asks.
    pub worker: WorkerId,
    /// Which queues, in the order in which they are served.
    pub queues: Vec<QueueClaim>,
    /// The most jobs of all queues together.
    pub limit: usize,
    /// Tasks that the worker has learned not to know, all different and at most [`Claim::MOST_UNKNOWN`]: where the store
    /// [passes over](Info::passes_over) their jobs, these are neither handed out nor counted in [`Claimed::next_due`].
    pub unknown: Vec<Name>,
    /// How long the leases live unless they are extended.
    pub ttl: Duration,
    /// A job that crashed its worker so often is discarded, where a crash shows only when the job is handed out again.
    pub max_crashes: u32,
    /// How long a job waits for each level of priority that it lacks; `None` for strict priorities, where what is high
    /// goes before what is low however long that has waited.
    ///
    /// With it, jobs of a queue or lane go by due time less priority times aging, then by id:
    /// [`policy::order::Turn`](crate::policy::order::Turn).
    /// A store that [does not age](Info::ages) refuses such a claim as [`ErrorKind::Unsupported`].
    pub aging: Option<Duration>,
}

impl Claim {
    /// The most names in [`Claim::unknown`].
    pub const MOST_UNKNOWN: usize = 64;
}

/// A worker's wish for jobs of one queue.
#[derive(Clone, Debug)]
pub struct QueueClaim {
    /// The queue.
    pub queue: Name,
    /// The most jobs of this queue.
    pub limit: usize,
}

/// Jobs handed out.
#[derive(Debug, Default)]
pub struct Claimed {
    /// The leases, each with its job.
    pub jobs: Vec<(Lease, Job)>,
    /// How long until these queues may have a job for the next claim, if the store knows; never later than the truth.
    ///
    /// Zero when the claim's limits left a due job behind; jobs of paused queues and expired ones don't count, nor do
    /// those that wait for a slot, whose end is a [hint](Hint::Jobs), nor, once due, those that were passed over.
    pub next_due: Option<Duration>,
}

/// A worker's heartbeat.
#[derive(Clone, Debug)]
pub struct Extend {
    /// Who is alive; kept by stores that list workers.
    pub worker: WorkerRecord,
    /// How long the leases live from now on.
    pub ttl: Duration,
    /// The leases to renew.
    pub renewals: Vec<Renewal>,
}

/// One lease to renew.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The lease.
    pub lease: Lease,
    /// How far its job is, if that is news.
    pub progress: Option<Progress>,
}

/// What a worker learns from its heartbeat.
#[derive(Clone, Debug, Default)]
pub struct Extended {
    /// Leases that are gone: stop working on these jobs.
    pub lost: Vec<Lease>,
    /// Jobs of these leases that somebody called off, and why.
    pub cancelled: Vec<(Lease, String)>,
    /// Queues of this worker that are paused.
    pub paused: Vec<Name>,
}

/// The end of one attempt.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The right to say so.
    pub lease: Lease,
    /// The job as it was claimed; a store may trust it, since nobody else may change a leased job.
    pub job: Job,
    /// How the attempt ended.
    pub verdict: Verdict,
}

/// What became of one settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is written.
    Applied,
    /// Nothing is changed: this claim has ended already.
    LeaseLost,
}

/// Jobs to call off.
#[derive(Clone, Debug)]
pub struct Cancel {
    /// The jobs.
    pub ids: Vec<JobId>,
    /// Why, for their history.
    pub reason: String,
}

/// What became of one cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It will never run.
    Ended,
    /// It is running, and its worker will hear of it.
    Requested,
    /// It had ended before, in this state.
    Finished(State),
    /// There is no such job, or no more.
    Absent,
}

/// A round of rescue.
#[derive(Clone, Copy, Debug)]
pub struct Reap {
    /// The most jobs in this round.
    pub limit: usize,
    /// A job that crashed its worker so often is discarded.
    pub max_crashes: u32,
}

/// What a round of rescue did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Jobs that wait again.
    pub returned: usize,
    /// Jobs discarded as poison, or because the crashed attempt was their last.
    pub discarded: usize,
    /// Waiting jobs that expired.
    pub expired: usize,
    /// Whether there may be more to do.
    pub more: bool,
    /// For how long nothing that is in the store now needs a reap; zero where that is not known.
    pub calm: Duration,
}

/// Facet: outcomes that can be asked for.
#[async_trait]
pub trait Results: Send + Sync {
    /// Keeps outcomes of jobs that another backend has; for the same job the later attempt's outcome stands, and of one
    /// attempt the latest that was kept.
    ///
    /// Where one of them says that its job has ended, it hints so. [`Fetched::of_kept`] says how they are answered.
    async fn keep(&self, outcomes: &[KeptOutcome]) -> Result<()>;

    /// What is known of these jobs (P12), in the order asked.
    async fn fetch(&self, ids: &[JobId]) -> Result<Vec<Fetched>>;
}

/// An outcome to keep.
#[derive(Clone, Debug)]
pub struct KeptOutcome {
    /// How the job ended; in a state that is not terminal, a mark that it has not.
    pub outcome: Outcome,
    /// How long to keep it.
    pub ttl: Duration,
}

/// What a results store knows of a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Fetched {
    /// Nothing: it was never pushed, nobody kept its outcome, or it was pruned.
    Absent,
    /// It has not ended.
    Pending {
        /// Where it stands.
        state: State,
        /// Which attempt it is at; 0 before the first.
        attempt: u32,
        /// How far it says it is.
        progress: Option<Progress>,
    },
    /// It ended like this.
    Finished(Outcome),
    /// It is completed, and its result's time to live has ended.
    Expired,
}

impl Fetched {
    /// What a [kept](Results::keep) outcome says, before or after its time to live has ended.
    #[must_use]
    pub fn of_kept(outcome: Outcome, ended: bool) -> Self {
        match (outcome.state, ended) {
            (State::Completed, true) => Self::Expired,
            (_, true) => Self::Absent,
            (state, false) if state.is_terminal() => Self::Finished(outcome),
            (state, false) => Self::Pending { state, attempt: outcome.attempt, progress: None },
        }
    }
}

/// Facet: hints that something happened. Losing one costs time, never a job.
#[async_trait]
pub trait Wake: Send + Sync {
    /// Begins to listen. Hints of what happens after this has returned are not missed while the connection lives.
    async fn listen(&self) -> Result<Box<dyn Listener>>;

    /// Hints to all who listen, of what happened in another backend.
    async fn tell(&self, hints: &[Hint]) -> Result<()>;
}

/// A stream of hints, coalesced.
#[async_trait]
pub trait Listener: Send {
    /// Waits for the next hint. Cancel safe. After an error the listener is done for; listen again and look around.
    async fn next(&mut self) -> Result<Hint>;
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Hint {
    /// Jobs of this queue may be claimable.
    Jobs(Name),
    /// Outcomes were recorded.
    Outcomes,
    /// A job was called off or a queue paused or resumed: send a heartbeat.
    Control,
    /// Anything may have happened.
    Everything,
}

/// Facet: the record of jobs whose ids a broker carries to their workers.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Hands out those of these jobs that are due (P2, P4, P10, P11), each under a lease, as a claim does.
    ///
    /// What does not wait any more, or not yet, is passed over, as are tasks that the worker does not know, and jobs that
    /// count against a limit (P13), which a claim finds; the claim's queues and how many it wants mean nothing here.
    async fn take(&self, claim: &Claim, ids: &[JobId]) -> Result<Vec<(Lease, Job)>>;
}

/// Facet: limits in the whole cluster (P13).
#[async_trait]
pub trait Limiter: Send + Sync {
    /// Limits by key, starting after the key `after`, at most `limit`: those that are set, and those that jobs have
    /// counted against lately.
    async fn limits(&self, after: Option<&str>, limit: usize) -> Result<Vec<LimitStats>>;

    /// Sets what the limit of a key allows, or with an empty allowance leaves it to the next weaker source.
    ///
    /// It holds for what starts from now on; what runs is left alone.
    async fn set_limit(&self, key: &str, source: LimitSource, allowance: Allowance) -> Result<()>;
}

/// Who says what a limit allows, the weaker first; what jobs ask for themselves is weaker than both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitSource {
    /// The configuration of a worker that has started.
    Configuration,
    /// Somebody by hand.
    RunTime,
}

/// A limit in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LimitStats {
    /// Its key.
    pub key: String,
    /// What is in force: what was set, and where that says nothing, what the latest job asked for.
    pub allowance: Allowance,
    /// What was set by hand.
    pub at_run_time: Allowance,
    /// What configuration says.
    pub configured: Allowance,
    /// How many slots live leases hold.
    pub held: u64,
    /// How many starts its rate counts at the moment.
    pub started: u64,
}

/// Refuses a push of jobs with limits, in the name of a store that has no [`Limiter`].
///
/// # Errors
///
/// [`ErrorKind::Unsupported`] when a job has limits.
pub fn refuse_limits(push: &Push, name: &str) -> Result<()> {
    match push.jobs.iter().find(|job| !job.spec.limits.is_empty()) {
        None => Ok(()),
        Some(job) => Err(no_limiter(name, &format!("task {} asks for limits", job.spec.task))),
    }
}

/// What to do where a store has no [`Limiter`].
pub(crate) fn no_limiter(name: &str, asked: &str) -> Error {
    let remedy = "remove them, or keep the jobs in SQLite, Postgres, MySQL, Redis or memory";
    Error::new(ErrorKind::Unsupported, format!("{asked}, and {name} has none; {remedy}"))
}

/// What to do where a store [does not age](Info::ages).
pub(crate) fn no_aging(name: &str) -> Error {
    let remedy = "leave `priority_aging` out, or keep the jobs in SQLite, Postgres, MySQL, Redis or memory";
    Error::new(ErrorKind::Unsupported, format!("{name} orders jobs strictly by priority and can't age them; {remedy}"))
}

/// Facet: one worker among many.
#[async_trait]
pub trait Leader: Send + Sync {
    /// Becomes or stays the leader for `ttl` from now; `None` while somebody else is.
    ///
    /// The returned term is higher than that of every earlier leader, and stays the same while it is renewed in time.
    async fn campaign(&self, role: &Name, worker: WorkerId, ttl: Duration) -> Result<Option<Term>>;

    /// Steps down, if it leads, so that another can follow at once.
    async fn resign(&self, role: &Name, worker: WorkerId) -> Result<()>;
}

/// A time of leadership; a later one has a higher number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term(pub u64);

/// Facet: looking at everything, and changing it by hand.
#[async_trait]
pub trait Inspect: Send + Sync {
    /// Jobs that match, newest first, at most `limit`, starting after the job `after` of an earlier page.
    ///
    /// Newest means the highest id, so that pages neither overlap nor skip while jobs come and go.
    /// States are [shown](crate::policy::state::shown) as of now.
    async fn list(&self, filter: &JobFilter, after: Option<JobId>, limit: usize) -> Result<Vec<Job>>;

    /// Each queue that holds an unfinished job or is paused, by name.
    async fn queues(&self) -> Result<Vec<QueueStats>>;

    /// Each worker whose last [`extend`](Backend::extend) is less than its `ttl` ago, the first started first.
    async fn workers(&self) -> Result<Vec<WorkerStats>>;

    /// Does `change` to jobs that match and that it applies to, at most `limit` of them.
    ///
    /// Jobs that it does not apply to, or that are passed over, don't count, so that asking again while there is
    /// [more](Changed::more) comes to an end.
    async fn change(&self, change: &Change, filter: &JobFilter, limit: usize) -> Result<Changed>;

    /// Pauses a queue (P11), or lets it run again.
    async fn pause(&self, queue: &Name, paused: bool) -> Result<()>;

    /// Removes terminal jobs that nobody needs any more (P16), at most `limit` of them.
    ///
    /// Outcomes that were [kept](Results::keep) for another backend go when a completed job of their time to live would.
    async fn prune(&self, retention: &Retention, limit: usize) -> Result<Changed>;

    /// Forgets a worker that says goodbye.
    async fn deregister(&self, worker: WorkerId) -> Result<()>;
}

/// Which jobs are meant: those that match everything that is given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobFilter {
    /// One of these ids, when any are given.
    pub ids: Vec<JobId>,
    /// In one of these states, when any are given.
    pub states: Vec<State>,
    /// In this queue.
    pub queue: Option<Name>,
    /// Of this task.
    pub task: Option<Name>,
    /// With this tag.
    pub tag: Option<String>,
    /// Pushed before this moment.
    pub before: Option<Timestamp>,
}

impl JobFilter {
    /// Whether a job matches, its state being shown as of `now`.
    #[must_use]
    pub fn matches(&self, job: &Job, now: Timestamp) -> bool {
        let state = crate::policy::state::shown(job.state, job.due, now);
        (self.ids.is_empty() || self.ids.contains(&job.id()))
            && (self.states.is_empty() || self.states.contains(&state))
            && self.queue.as_ref().is_none_or(|queue| *queue == job.spec.queue)
            && self.task.as_ref().is_none_or(|task| *task == job.spec.task)
            && self.tag.as_ref().is_none_or(|tag| job.spec.tags.contains(tag))
            && self.before.is_none_or(|before| job.pushed < before)
    }
}

/// A change by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Terminal jobs are due at once, as [`policy::state::revive`](crate::policy::state::revive) says.
    /// One whose unique key was taken meanwhile is passed over (P7).
    Retry,
    /// Waiting and running jobs are called off, as by [`Backend::cancel`]; one that was called off before is not
    /// changed again.
    Cancel {
        /// Why.
        reason: String,
    },
    /// Waiting and terminal jobs are removed with all that is kept of them.
    Delete,
}

/// What a bounded change did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// How many jobs it changed.
    pub count: usize,
    /// Whether there may be more.
    pub more: bool,
}

/// A queue in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QueueStats {
    /// The queue.
    pub queue: Name,
    /// Whether it is paused.
    pub paused: bool,
    /// How many unfinished jobs it holds in each state; states without jobs are left out.
    pub counts: BTreeMap<State, u64>,
    /// Since when its oldest available job has been due.
    pub oldest: Option<Timestamp>,
}

/// A worker as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// Its identity.
    pub id: WorkerId,
    /// The machine it runs on, for people.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// The program and its version.
    pub program: String,
    /// When it started, by its own clock.
    pub started: Timestamp,
    /// Its queues.
    pub queues: Vec<Name>,
    /// How many jobs it runs at once.
    pub concurrency: usize,
}

/// A worker as the store sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerStats {
    /// What it said of itself.
    #[serde(flatten)]
    pub record: WorkerRecord,
    /// Its last heartbeat, by the store's clock.
    pub seen: Timestamp,
    /// How many jobs it holds.
    pub running: usize,
}

/// How long terminal jobs stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Completed jobs stay for this long after their result has expired, so that expired differs from absent.
    pub expired_result: Duration,
    /// Dead letters stay for this long.
    pub discarded: Duration,
    /// Cancelled and expired jobs stay for this long.
    pub cancelled: Duration,
}

impl Default for Retention {
    /// An hour after its result for a completed job, 30 days for dead letters, 7 days for cancelled and expired jobs.
    fn default() -> Self {
        let day = Duration::from_hours(24);
        Self { expired_result: day / 24, discarded: 30 * day, cancelled: 7 * day }
    }
}

/// Facet: pushing in the caller's own transaction, and completing in a task's.
#[async_trait]
pub trait Transaction: Send + Sync {
    /// Pushes on `connection`, which is inside a transaction; the jobs exist if and when the caller commits.
    ///
    /// `connection` is the driver's connection type, given to the user by the backend's `InTransaction` impls.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] when the connection is of another driver.
    async fn push_in(&self, connection: &mut (dyn Any + Send), push: &Push) -> Result<Vec<Pushed>>;

    /// Runs tasks in transactions that end with them; `None` where a transaction that lasts as long as a task would
    /// stand in everybody's way.
    fn completion(&self) -> Option<&dyn Completion>;
}

/// Transactions in which a task writes and its job completes: both happen, or neither.
#[async_trait]
pub trait Completion: Send + Sync {
    /// The type that [`TaskTransaction::transaction`] lends, which tasks name in their `#[tx]` parameter.
    fn lends(&self) -> TransactionType;

    /// Begins a transaction on a connection of its own. Waits while as many as the backend allows are open.
    async fn begin(&self) -> Result<Box<dyn TaskTransaction>>;
}

/// The type of a transaction.
#[derive(Clone, Copy, Debug)]
pub struct TransactionType {
    /// Its identity.
    pub id: TypeId,
    /// Its name, for people.
    pub name: &'static str,
}

impl TransactionType {
    /// The type `T`.
    #[must_use]
    pub fn of<T: Any>() -> Self {
        Self { id: TypeId::of::<T>(), name: std::any::type_name::<T>() }
    }
}

/// A transaction that a task writes in. Dropping it rolls it back, sooner or later.
#[async_trait]
pub trait TaskTransaction: Send {
    /// The driver's transaction, as [`Completion::lends`] says.
    fn transaction(&mut self) -> &mut (dyn Any + Send);

    /// Settles the job of the task in its transaction (P3), and commits both.
    ///
    /// Where the lease is lost, nothing is written, neither of the job nor of the task.
    /// After an error the commit may have happened; then the lease is gone, and any later settle is refused.
    async fn complete(self: Box<Self>, settlement: &Settlement) -> Result<Settled>;

    /// Undoes what the task wrote.
    async fn rollback(self: Box<Self>) -> Result<()>;
}

/// What [`dispatch_in`](crate::Dispatch::dispatch_in) takes: a transaction of the database that the queue lives in.
pub trait InTransaction: Send {
    /// The driver's connection, as [`Transaction::push_in`] wants it.
    fn connection(&mut self) -> &mut (dyn Any + Send);
}
