//! Where it is measured: a queue of its own, and workers that serve it alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::super::trouble::{Exit, Trouble};
use super::figures::{Spread, Steady};
use super::probe::{Clock, Probe};
use crate::backend::{Change, Inspect, JobFilter};
use crate::client::Client;
use crate::codec::Codec;
use crate::context::States;
use crate::dispatch::Dispatch;
use crate::error::Result;
use crate::job::{JobId, Name, State};
use crate::registry::Registry;
use crate::worker::{QueueOptions, Shutdown, Summary, Worker, WorkerOptions};

/// How many callers dispatch at the same time, where they do.
const CALLERS: usize = 64;

/// How long nothing is dispatched before a worker counts as idle.
const PAUSE: Duration = Duration::from_millis(5);

/// How often a steady run dispatches.
const BEAT: Duration = Duration::from_millis(2);

/// How many jobs one step removes.
const STEP: usize = 1_000;

pub(super) struct Stand {
    client: Client,
    queue: Name,
    options: WorkerOptions,
    zero: Instant,
    /// The worker of the moment, kept here so that it ends well when what is measured with it does not.
    running: Option<Running>,
}

struct Running {
    shutdown: Shutdown,
    worker: JoinHandle<Result<Summary>>,
    starts: UnboundedReceiver<Duration>,
}

impl Stand {
    /// With workers of these options, other than their queues and limits.
    pub(super) fn new(client: Client, mut options: WorkerOptions) -> Result<Self> {
        let id = JobId::new().to_string();
        let queue = Name::new(format!("taskwright-bench-{}", &id[id.len() - 12..]))?;
        options.queues = vec![QueueOptions::all_slots(queue.clone())];
        options.limits.clear();
        Ok(Self { client, queue, options, zero: Instant::now(), running: None })
    }

    fn probe(&self) -> Dispatch<Probe> {
        let probe = Dispatch::new(Probe::new(self.zero)).queue(&self.queue);
        probe.codec(Codec::MessagePack).forget_result()
    }

    /// The rate of a caller whose dispatches wait for each other.
    pub(super) async fn one_at_a_time(&self, jobs: usize) -> Result<f64> {
        let began = Instant::now();
        for _ in 0..jobs {
            self.client.dispatch(self.probe()).await?;
        }
        Ok(per_second(jobs, began.elapsed()))
    }

    /// The rate of many callers together.
    pub(super) async fn together(&self, jobs: usize) -> Result<f64> {
        let began = Instant::now();
        let dispatches = stream::iter(0..jobs).map(|_| self.client.dispatch(self.probe()));
        dispatches.buffer_unordered(CALLERS).try_for_each(|_| async { Ok(()) }).await?;
        Ok(per_second(jobs, began.elapsed()))
    }

    pub(super) async fn bulk(&self, jobs: usize) -> Result<f64> {
        let began = Instant::now();
        self.client.dispatch_many((0..jobs).map(|_| self.probe())).await?;
        Ok(per_second(jobs, began.elapsed()))
    }

    /// The rate at which all that waits is claimed, run and settled.
    pub(super) async fn drain(&mut self) -> Result<f64, Trouble> {
        let began = Instant::now();
        self.start(true)?;
        let summary = self.ended().await?;
        if summary.failed + summary.returned + summary.lost > 0 {
            return Err(Trouble::new(Exit::Failed, format!("some jobs did not complete: {summary:?}")));
        }
        Ok(per_second(usize::try_from(summary.completed).unwrap_or(usize::MAX), began.elapsed()))
    }

    /// How long jobs take to start that come one by one.
    pub(super) async fn idle_starts(&mut self, samples: usize) -> Result<Spread, Trouble> {
        self.start(false)?;
        let mut taken = Vec::with_capacity(samples);
        for _ in 0..samples {
            tokio::time::sleep(PAUSE).await;
            self.client.dispatch(self.probe()).await?;
            taken.push(self.next_start().await?);
        }
        self.stop().await?;
        Ok(Spread::of(taken))
    }

