//! One run: workers, steady dispatch, disruptions, and what is left when they have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use taskwright::backend::JobFilter;
use taskwright::job::Job;
use taskwright::time::set_machine_skew;
use taskwright::{Client, Dispatch, JobId, State, Task};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::place::Place;
use super::proxy::Weather;
use super::report::{RECOVERY, Report};
use super::schedule::{Disruption, Record, each_once, schedule};
use crate::victim::{NARROW, Squeeze, Toil, Version, Victim, client};

const LEASE: Duration = Duration::from_secs(2);
const WORKERS: usize = 3;
/// Jobs a second.
const RATE: u32 = 50;
/// Every so manieth of them counts against a limit.
const LIMITED: u32 = 10;
/// How long all is well before the first disruption.
const WARM_UP: Duration = Duration::from_secs(5);
/// By when the last job must have ended.
const PATIENCE: Duration = Duration::from_mins(3);

/// How much goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Anything, for so long.
    Anything(Duration),
    /// Each thing that can, once.
    EachOnce,
}

/// What the dispatcher was told, and how many jobs had ended when.
#[derive(Default)]
struct Books {
    acknowledged: BTreeSet<JobId>,
    /// Jobs that have ended, by when that was seen.
    ended: Vec<(Instant, u64)>,
    /// More jobs under a limit that ran at once than it allows.
    exceeded: Vec<String>,
    /// The most that were seen at once.
    most_at_once: usize,
}

/// What all that works on one run shares.
#[derive(Clone)]
struct Shared {
    books: Arc<Mutex<Books>>,
    /// Sees the store whatever the network does.
    observer: Client,
}

/// Lets things go wrong at `backend`, and reports what became of the jobs.
///
/// # Errors
///
/// When the place can't be opened, or nobody can tell what became of the jobs.
pub async fn run(backend: &str, plan: Plan, seed: u64, program: &Path) -> Result<Report> {
    let place = Place::open(backend).await?;
    let disruptions = match plan {
        Plan::Anything(length) => schedule(seed, length, LEASE, place.means()),
        Plan::EachOnce => each_once(seed, LEASE, place.means()),
    };
    let shared = Shared { books: Arc::default(), observer: client(&place.direct).await? };
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(start(program, &place)?);
    }
    let mut background = JoinSet::new();
    background.spawn(shared.clone().dispatch_steadily(client(&place.through).await?));
    background.spawn(shared.clone().watch());
    background.spawn(shared.clone().watch_the_limit());
    tokio::time::sleep(WARM_UP).await;
    let steady = shared.rate_before(Instant::now(), WARM_UP / 2);
    ensure!(steady > 1.0, "the workers do {steady} jobs a second although nothing is wrong yet");

    let began = Instant::now();
    for (at, disruption) in &disruptions {
        tokio::time::sleep_until(began + *at).await;
        println!("{:>7.1} s  {disruption:?}", began.elapsed().as_secs_f64());
        disrupt(*disruption, &place, &mut workers, program).await?;
    }
    let calm = Instant::now();
    tokio::time::sleep(RECOVERY + Duration::from_secs(2)).await;
    let recovered = shared.recovered_after(calm, steady);
    background.shutdown().await;

    let jobs = shared.all_ended().await?;
    let books = shared.books();
    Ok(Report {
        backend: place.name.clone(),
        seed,
        seconds: calm.duration_since(began).as_secs(),
        disruptions: disruptions.iter().map(|(at, disruption)| (at.as_secs_f64(), *disruption)).collect(),
        dispatched: books.acknowledged.len(),
        lost: lost(&books.acknowledged, &jobs),
        stale: those(&jobs, |job| job.state == State::Completed && written_by(job) != Some(job.attempt)),
        unexplained: those(&jobs, |job| job.attempt > job.crashes + 1),
        exceeded: books.exceeded.clone(),
        most_at_once: books.most_at_once,
        unasked: jobs.keys().filter(|id| !books.acknowledged.contains(id)).count(),
        steady,
        recovered: recovered.map(|time| time.as_secs_f64()),
        crashes: jobs.values().map(|job| u64::from(job.crashes)).sum(),
    })
}

