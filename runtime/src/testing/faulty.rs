//! A decorator over any backend that makes it fail on purpose, the same way again for the same seed.
//!
//! ```
//! use std::sync::Arc;
//! use taskwright::backend::{Backend, Reap, memory::Memory};
//! use taskwright::testing::faulty::{Fault, Faulty, Operation};
//!
//! # async fn example() -> taskwright::Result<()> {
//! let faulty = Faulty::new(Arc::new(Memory::new()), 7);
//! faulty.fail_next(Operation::Reap, 1);
//! assert!(faulty.reap(&Reap { limit: 1, max_crashes: 3 }).await.is_err());
//! assert!(faulty.reap(&Reap { limit: 1, max_crashes: 3 }).await.is_ok());
//! assert_eq!(faulty.log()[0].fault, Fault::ErrorBefore);
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(example()).unwrap();
//! ```

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};

use crate::backend::{
    Backend, Cancel, Cancelled, Change, Changed, Claim, Claimed, Completion, Extend, Extended, Fetched, Hint, Info,
    Inspect, JobFilter, KeptOutcome, Leader, Ledger, LimitSource, LimitStats, Limiter, Listener, Push, Pushed,
    QueueStats, Reap, Reaped, Results, Retention, Settled, Settlement, TaskTransaction, Term, Transaction,
    TransactionType, Wake, WorkerStats,
};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{Allowance, Job, JobId, Lease, Name, WorkerId};
use crate::time::Clock;

/// A backend that does what another does, and fails where it was told to.
///
/// Faults come from a script ([`inject`](Self::inject)), which goes first, or by chance ([`chance`](Self::chance)).
/// Chance depends on the seed and on how many calls of the same operation came before, and on nothing else, so a run
/// is replayed by its seed also when calls of different operations overlap differently.
#[derive(Debug)]
pub struct Faulty {
    backend: Arc<dyn Backend>,
    plan: Arc<Plan>,
}

/// What can go wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It fails, and the store has done nothing.
    ErrorBefore,
    /// It fails, and the store has done it all the same.
    ErrorAfter,
    /// It waits for [`Faulty::release`] and then reaches the store; dropped before that, it has done nothing.
    HangBefore,
    /// The store has done it; the answer waits for [`Faulty::release`].
    HangAfter,
    /// The store does it twice, as when something on the way sent it again; the caller sees the first answer.
    ///
    /// A push in the caller's own transaction and a wait for a hint are not done twice.
    Repeat,
    /// A claim is not asked of the store, and hands out what the claim before it did, under the same leases, as a
    /// broker may that delivers twice. Other calls pass unharmed.
    Redeliver,
    /// It takes this much longer.
    Slow(Duration),
    /// The store's clock leaps ahead before it, if [a clock was given](Faulty::with_clock).
    ClockForward(Duration),
    /// The store's clock falls back before it, if [a clock was given](Faulty::with_clock).
    ClockBack(Duration),
}

/// The calls that can go wrong: every method of the contract that asks the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is named after its method")]
pub enum Operation {
    Push,
    Claim,
    Extend,
    Settle,
    Cancel,
    Reap,
    Close,
    Keep,
    Fetch,
    Listen,
    Next,
    Tell,
    Campaign,
    Resign,
    List,
    Queues,
    Workers,
    Change,
    Pause,
    Prune,
    Deregister,
    Limits,
    SetLimit,
    PushIn,
    Begin,
    Complete,
    RollBack,
}

/// A fault that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected {
    /// In which operation.
    pub operation: Operation,
    /// In which call of this operation, from 1.
    pub call: u64,
    /// What went wrong.
    pub fault: Fault,
}

