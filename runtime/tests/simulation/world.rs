//! One run: a store, workers that come and go, clients, an operator, everything that goes wrong, and then peace.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use taskwright::backend::{Backend, Inspect, JobFilter, LimitSource, Limiter};
use taskwright::context::States;
use taskwright::handle::JobFailure;
use taskwright::job::{Allowance, JobId, OnConflict, Replace, Until};
use taskwright::testing::Seeded;
use taskwright::testing::faulty::{Fault, Faulty, Operation};
use taskwright::time::Clock;
use taskwright::worker::{QueueOptions, WorkerOptions};
use taskwright::{Client, ErrorKind, JobHandle, Name, Result, Shutdown, State, Timestamp, Worker};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;
use crate::ledger::Capacity;
use crate::observed::Observed;
use crate::tasks::{
    Attentive, Desk, Drowsy, Flaky, Forgotten, Fragile, Hopeless, Marathon, Nap, Paced, Parent, Procession, Quick,
    Quitter, Rare, Stubborn, Tardy, Turnstile, registry,
};

/// Opens the store of a run, which goes by this clock.
pub(crate) type Open = dyn Fn(&Clock) -> Arc<dyn Backend> + Sync;

/// What a run came to.
pub(crate) struct Run {
    pub(crate) log: String,
    /// How many jobs were stored.
    pub(crate) jobs: usize,
    /// How many faults happened.
    pub(crate) faults: usize,
    /// What was not as it must be.
    pub(crate) broken: Option<String>,
}

/// Runs the world of this seed to its end.
pub(crate) fn run(seed: u64, open: &Open) -> Run {
    let _seeded = Seeded::new(seed);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    match runtime.enable_time().start_paused(true).build() {
        Ok(runtime) => runtime.block_on(async { World::new(seed, open).live().await }),
        Err(error) => Run { log: String::new(), jobs: 0, faults: 0, broken: Some(error.to_string()) },
    }
}

const QUEUES: [&str; 2] = ["north", "south"];

/// What the operator limits, in turns.
const LIMITS: [&str; 4] = ["gate-0", "gate-1", "pace", "queue:north"];

/// The time of a run's store, give or take the seed.
const BEGINNING: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// How long the store's troubles may last in all.
const LONGEST_CHAOS: usize = 60_000;

/// Clients dispatch at multiples of this.
const BEAT: Duration = Duration::from_millis(500);

/// By when everything must have ended after the faults have.
const PATIENCE: Duration = Duration::from_hours(2);

struct World {
    store: Arc<Observed>,
    clock: Clock,
    began: Instant,
    weather: Weather,
    /// How often things go wrong, how the workers work.
    dice: Mutex<Dice>,
    /// Every connection that can fail.
    connections: Mutex<Vec<Arc<Faulty>>>,
    /// Ends the faults, and all that is started anew.
    peace: CancellationToken,
    /// Ends the workers.
    evening: CancellationToken,
}

/// How bad a run is.
#[derive(Clone, Copy)]
struct Weather {
    lease: Duration,
    /// Of a thousand calls so many fail before, and as many after they reached the store.
    errors: usize,
    hangs: usize,
    repeats: usize,
    jumps: usize,
    slow: usize,
}

impl World {
    fn new(seed: u64, open: &Open) -> Arc<Self> {
        let mut dice = Dice::new(seed);
        // Not at the present time, by which a store may decide what it would else throw a coin for.
        let clock = Clock::stopped_at(BEGINNING.after(Duration::from_micros(seed)));
        let store = Arc::new(Observed::new(open(&clock), &clock));
        Arc::new(Self {
            store,
            clock,
            began: Instant::now(),
            weather: Weather::thrown(&mut dice),
            dice: Mutex::new(dice),
            connections: Mutex::default(),
            peace: CancellationToken::new(),
            evening: CancellationToken::new(),
        })
    }