fn start(program: &Path, place: &Place) -> Result<Victim> {
    tokio::task::block_in_place(|| Victim::start(program, &place.through, LEASE, Version::New))
}

async fn disrupt(disruption: Disruption, place: &Place, workers: &mut Vec<Victim>, program: &Path) -> Result<()> {
    match disruption {
        Disruption::KillWorker => {
            workers.remove(0).kill()?;
            workers.push(start(program, place)?);
        }
        Disruption::StopWorker(time) => {
            let worker = workers.first().context("there are workers")?;
            worker.stop()?;
            tokio::time::sleep(time).await;
            worker.resume()?;
            workers.rotate_left(1);
        }
        Disruption::KillServer => tokio::task::block_in_place(|| place.crash())?,
        Disruption::Silence(time) => place.weather(Weather::Silent, time).await,
        Disruption::Latency(time) => place.weather(Weather::Late(Duration::from_millis(50)), time).await,
        Disruption::Reset => place.reset(),
        Disruption::Exhaust(time) => place.exhaust(time).await,
        Disruption::WrongClock(seconds, time) => {
            let whole_machine = place.means().record == Record::InFile;
            let affected = if whole_machine { workers.len() } else { 1 };
            for seconds in [seconds, 0] {
                for worker in &mut workers[..affected] {
                    worker.set_clock_off_by(seconds)?;
                }
                if whole_machine {
                    set_machine_skew(seconds * 1_000_000);
                }
                if seconds != 0 {
                    tokio::time::sleep(time).await;
                }
            }
            workers.rotate_left(1);
        }
        Disruption::FullDisk(time) => {
            workers.iter().try_for_each(Victim::fill_disk)?;
            tokio::time::sleep(time).await;
            workers.iter().try_for_each(Victim::free_disk)?;
        }
    }
    Ok(())
}

impl Shared {
    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Dispatches through the bad network, each job until somebody says that it is stored.
    async fn dispatch_steadily(self, client: Client) {
        let mut beat = tokio::time::interval(Duration::from_secs(1) / RATE);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut dispatches = JoinSet::new();
        for number in 0_u32.. {
            beat.tick().await;
            while dispatches.try_join_next().is_some() {}
            dispatches.spawn(self.clone().dispatch(client.clone(), number.is_multiple_of(LIMITED)));
        }
    }

    async fn dispatch(self, client: Client, limited: bool) {
        let id = JobId::new();
        let once = async || {
            if limited {
                Dispatch::new(Squeeze::new(200)).id(id).dispatch_on(&client).await.map(drop)
            } else {
                Dispatch::new(Toil::new(20)).id(id).dispatch_on(&client).await.map(drop)
            }
        };
        while once().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.books().acknowledged.insert(id);
    }