impl Faulty {
    /// A backend that does what `backend` does, until it is told to fail.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>, seed: u64) -> Self {
        Self { backend, plan: Arc::new(Plan::new(seed)) }
    }

    /// Says which clock the store goes by, so that it can be made to jump.
    #[must_use]
    pub fn with_clock(self, clock: &Clock) -> Self {
        self.plan.script().clock = Some(clock.clone());
        self
    }

    /// Lets `fault` happen in this share of the calls of each of these operations, from 0 to 1.
    ///
    /// Where the shares of several faults add up to more than 1, those given first win.
    #[must_use]
    pub fn chance(self, operations: &[Operation], fault: Fault, share: f64) -> Self {
        let chances = operations.iter().map(|operation| Chance { operation: *operation, fault, share });
        self.plan.script().chances.extend(chances);
        self
    }

    /// Lets `fault` happen in the next `calls` calls of `operation`, after those injected before.
    pub fn inject(&self, operation: Operation, fault: Fault, calls: usize) {
        let mut script = self.plan.script();
        script.injected.entry(operation).or_default().extend(std::iter::repeat_n(fault, calls));
    }

    /// Lets the next `calls` calls of `operation` fail before they reach the store.
    pub fn fail_next(&self, operation: Operation, calls: usize) {
        self.inject(operation, Fault::ErrorBefore, calls);
    }

    /// Lets every call that hangs go on. Calls that are yet to come may hang again.
    pub fn release(&self) {
        self.plan.released.notify_waiters();
    }

    /// Waits until so many calls hang at once.
    pub async fn until_hanging(&self, calls: usize) {
        // The plan holds the sender, so the wait can't fail.
        let _ = self.plan.hanging.subscribe().wait_for(|hanging| *hanging >= calls).await;
    }

    /// Ends all faults: what was injected or left to chance does not happen any more, and what hangs goes on.
    pub fn heal(&self) {
        {
            let mut script = self.plan.script();
            script.injected.clear();
            script.chances.clear();
        }
        self.release();
    }

    /// How often an operation was called, whatever came of it.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.plan.script().calls.get(&operation).copied().unwrap_or(0)
    }

    /// The faults that happened, in order.
    #[must_use]
    pub fn log(&self) -> Vec<Injected> {
        self.plan.script().log.clone()
    }

    async fn call<'a, T: Send>(
        &'a self,
        operation: Operation,
        call: impl Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    ) -> Result<T> {
        self.call_with(self.plan.decide(operation), operation, call).await
    }

    async fn call_with<'a, T: Send>(
        &'a self,
        fault: Option<Fault>,
        operation: Operation,
        call: impl Fn() -> BoxFuture<'a, Result<T>> + Send + Sync,
    ) -> Result<T> {
        self.plan.before(operation, fault).await?;
        let answer = call().await;
        if fault == Some(Fault::Repeat) {
            // What came of the second time nobody hears, as on a network.
            let _ = call().await;
        }
        self.plan.after(operation, fault, answer).await
    }
}

/// What goes wrong when.
#[derive(Debug)]
struct Plan {
    seed: u64,
    /// Held to decide on one call, never across an await.
    script: Mutex<Script>,
    /// Lets all calls go on that hang, in the order in which they began to.
    released: Notify,
    /// How many calls hang now.
    hanging: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Script {
    injected: HashMap<Operation, VecDeque<Fault>>,
    chances: Vec<Chance>,
    calls: HashMap<Operation, u64>,
    log: Vec<Injected>,
    clock: Option<Clock>,
    /// What the latest claim handed out.
    delivered: Vec<(Lease, Job)>,
}

#[derive(Debug)]
struct Chance {
    operation: Operation,
    fault: Fault,
    share: f64,
}

impl Plan {
    fn new(seed: u64) -> Self {
        Self { seed, script: Mutex::default(), released: Notify::new(), hanging: watch::Sender::new(0) }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which fault this call meets, if any.
    fn decide(&self, operation: Operation) -> Option<Fault> {
        let mut script = self.script();
        let calls = script.calls.entry(operation).or_default();
        *calls += 1;
        let call = *calls;
        let injected = script.injected.get_mut(&operation).and_then(VecDeque::pop_front);
        let fault = injected.or_else(|| script.by_chance(operation, draw(self.seed, operation, call)))?;
        script.log.push(Injected { operation, call, fault });
        Some(fault)
    }

    async fn before(&self, operation: Operation, fault: Option<Fault>) -> Result<()> {
        match fault {
            Some(Fault::ErrorBefore) => return Err(injected(operation, "nothing was done")),
            Some(Fault::HangBefore) => self.hang().await,
            Some(Fault::Slow(time)) => tokio::time::sleep(time).await,
            Some(Fault::ClockForward(time)) => self.move_clock(|clock| clock.advance(time)),
            Some(Fault::ClockBack(time)) => self.move_clock(|clock| clock.turn_back(time)),
            Some(Fault::ErrorAfter | Fault::HangAfter | Fault::Repeat | Fault::Redeliver) | None => {}
        }
        Ok(())
    }

    async fn after<T>(&self, operation: Operation, fault: Option<Fault>, answer: Result<T>) -> Result<T> {
        match fault {
            Some(Fault::ErrorAfter) => answer.and_then(|_| Err(injected(operation, "it was done all the same"))),
            Some(Fault::HangAfter) => {
                self.hang().await;
                answer
            }
            _ => answer,
        }
    }

    /// Waits for the next release.
    async fn hang(&self) {
        // Before the call counts as hanging, so that whoever saw it hang releases it.
        let released = self.released.notified();
        let _counted = Hanging::new(&self.hanging);
        released.await;
    }

    fn move_clock(&self, change: impl FnOnce(&Clock)) {
        if let Some(clock) = &self.script().clock {
            change(clock);
        }
    }
}

impl Script {
    /// The fault in whose share `drawn` falls.
    fn by_chance(&self, operation: Operation, drawn: f64) -> Option<Fault> {
        let mut reached = 0.0;
        let chances = self.chances.iter().filter(|chance| chance.operation == operation);
        chances.map(|chance| (chance.fault, chance.share)).find_map(|(fault, share)| {
            reached += share;
            (drawn < reached).then_some(fault)
        })
    }
}

/// A number from 0 to 1, the same for the same seed and call, by the finalizer of `SplitMix64`.
fn draw(seed: u64, operation: Operation, call: u64) -> f64 {
    let mut bits = seed ^ (operation as u64).rotate_right(8) ^ call.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let top = u32::try_from((bits ^ (bits >> 31)) >> 32).unwrap_or_default();
    f64::from(top) / (f64::from(u32::MAX) + 1.0)
}

fn injected(operation: Operation, what: &str) -> Error {
    Error::unavailable(format!("injected fault in {operation:?}: {what}"))
}

/// Counts a hanging call until it goes on or is dropped.
struct Hanging<'a>(&'a watch::Sender<usize>);

impl<'a> Hanging<'a> {
    fn new(hanging: &'a watch::Sender<usize>) -> Self {
        hanging.send_modify(|count| *count += 1);
        Self(hanging)
    }
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[async_trait]
impl Backend for Faulty {
    fn info(&self) -> &Info {
        self.backend.info()
    }