    async fn live(self: Arc<Self>) -> Run {
        let mut dice = self.dice();
        let seats: Vec<_> =
            (0..dice.between(2, 4)).map(|seat| tokio::spawn(Arc::clone(&self).seat(seat, self.dice()))).collect();
        let clients: Vec<_> =
            (0..dice.between(2, 3)).map(|number| tokio::spawn(Arc::clone(&self).client(number, self.dice()))).collect();
        let operator = tokio::spawn(Arc::clone(&self).operator(self.dice()));
        tokio::time::sleep(dice.millis(LONGEST_CHAOS / 4, LONGEST_CHAOS)).await;
        self.make_peace().await;
        let mut waits = Vec::new();
        for client in clients {
            waits.extend(self.joined(client).await.unwrap_or_default());
        }
        self.joined(operator).await;
        if self.drained().await {
            for wait in waits {
                self.joined(wait).await;
            }
        }
        self.evening.cancel();
        for seat in seats {
            self.joined(seat).await;
        }
        self.close().await;
        let closed = self.store.close().await;
        self.check(closed.is_ok(), || format!("the store can't be closed: {closed:?}"));
        let ledger = self.store.ledger();
        Run {
            log: ledger.log().to_owned(),
            jobs: ledger.count(),
            faults: self.connections().iter().map(|connection| connection.log().len()).sum(),
            broken: ledger.broken().map(str::to_owned),
        }
    }