    /// Looks how many jobs under the limit have live leases.
    async fn watch_the_limit(self) {
        let mut beat = tokio::time::interval(Duration::from_millis(100));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let Some(first) = self.held().await else { continue };
            if first.len() <= NARROW as usize {
                let mut books = self.books();
                books.most_at_once = books.most_at_once.max(first.len());
                continue;
            }
            // A list is not made in one moment everywhere; what is in two of them was there at once in between.
            let Some(second) = self.held().await else { continue };
            let both: Vec<_> = first.intersection(&second).collect();
            if both.len() > NARROW as usize {
                let mut books = self.books();
                books.most_at_once = books.most_at_once.max(both.len());
                books.exceeded.push(format!("{both:?}"));
            }
        }
    }

    /// The attempts under the limit that have live leases, if the store says so in time.
    async fn held(&self) -> Option<BTreeSet<(JobId, u32)>> {
        let task = Some(Squeeze::DEFINITION.name.parse().ok()?);
        let filter = JobFilter { states: vec![State::Running], task, ..JobFilter::default() };
        let list = self.observer.backend().inspect()?.list(&filter, None, 1_000);
        let jobs = tokio::time::timeout(Duration::from_secs(5), list).await.ok()?.ok()?;
        Some(jobs.into_iter().map(|job| (job.id(), job.attempt)).collect())
    }

    /// Counts what has ended, several times a second.
    async fn watch(self) {
        let mut beat = tokio::time::interval(Duration::from_millis(200));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let acknowledged = u64::try_from(self.books().acknowledged.len()).unwrap_or(u64::MAX);
            if let Some(left) = self.left().await {
                self.books().ended.push((Instant::now(), acknowledged.saturating_sub(left)));
            }
        }
    }

    /// How many jobs have not ended, if the store says so in time.
    async fn left(&self) -> Option<u64> {
        let queues = self.observer.backend().inspect()?.queues();
        let queues = tokio::time::timeout(Duration::from_secs(5), queues).await.ok()?.ok()?;
        Some(queues.iter().flat_map(|queue| queue.counts.values()).sum())
    }

    /// Jobs a second that ended in this time before a moment.
    fn rate_before(&self, moment: Instant, time: Duration) -> f64 {
        let books = self.books();
        let within: Vec<_> = books.ended.iter().filter(|(at, _)| *at <= moment && *at + time >= moment).collect();
        match (within.first(), within.last()) {
            (Some((first, few)), Some((last, many))) if last > first => {
                let ended = u32::try_from(many.saturating_sub(*few)).unwrap_or(u32::MAX);
                f64::from(ended) / (*last - *first).as_secs_f64()
            }
            _ => 0.0,
        }
    }

    /// How long after `calm` nine tenths as many jobs a second ended as did before.
    fn recovered_after(&self, calm: Instant, steady: f64) -> Option<Duration> {
        let second = Duration::from_secs(1);
        let moments: Vec<_> = self.books().ended.iter().map(|(at, _)| *at).filter(|at| *at >= calm + second).collect();
        moments
            .into_iter()
            .find(|at| self.rate_before(*at, second) >= steady * 0.9)
            .map(|at| at.duration_since(calm + second))
    }

    /// Every job, once the last one has ended.
    async fn all_ended(&self) -> Result<BTreeMap<JobId, Job>> {
        let until = Instant::now() + PATIENCE;
        while self.left().await != Some(0) {
            if Instant::now() > until {
                let left = self.left().await;
                bail!("after {PATIENCE:?} of peace {left:?} jobs have not ended");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let inspect = self.observer.backend().inspect().context("the store can't be inspected")?;
        let mut jobs = BTreeMap::new();
        let mut after = None;
        loop {
            let page = inspect.list(&JobFilter::default(), after, 1_000).await?;
            let Some(last) = page.last().map(Job::id) else { return Ok(jobs) };
            after = Some(last);
            jobs.extend(page.into_iter().map(|job| (job.id(), job)));
        }
    }
}

/// The attempt whose task returned what the job has as its result.
fn written_by(job: &Job) -> Option<u32> {
    job.result.as_ref()?.decode().ok()
}

fn lost(acknowledged: &BTreeSet<JobId>, jobs: &BTreeMap<JobId, Job>) -> Vec<String> {
    let is_lost = |id: &&JobId| jobs.get(id).is_none_or(|job| job.state != State::Completed);
    acknowledged.iter().filter(is_lost).map(|id| format!("{id}: {:?}", jobs.get(id))).collect()
}

fn those(jobs: &BTreeMap<JobId, Job>, are: impl Fn(&Job) -> bool) -> Vec<String> {
    jobs.values().filter(|job| are(job)).map(|job| format!("{job:?}")).collect()
}