    async fn push(&self, push: &Push) -> Result<Vec<Pushed>> {
        self.call(Operation::Push, || self.backend.push(push)).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed> {
        let fault = self.plan.decide(Operation::Claim);
        if fault == Some(Fault::Redeliver) {
            return Ok(Claimed { jobs: self.plan.script().delivered.clone(), next_due: Some(Duration::ZERO) });
        }
        let claimed = self.call_with(fault, Operation::Claim, || self.backend.claim(claim)).await?;
        self.plan.script().delivered.clone_from(&claimed.jobs);
        Ok(claimed)
    }

    async fn extend(&self, extend: &Extend) -> Result<Extended> {
        self.call(Operation::Extend, || self.backend.extend(extend)).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.call(Operation::Settle, || self.backend.settle(settlements)).await
    }

    async fn cancel(&self, cancel: &Cancel) -> Result<Vec<Cancelled>> {
        self.call(Operation::Cancel, || self.backend.cancel(cancel)).await
    }

    async fn reap(&self, reap: &Reap) -> Result<Reaped> {
        self.call(Operation::Reap, || self.backend.reap(reap)).await
    }

    async fn close(&self) -> Result<()> {
        self.call(Operation::Close, || self.backend.close()).await
    }

    fn results(&self) -> Option<&dyn Results> {
        self.backend.results().map(|_| self as &dyn Results)
    }

    fn wake(&self) -> Option<&dyn Wake> {
        self.backend.wake().map(|_| self as &dyn Wake)
    }

    fn leader(&self) -> Option<&dyn Leader> {
        self.backend.leader().map(|_| self as &dyn Leader)
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        self.backend.inspect().map(|_| self as &dyn Inspect)
    }

    fn limiter(&self) -> Option<&dyn Limiter> {
        self.backend.limiter().map(|_| self as &dyn Limiter)
    }

    /// Without faults: what asks it is a backend too.
    fn ledger(&self) -> Option<&dyn Ledger> {
        self.backend.ledger()
    }

    fn transaction(&self) -> Option<&dyn Transaction> {
        self.backend.transaction().map(|_| self as &dyn Transaction)
    }
}

/// A facet of the backend underneath. Ours is only given out when that one has it.
fn facet<T>(found: Option<T>) -> Result<T> {
    found.ok_or_else(|| Error::new(ErrorKind::Unsupported, "the backend under this one lacks the facet"))
}

#[async_trait]
impl Results for Faulty {
    async fn keep(&self, outcomes: &[KeptOutcome]) -> Result<()> {
        let results = facet(self.backend.results())?;
        self.call(Operation::Keep, || results.keep(outcomes)).await
    }