    /// Dice of one actor's own.
    fn dice(&self) -> Dice {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner).hand_out()
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Faulty>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.peace.is_cancelled() || self.store.ledger().broken().is_some()
    }

    /// A connection to the store, good or bad as the weather is.
    fn connect(&self, dice: &mut Dice, redelivers: bool) -> Arc<Faulty> {
        let store = Arc::clone(&self.store) as Arc<dyn Backend>;
        let mut connection = Faulty::new(store, dice.bits()).with_clock(&self.clock);
        if !self.is_over() {
            connection = self.weather.spoil(connection, redelivers);
        }
        let connection = Arc::new(connection);
        self.connections().push(Arc::clone(&connection));
        connection
    }

    /// Ends every fault for good.
    async fn make_peace(&self) {
        self.store.note("peace");
        self.peace.cancel();
        self.connections().iter().for_each(|connection| connection.heal());
        for queue in QUEUES {
            if let Ok(queue) = Name::new(queue) {
                let resumed = Inspect::pause(&*self.store, &queue, false).await;
                self.check(resumed.is_ok(), || format!("{queue} can't be resumed"));
            }
        }
        for key in LIMITS {
            self.limit(key, Allowance::default()).await;
        }
    }

    fn check(&self, holds: bool, otherwise: impl FnOnce() -> String) {
        self.store.ledger().must(holds, |_| otherwise());
    }

    /// Waits for an actor, which never panics and never takes for ever.
    async fn joined<T>(&self, actor: JoinHandle<T>) -> Option<T> {
        match tokio::time::timeout(PATIENCE, actor).await {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(error)) => self.check(false, || format!("an actor of the simulation ended badly: {error}")),
            Err(_) => self.check(false, || "somebody waits for ever".to_owned()),
        }
        None
    }

    /// Waits until every job has ended, in vain if one is lost.
    async fn drained(&self) -> bool {
        let began = Instant::now();
        loop {
            let (left, broken) = {
                let ledger = self.store.ledger();
                (ledger.unfinished().len(), ledger.broken().is_some())
            };
            if left == 0 || broken || began.elapsed() > PATIENCE {
                return left == 0 && !broken;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// What the store has at the end is what happened.
    async fn close(&self) {
        if self.store.ledger().broken().is_some() {
            return;
        }
        let ids = self.store.ledger().ids();
        let kept = Inspect::list(&*self.store, &JobFilter::default(), None, 100_000).await;
        let fetched = match self.store.results() {
            Some(results) => results.fetch(&ids).await,
            None => Ok(Vec::new()),
        };
        match (kept, fetched) {
            (Ok(kept), Ok(fetched)) => {
                let outcomes: Vec<_> = ids.into_iter().zip(fetched).collect();
                self.store.ledger().closed(&kept, &outcomes);
            }
            (kept, fetched) => self.check(false, || format!("the store does not answer: {kept:?}, {fetched:?}")),
        }
    }

    /// A place where one worker after the other works.
    async fn seat(self: Arc<Self>, seat: usize, mut dice: Dice) {
        let mut life = 0;
        loop {
            life += 1;
            let number = seat * 100 + life;
            let (options, limited) = self.worker_options(&mut dice);
            let connection = self.connect(&mut dice, limited.is_none());
            // The first seat knows everything, so that every job can end.
            let Ok((worker, shutdown)) = self.hire(number, seat == 0, options, limited, &connection) else {
                return self.check(false, || "a worker can't be made".to_owned());
            };
            let running = tokio::spawn(worker.run(shutdown.clone()));
            if self.work(number, &connection, &mut dice).await == Fate::Crash {
                self.store.note(&format!("crash  w{number}"));
                running.abort();
                // Its end is an abortion, and that is meant.
                let _ = running.await;
            } else {
                self.store.note(&format!("stop   w{number}"));
                shutdown.stop();
                if let Some(Err(error)) = self.joined(running).await {
                    self.check(false, || format!("a worker ended with an error: {error}"));
                }
            }
            if self.evening.is_cancelled() {
                return;
            }
        }
    }

    /// Waits until this worker's life ends, and tells how.
    async fn work(&self, number: usize, connection: &Faulty, dice: &mut Dice) -> Fate {
        loop {
            let goes_on = async {
                if self.peace.is_cancelled() {
                    std::future::pending::<()>().await;
                } else {
                    tokio::time::sleep(dice.millis(1_000, 40_000)).await;
                }
            };
            tokio::select! {
                biased;
                () = self.evening.cancelled() => return Fate::Stop,
                () = goes_on => {}
            }
            match dice.throw(4) {
                0 => return Fate::Stop,
                1 | 2 => return Fate::Crash,
                _ if self.peace.is_cancelled() => {}
                _ => {
                    self.store.note(&format!("stall  w{number}"));
                    self.stall(connection, dice).await;
                    self.store.note(&format!("resume w{number}"));
                }
            }
        }
    }

    /// The worker goes on, and what it says does not arrive, or arrives long before its answer.
    async fn stall(&self, connection: &Faulty, dice: &mut Dice) {
        let fault = if dice.percent(50) { Fault::HangBefore } else { Fault::HangAfter };
        for operation in WORKERS_CALLS {
            connection.inject(*operation, fault, 1_000);
        }
        tokio::time::sleep(self.weather.lease.mul_f64(0.5) + dice.millis(0, 15_000)).await;
        connection.heal();
    }

    fn worker_options(&self, dice: &mut Dice) -> (WorkerOptions, Option<(Name, usize)>) {
        let names: Vec<Name> = QUEUES.iter().filter_map(|name| Name::new(name).ok()).collect();
        let concurrency = dice.between(1, 4);
        let limited = if dice.percent(25) { names.first().cloned().map(|name| (name, 1)) } else { None };
        let queue = |name: Name| {
            let limit = limited.as_ref().filter(|(limited, _)| *limited == name).map(|(_, most)| *most);
            QueueOptions { name, limit }
        };
        let options = WorkerOptions {
            queues: names.into_iter().map(queue).collect(),
            concurrency,
            blocking_threads: 1,
            prefetch: *dice.pick(&[0, 0, 5, 50]).unwrap_or(&0),
            lease: self.weather.lease,
            poll: dice.millis(200, 5_000),
            grace: dice.millis(0, 6_000),
            margin: dice.millis(0, 1_500),
            max_crashes: 3,
            ..WorkerOptions::default()
        };
        (options, limited)
    }

    fn hire(
        &self,
        number: usize,
        knows_all: bool,
        options: WorkerOptions,
        limited: Option<(Name, usize)>,
        connection: &Arc<Faulty>,
    ) -> Result<(Worker, Shutdown)> {
        let client = Client::new(Arc::clone(connection) as Arc<dyn Backend>);
        let id = Arc::new(OnceLock::new());
        let mut states = States::default();
        states.insert(Desk { store: Arc::clone(&self.store), worker: Arc::clone(&id), lease: self.weather.lease });
        let slots = options.concurrency;
        let worker = Worker::new(client, registry(knows_all)?, Arc::new(states), options)?;
        // It was empty, so this sets it.
        let _ = id.set(worker.id());
        self.store.ledger().hired(worker.id(), Capacity { number, slots, queue: limited });
        self.store.note(&format!("start  w{number}, slots {slots}"));
        Ok((worker, Shutdown::new()))
    }

    /// Dispatches for a while, and returns those who wait for what comes of it.
    async fn client(self: Arc<Self>, number: usize, mut dice: Dice) -> Vec<JoinHandle<()>> {
        let connection = self.connect(&mut dice, false);
        let client = Client::new(connection as Arc<dyn Backend>);
        let mut waits = Vec::new();
        for _ in 0..dice.between(4, 14) {
            // At the same moments as others, as schedules do.
            let beats = self.began.elapsed().as_millis() / BEAT.as_millis();
            let beats = u32::try_from(beats).unwrap_or_default() + 1 + dice.few(7);
            tokio::time::sleep_until(self.began + BEAT * beats).await;
            if self.is_over() {
                break;
            }
            let burst = if dice.percent(20) { 3 } else { 1 };
            let handles = futures_util::future::join_all((0..burst).map(|_| dispatch(&client, dice.hand_out())));
            for handle in handles.await {
                match handle {
                    Ok(Some(handle)) if dice.percent(70) => {
                        waits.push(tokio::spawn(Arc::clone(&self).wait(handle)));
                    }
                    Ok(_) => {}
                    Err(error) => self.store.note(&format!("client {number} was told: {error}")),
                }
            }
        }
        waits
    }

    /// A handle tells how its job ended, and nothing else.
    async fn wait(self: Arc<Self>, handle: JobHandle<JobId>) {
        let told = handle.wait().await;
        let id = handle.id();
        let ended = self.store.ledger().end_of(id);
        let is_so = match &told {
            Ok(result) => *result == id && ended == Some(State::Completed),
            Err(error) if error.kind() == ErrorKind::Job => {
                let told = JobFailure::of(error).map_or(Some(State::Expired), |failure| Some(failure.state()));
                told == ended
            }
            Err(_) => false,
        };
        self.store.ledger().must(is_so, |it| {
            format!("P12: the handle of {} was told {told:?}, and its end is {ended:?}", it.name(id))
        });
    }

    /// Calls jobs off, pauses queues, and lets calls that hang go on.
    async fn operator(self: Arc<Self>, mut dice: Dice) {
        let client = Client::new(Arc::clone(&self.store) as Arc<dyn Backend>);
        while !self.is_over() {
            tokio::time::sleep(dice.millis(500, 6_000)).await;
            if self.is_over() {
                return;
            }
            match dice.throw(8) {
                0 => self.pause(&mut dice, true).await,
                6 | 7 => {
                    let key = dice.pick(&LIMITS).copied().unwrap_or_default();
                    let allowance = match dice.throw(4) {
                        0 => Allowance::default(),
                        1 => Allowance::per(dice.few(3), dice.millis(500, 4_000)),
                        _ => Allowance::at_once(dice.few(3)),
                    };
                    self.limit(key, allowance).await;
                }
                1 | 2 => self.pause(&mut dice, false).await,
                3 => {
                    let connections = self.connections().clone();
                    if let Some(connection) = dice.pick(&connections) {
                        connection.release();
                    }
                }
                _ => {
                    let ids = self.store.ledger().ids();
                    let ids: Vec<_> = dice.pick(&ids).copied().into_iter().collect();
                    let called_off = client.cancel(ids, "the operator says so").await;
                    self.check(called_off.is_ok(), || "the operator can't call a job off".to_owned());
                }
            }
        }
    }

    async fn limit(&self, key: &str, allowance: Allowance) {
        let answer = Limiter::set_limit(&*self.store, key, LimitSource::RunTime, allowance).await;
        self.check(answer.is_ok(), || format!("{key} can't be limited"));
    }

    async fn pause(&self, dice: &mut Dice, paused: bool) {
        let queue = dice.pick(&QUEUES).and_then(|queue| Name::new(queue).ok());
        if let Some(queue) = queue {
            let answer = Inspect::pause(&*self.store, &queue, paused).await;
            self.check(answer.is_ok(), || format!("{queue} can't be paused"));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Crash,
    Stop,
}

const WORKERS_CALLS: &[Operation] = &[
    Operation::Claim,
    Operation::Extend,
    Operation::Settle,
    Operation::Reap,
    Operation::Listen,
    Operation::Next,
    Operation::Campaign,
    Operation::Resign,
    Operation::Prune,
    Operation::Deregister,
    Operation::Push,
    Operation::Fetch,
];

impl Weather {
    fn thrown(dice: &mut Dice) -> Self {
        let lease = dice.millis(1_000, 9_000);
        let mut of = |most| if dice.percent(30) { 0 } else { dice.throw(most) };
        let (errors, hangs, repeats, jumps, slow) = (of(120), of(30), of(60), of(6), of(700));
        Self { lease, errors, hangs, repeats, jumps, slow }
    }

    fn spoil(self, connection: Faulty, redelivers: bool) -> Faulty {
        let all = WORKERS_CALLS;
        let of = |count: usize| f64::from(u32::try_from(count).unwrap_or_default()) / 1_000.0;
        let redeliveries = if redelivers { of(self.repeats) } else { 0.0 };
        connection
            .chance(all, Fault::ErrorBefore, of(self.errors))
            .chance(all, Fault::ErrorAfter, of(self.errors))
            .chance(all, Fault::HangBefore, of(self.hangs))
            .chance(all, Fault::HangAfter, of(self.hangs))
            .chance(&[Operation::Claim], Fault::Redeliver, redeliveries)
            .chance(all, Fault::Repeat, of(self.repeats))
            .chance(all, Fault::ClockForward(self.lease * 3), of(self.jumps))
            .chance(all, Fault::ClockBack(self.lease * 2), of(self.jumps))
            .chance(all, Fault::Slow(self.lease * 2), of(self.slow / 20))
            .chance(all, Fault::Slow(Duration::from_millis(700)), of(self.slow / 4))
            .chance(all, Fault::Slow(Duration::from_millis(7)), of(self.slow))
    }
}

/// Puts some task on some queue. The handle, where the outcome can be awaited.
async fn dispatch(client: &Client, mut dice: Dice) -> Result<Option<JobHandle<JobId>>> {
    macro_rules! put {
        ($task:expr) => {{
            let queue = dice.pick(&QUEUES).copied().unwrap_or_default();
            let mut dispatch = taskwright::Dispatch::new($task).queue(queue);
            if dice.percent(20) {
                dispatch = dispatch.delay(dice.millis(0, 8_000));
            }
            if dice.percent(20) {
                dispatch = dispatch.priority(5);
            }
            if dice.percent(10) {
                dispatch = dispatch.expires(dice.millis(100, 20_000));
            }
            if dice.percent(25) {
                dispatch = dispatch.unique_key(format!("key {}", dice.throw(2)));
            } else if dice.percent(35) {
                dispatch = dispatch.unique_key(format!("turn {}", dice.throw(3)));
                dispatch = match dice.throw(6) {
                    0 => dispatch.until(Until::Started),
                    1 => dispatch.within(dice.millis(1, 9_000)),
                    2 => dispatch.on_conflict(OnConflict::Refuse),
                    3 => dispatch.on_conflict(OnConflict::Replace(Replace { due: dice.percent(50), ..Replace::ALL })),
                    4 => dispatch.debounce(dice.millis(1, 5_000)),
                    _ => dispatch.debounce_at_most(dice.millis(1, 5_000), Duration::from_secs(7)),
                };
            }
            if dice.percent(15) {
                dispatch = dispatch.weight(1 + dice.few(2));
            }
            client.dispatch(dispatch).await.map(Some)
        }};
    }
    match dice.throw(24) {
        18..=20 => put!(Turnstile::new(dice.few(2), u64::from(dice.few(250)) * 20)),
        21 | 22 => put!(Paced::new()),
        23 => put!(Procession::new()),
        0..=3 => put!(Quick::new()),
        4 => put!(Nap::new(u64::from(dice.few(250)) * 10)),
        5 | 6 => put!(Flaky::new(dice.few(6))),
        7 => put!(Fragile::new(dice.few(5))),
        8 | 9 => put!(Marathon::new()),
        10 => put!(Drowsy::new(dice.few(3))),
        11 => put!(Hopeless::new()),
        12 => put!(Quitter::new()),
        13 => put!(Attentive::new()),
        14 => put!(Stubborn::new()),
        15 => put!(Tardy::new(u64::from(dice.few(4)))),
        16 => put!(Parent::new(u8::try_from(dice.few(3)).unwrap_or_default())),
        _ if dice.percent(50) => put!(Rare::new()),
        _ => client.dispatch(taskwright::Dispatch::new(Forgotten::new()).queue(QUEUES[0])).await.map(|_| None),
    }
}