    /// How long jobs take to start when so many a second come for a while.
    pub(super) async fn steady(&mut self, rate: usize, time: Duration) -> Result<Steady, Trouble> {
        self.start(false)?;
        let began = Instant::now();
        let dispatched = self.keep_busy(rate, time).await?;
        let mut taken = Vec::with_capacity(dispatched);
        for _ in 0..dispatched {
            taken.push(self.next_start().await?);
        }
        let reached = per_second(dispatched, began.elapsed());
        self.stop().await?;
        Ok(Steady { asked: rate, reached, start: Spread::of(taken) })
    }

    /// Dispatches so many jobs a second, spread evenly, and answers how many.
    async fn keep_busy(&self, rate: usize, time: Duration) -> Result<usize> {
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (began, mut dispatched) = (Instant::now(), 0);
        loop {
            beats.tick().await;
            let elapsed = began.elapsed();
            let wanted =
                usize::try_from(elapsed.min(time).as_micros() * rate as u128 / 1_000_000).unwrap_or(usize::MAX);
            self.client.dispatch_many((dispatched..wanted).map(|_| self.probe())).await?;
            dispatched = wanted;
            if elapsed >= time {
                return Ok(dispatched);
            }
        }
    }

    fn start(&mut self, drain: bool) -> Result<()> {
        let (sender, starts) = unbounded_channel();
        let mut states = States::default();
        states.insert(Clock { zero: self.zero, starts: sender });
        let options = WorkerOptions { drain, ..self.options.clone() };
        let tasks = Registry::new().with::<Probe>()?;
        let worker = Worker::new(self.client.clone(), tasks, Arc::new(states), options)?;
        let shutdown = Shutdown::new();
        let worker = tokio::spawn(worker.run(shutdown.clone()));
        self.running = Some(Running { shutdown, worker, starts });
        Ok(())
    }

    async fn next_start(&mut self) -> Result<Duration, Trouble> {
        let start = match &mut self.running {
            Some(running) => running.starts.recv().await,
            None => None,
        };
        start.ok_or_else(|| Trouble::new(Exit::Failed, "the worker has stopped"))
    }

    async fn stop(&mut self) -> Result<Summary, Trouble> {
        if let Some(running) = &self.running {
            running.shutdown.stop();
        }
        self.ended().await
    }

    /// What the worker did, once it has ended.
    async fn ended(&mut self) -> Result<Summary, Trouble> {
        let stopped = || Trouble::new(Exit::Failed, "the worker has stopped");
        let running = self.running.as_mut().ok_or_else(stopped)?;
        let summary = (&mut running.worker).await.map_err(|_| stopped())?;
        self.running = None;
        Ok(summary?)
    }

    /// Leaves nothing behind, however far the measurement came.
    pub(super) async fn clear(&mut self) -> Result<(), Trouble> {
        if let Some(running) = &self.running {
            running.shutdown.abort();
            self.ended().await?;
        }
        // Stored after all that was on its way, and cleared with it.
        self.client.dispatch(self.probe()).await?;
        match self.client.backend().inspect() {
            Some(inspect) => Ok(self.delete(inspect).await?),
            None => self.drain().await.map(drop),
        }
    }

    async fn delete(&self, inspect: &dyn Inspect) -> Result<()> {
        let states = State::ALL.into_iter().filter(|state| *state != State::Running).collect();
        let filter = JobFilter { queue: Some(self.queue.clone()), states, ..JobFilter::default() };
        while inspect.change(&Change::Delete, &filter, STEP).await?.count > 0 {}
        Ok(())
    }
}

fn per_second(jobs: usize, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "no run has 2^52 jobs")]
    let jobs = jobs as f64;
    jobs / time.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_half_done_is_cleared() {
        let client = Client::connect("memory:").await.unwrap();
        let mut stand = Stand::new(client.clone(), WorkerOptions::default()).unwrap();
        stand.bulk(10).await.unwrap();
        stand.start(false).unwrap();
        stand.bulk(STEP + 1).await.unwrap();
        stand.clear().await.unwrap();
        assert!(client.backend().inspect().unwrap().queues().await.unwrap().is_empty());
    }
}