    async fn fetch(&self, ids: &[JobId]) -> Result<Vec<Fetched>> {
        let results = facet(self.backend.results())?;
        self.call(Operation::Fetch, || results.fetch(ids)).await
    }
}

#[async_trait]
impl Wake for Faulty {
    async fn listen(&self) -> Result<Box<dyn Listener>> {
        let wake = facet(self.backend.wake())?;
        let listener = self.call(Operation::Listen, || wake.listen()).await?;
        Ok(Box::new(FaultyListener { listener, plan: Arc::clone(&self.plan) }))
    }

    async fn tell(&self, hints: &[Hint]) -> Result<()> {
        let wake = facet(self.backend.wake())?;
        self.call(Operation::Tell, || wake.tell(hints)).await
    }
}

struct FaultyListener {
    listener: Box<dyn Listener>,
    plan: Arc<Plan>,
}

#[async_trait]
impl Listener for FaultyListener {
    async fn next(&mut self) -> Result<Hint> {
        let fault = self.plan.decide(Operation::Next);
        self.plan.before(Operation::Next, fault).await?;
        let answer = self.listener.next().await;
        self.plan.after(Operation::Next, fault, answer).await
    }
}

#[async_trait]
impl Leader for Faulty {
    async fn campaign(&self, role: &Name, worker: WorkerId, ttl: Duration) -> Result<Option<Term>> {
        let leader = facet(self.backend.leader())?;
        self.call(Operation::Campaign, || leader.campaign(role, worker, ttl)).await
    }

    async fn resign(&self, role: &Name, worker: WorkerId) -> Result<()> {
        let leader = facet(self.backend.leader())?;
        self.call(Operation::Resign, || leader.resign(role, worker)).await
    }
}

#[async_trait]
impl Inspect for Faulty {
    async fn list(&self, filter: &JobFilter, after: Option<JobId>, limit: usize) -> Result<Vec<Job>> {
        let inspect = facet(self.backend.inspect())?;
        self.call(Operation::List, || inspect.list(filter, after, limit)).await
    }

    async fn queues(&self) -> Result<Vec<QueueStats>> {
        let inspect = facet(self.backend.inspect())?;
        self.call(Operation::Queues, || inspect.queues()).await
    }

    async fn workers(&self) -> Result<Vec<WorkerStats>> {
        let inspect = facet(self.backend.inspect())?;
        self.call(Operation::Workers, || inspect.workers()).await
    }

    async fn change(&self, change: &Change, filter: &JobFilter, limit: usize) -> Result<Changed> {
        let inspect = facet(self.backend.inspect())?;
        self.call(Operation::Change, || inspect.change(change, filter, limit)).await
    }

    async fn pause(&self, queue: &Name, paused: bool) -> Result<()> {
        let inspect = facet(self.backend.inspect())?;
        self.call(Operation::Pause, || inspect.pause(queue, paused)).await
    }

    async fn prune(&self, retention: &Retention, limit: usize) -> Result<Changed> {
        let inspect = facet(self.backend.inspect())?;
        self.call(Operation::Prune, || inspect.prune(retention, limit)).await
    }

    async fn deregister(&self, worker: WorkerId) -> Result<()> {
        let inspect = facet(self.backend.inspect())?;
        self.call(Operation::Deregister, || inspect.deregister(worker)).await
    }
}

#[async_trait]
impl Limiter for Faulty {
    async fn limits(&self, after: Option<&str>, limit: usize) -> Result<Vec<LimitStats>> {
        let limiter = facet(self.backend.limiter())?;
        self.call(Operation::Limits, || limiter.limits(after, limit)).await
    }

    async fn set_limit(&self, key: &str, source: LimitSource, allowance: Allowance) -> Result<()> {
        let limiter = facet(self.backend.limiter())?;
        self.call(Operation::SetLimit, || limiter.set_limit(key, source, allowance)).await
    }
}

#[async_trait]
impl Transaction for Faulty {
    async fn push_in(&self, connection: &mut (dyn Any + Send), push: &Push) -> Result<Vec<Pushed>> {
        let transaction = facet(self.backend.transaction())?;
        let fault = self.plan.decide(Operation::PushIn);
        self.plan.before(Operation::PushIn, fault).await?;
        let answer = transaction.push_in(connection, push).await;
        self.plan.after(Operation::PushIn, fault, answer).await
    }

    fn completion(&self) -> Option<&dyn Completion> {
        self.under().map(|_| self as &dyn Completion)
    }
}

impl Faulty {
    fn under(&self) -> Option<&dyn Completion> {
        self.backend.transaction()?.completion()
    }
}

#[async_trait]
impl Completion for Faulty {
    fn lends(&self) -> TransactionType {
        // Only given out when the backend underneath has it.
        self.under().map_or_else(TransactionType::of::<()>, Completion::lends)
    }

    async fn begin(&self) -> Result<Box<dyn TaskTransaction>> {
        let completion = facet(self.under())?;
        let transaction = self.call(Operation::Begin, || completion.begin()).await?;
        Ok(Box::new(FaultyTransaction { transaction, plan: Arc::clone(&self.plan) }))
    }
}

struct FaultyTransaction {
    transaction: Box<dyn TaskTransaction>,
    plan: Arc<Plan>,
}

#[async_trait]
impl TaskTransaction for FaultyTransaction {
    fn transaction(&mut self) -> &mut (dyn Any + Send) {
        self.transaction.transaction()
    }

    async fn complete(self: Box<Self>, settlement: &Settlement) -> Result<Settled> {
        let fault = self.plan.decide(Operation::Complete);
        self.plan.before(Operation::Complete, fault).await?;
        let answer = self.transaction.complete(settlement).await;
        self.plan.after(Operation::Complete, fault, answer).await
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        let fault = self.plan.decide(Operation::RollBack);
        self.plan.before(Operation::RollBack, fault).await?;
        let answer = self.transaction.rollback().await;
        self.plan.after(Operation::RollBack, fault, answer).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::QueueClaim;
    use crate::backend::memory::Memory;
    use crate::context::Context;
    use crate::job::{BatchId, NewJob, When};

    const HOUR: Duration = Duration::from_hours(1);

    fn setup(seed: u64) -> (Faulty, Clock) {
        let clock = Clock::stopped();
        (Faulty::new(Arc::new(Memory::with_clock(clock.clone())), seed).with_clock(&clock), clock)
    }

    fn name() -> Name {
        Name::new("mail").unwrap()
    }

    /// A call whose effect is easy to see: whether the queue is paused.
    async fn pause(faulty: &Faulty) -> Result<()> {
        facet(faulty.inspect())?.pause(&name(), true).await
    }

    async fn is_paused(faulty: &Faulty) -> bool {
        !faulty.backend.inspect().unwrap().queues().await.unwrap().is_empty()
    }

    #[tokio::test]
    async fn an_error_before_leaves_the_store_untouched_and_one_after_does_not() {
        for (fault, done) in [(Fault::ErrorBefore, false), (Fault::ErrorAfter, true)] {
            let (faulty, _) = setup(0);
            faulty.inject(Operation::Pause, fault, 1);
            let error = pause(&faulty).await.unwrap_err();
            assert!(error.is_transient());
            assert_eq!(is_paused(&faulty).await, done, "{error}");
            pause(&faulty).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_call_that_hangs_goes_on_when_it_is_released() {
        let (faulty, _) = setup(0);
        faulty.inject(Operation::Pause, Fault::HangBefore, 1);
        faulty.inject(Operation::Pause, Fault::HangAfter, 1);
        for done_while_it_hangs in [false, true] {
            let release = async {
                faulty.until_hanging(1).await;
                assert_eq!(is_paused(&faulty).await, done_while_it_hangs);
                faulty.release();
            };
            let (answer, ()) = tokio::join!(pause(&faulty), release);
            answer.unwrap();
        }
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_while_it_hangs_is_not_counted_any_more() {
        let (faulty, _) = setup(0);
        faulty.inject(Operation::Pause, Fault::HangBefore, 1);
        tokio::select! {
            biased;
            answer = pause(&faulty) => panic!("it did not hang: {answer:?}"),
            () = faulty.until_hanging(1) => {}
        }
        assert_eq!(*faulty.plan.hanging.borrow(), 0);
        assert!(!is_paused(&faulty).await);
    }

    #[tokio::test]
    async fn a_repeated_call_reaches_the_store_twice() {
        let counted = Arc::new(setup(0).0);
        let faulty = Faulty::new(Arc::clone(&counted) as Arc<dyn Backend>, 0);
        faulty.inject(Operation::Reap, Fault::Repeat, 1);
        faulty.reap(&Reap { limit: 1, max_crashes: 3 }).await.unwrap();
        assert_eq!((faulty.calls(Operation::Reap), counted.calls(Operation::Reap)), (1, 2));
    }

    #[tokio::test]
    async fn jobs_can_be_delivered_twice_under_one_lease() {
        let (faulty, _) = setup(0);
        let worker = WorkerId::new();
        let mut spec = Context::test().spec().clone();
        spec.queue = name();
        let job = NewJob { spec: Arc::new(spec), due: When::NOW, expires: None };
        faulty.push(&Push { batch: BatchId::new(), jobs: vec![job] }).await.unwrap();
        let queues = vec![QueueClaim { queue: name(), limit: 9 }];
        let claim = Claim { worker, queues, limit: 9, unknown: vec![], ttl: HOUR, max_crashes: 3, aging: None };
        faulty.inject(Operation::Claim, Fault::Slow(Duration::ZERO), 1);
        faulty.inject(Operation::Claim, Fault::Redeliver, 1);
        let (first, second) = (faulty.claim(&claim).await.unwrap(), faulty.claim(&claim).await.unwrap());
        assert_eq!(first.jobs.len(), 1);
        assert_eq!(first.jobs, second.jobs);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_call_takes_its_time() {
        let (faulty, _) = setup(0);
        faulty.inject(Operation::Pause, Fault::Slow(HOUR), 1);
        let start = tokio::time::Instant::now();
        pause(&faulty).await.unwrap();
        assert!(start.elapsed() >= HOUR);
    }

    #[tokio::test]
    async fn the_clock_jumps_both_ways() {
        let (faulty, clock) = setup(0);
        let start = clock.now();
        faulty.inject(Operation::Pause, Fault::ClockForward(2 * HOUR), 1);
        faulty.inject(Operation::Pause, Fault::ClockBack(HOUR), 1);
        for expected in [2 * HOUR, HOUR] {
            pause(&faulty).await.unwrap();
            assert_eq!(clock.now().since(start), expected);
        }
    }

    async fn faults(seed: u64, operations: &[Operation]) -> Vec<Injected> {
        let chosen = [Operation::Pause, Operation::Reap];
        let faulty = setup(seed).0.chance(&chosen, Fault::ErrorBefore, 0.3).chance(&chosen, Fault::Repeat, 0.2);
        for operation in operations {
            // Whether it fails is in the log.
            let _ = match operation {
                Operation::Pause => pause(&faulty).await,
                _ => faulty.reap(&Reap { limit: 1, max_crashes: 3 }).await.map(|_| ()),
            };
        }
        let mut log = faulty.log();
        log.sort_by_key(|injected| (injected.operation as u64, injected.call));
        log
    }

    #[tokio::test]
    async fn the_same_seed_gives_the_same_faults_however_calls_interleave() {
        let alternating = [Operation::Pause, Operation::Reap].repeat(500);
        let in_a_row = [[Operation::Reap; 500], [Operation::Pause; 500]].concat();
        let first = faults(7, &alternating).await;
        assert_eq!(first, faults(7, &in_a_row).await);
        assert_ne!(first, faults(8, &alternating).await);
        let share = |fault| first.iter().filter(|injected| injected.fault == fault).count();
        assert!((200..400).contains(&share(Fault::ErrorBefore)), "{}", share(Fault::ErrorBefore));
        assert!((120..280).contains(&share(Fault::Repeat)), "{}", share(Fault::Repeat));
    }

    #[tokio::test]
    async fn a_healed_backend_fails_no_more() {
        let faulty = setup(0).0.chance(&[Operation::Pause], Fault::ErrorBefore, 1.0);
        faulty.fail_next(Operation::Pause, 9);
        pause(&faulty).await.unwrap_err();
        faulty.heal();
        pause(&faulty).await.unwrap();
        assert_eq!(faulty.log().len(), 1);
    }

    #[tokio::test]
    async fn a_listener_can_be_cut_off() {
        let (faulty, _) = setup(0);
        let mut listener = faulty.listen().await.unwrap();
        faulty.fail_next(Operation::Next, 1);
        listener.next().await.unwrap_err();
        pause(&faulty).await.unwrap();
        assert_eq!(listener.next().await.unwrap(), Hint::Control);
    }

    #[test]
    fn a_facet_that_is_missing_underneath_is_missing_here() {
        assert!(setup(0).0.transaction().is_none());
        assert!(setup(0).0.results().is_some());
    }
}
