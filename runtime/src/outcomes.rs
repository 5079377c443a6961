//! How awaited jobs are watched: one watcher for all handles of a client, which ends when nobody waits.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::{Backend, Fetched, Hint, Listener, Results};
use crate::chance;
use crate::error::{Error, ErrorKind, Result};
use crate::job::JobId;

/// The outcomes that a client's handles wait for.
///
/// However many handles wait, the backend sees one listener and batched fetches.
/// A hint makes the watcher look at once; polling finds what other processes finish where hints do not cross, and
/// what a lost hint would have told.
pub(crate) struct Outcomes(Arc<Shared>);

struct Shared {
    backend: Arc<dyn Backend>,
    /// Held for moves only, never across an await.
    board: Mutex<Board>,
    /// Tells the watcher that somebody began to wait, or that the last one left.
    changed: Notify,
    closed: CancellationToken,
    /// The watcher, so that closing can wait for it.
    watchers: TaskTracker,
}

#[derive(Default)]
struct Board {
    /// Who waits for which job; the oldest job, likely to end first, comes first.
    waiting: BTreeMap<JobId, Vec<Waiter>>,
    /// Jobs that somebody began to wait for since the watcher last looked.
    fresh: Vec<JobId>,
    next_seat: u64,
    /// Whether there is a watcher, which will see what is put in here.
    watched: bool,
}

struct Waiter {
    seat: u64,
    reply: oneshot::Sender<Result<Fetched>>,
}

/// How many jobs are asked for at once.
const PAGE: usize = 500;
/// The time between two polls: the first, while news come, and the longest, when none do.
const POLL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// A backend that does not answer for so long counts as failed.
const PATIENCE: Duration = Duration::from_secs(20);

impl Outcomes {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        Self(Arc::new(Shared {
            backend,
            board: Mutex::default(),
            changed: Notify::new(),
            closed: CancellationToken::new(),
            watchers: TaskTracker::new(),
        }))
    }

    /// What is known of a job now.
    pub(crate) async fn now(&self, id: JobId) -> Result<Fetched> {
        let mut fetched = self.0.fetch(&[id]).await?;
        fetched.pop().ok_or_else(|| miscounted(0, 1))
    }

    /// What is known of a job once it is no longer pending. Cancel safe.
    pub(crate) async fn ended(&self, id: JobId) -> Result<Fetched> {
        self.0.results()?;
        // A watcher is lost with the runtime that it ran on; this caller's runtime carries the next one.
        for _ in 0..3 {
            let (_seat, reply) = self.sit_down(id)?;
            if let Ok(answer) = reply.await {
                return answer;
            }
        }
        Err(Error::unavailable("the wait was abandoned: the runtime is shutting down, or the backend panicked"))
    }

    /// Ends all waits, and those that come later. Closing twice is fine.
    pub(crate) async fn close(&self) {
        self.0.closed.cancel();
        self.0.watchers.close();
        self.0.watchers.wait().await;
    }

    fn sit_down(&self, id: JobId) -> Result<(Seat<'_>, oneshot::Receiver<Result<Fetched>>)> {
        let runtime = Handle::try_current().map_err(|_| {
            Error::new(ErrorKind::NotConfigured, "awaiting a job must happen inside a tokio runtime with time enabled")
        })?;
        let (reply, answer) = oneshot::channel();
        let mut board = self.0.board();
        if self.0.closed.is_cancelled() {
            return Err(closed());
        }
        let seat = board.next_seat;
        board.next_seat += 1;
        board.waiting.entry(id).or_default().push(Waiter { seat, reply });
        board.fresh.push(id);
        if std::mem::replace(&mut board.watched, true) {
            self.0.changed.notify_one();
        } else {
            self.0.watchers.spawn_on(Arc::clone(&self.0).watch(), &runtime);
        }
        Ok((Seat { shared: &self.0, id, number: seat }, answer))
    }
}

/// A place among those who wait, left when it is dropped.
struct Seat<'a> {
    shared: &'a Shared,
    id: JobId,
    number: u64,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut board = self.shared.board();
        let Some(waiters) = board.waiting.get_mut(&self.id) else { return };
        waiters.retain(|waiter| waiter.seat != self.number);
        if waiters.is_empty() {
            board.waiting.remove(&self.id);
        }
        if board.waiting.is_empty() {
            self.shared.changed.notify_one();
        }
    }
}

/// Why the watcher looks.
#[derive(Clone, Copy)]
enum Look {
    /// Somebody began to wait: ask for those jobs alone.
    Fresh,
    /// Outcomes were recorded: ask from the oldest on, as long as that finds any.
    Hinted,
    /// Time has passed: ask for all.
    Polled,
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of the watcher.
    async fn watch(self: Arc<Self>) {
        let mut watch = WatcherWatch { shared: &self, left: false };
        let mut listener = self.listen().await;
        let mut pause = POLL.0;
        let mut next_poll = Instant::now() + pause;
        let mut look = Look::Fresh;
        loop {
            let started = Instant::now();
            let found = tokio::select! {
                biased;
                // What was asked is not needed any more: every wait ends.
                () = self.closed.cancelled() => return,
                found = self.look(look) => found,
            };
            if self.leave_if_nobody_waits() {
                watch.left = true;
                return;
            }
            let now = Instant::now();
            let took = now - started;
            match look {
                Look::Fresh => {
                    pause = POLL.0;
                    next_poll = next_poll.min(now + pause);
                }
                Look::Hinted => {}
                Look::Polled => {
                    pause = if found > 0 { POLL.0 } else { (pause * 2).min(POLL.1) };
                    // Jitter keeps processes apart.
                    next_poll = now + pause.mul_f64(0.75 + 0.25 * chance::share()).max(took);
                }
            }
            look = tokio::select! {
                // In this order, since a poll sees what a hint tells, and both see who has just begun to wait.
                biased;
                () = self.closed.cancelled() => return,
                () = tokio::time::sleep_until(next_poll) => Look::Polled,
                hinted = hint(&mut listener, now + took) => if hinted { Look::Hinted } else { Look::Polled },
                () = self.changed.notified() => Look::Fresh,
            };
            if listener.is_none() && matches!(look, Look::Polled) {
                listener = self.listen().await;
            }
        }
    }

    /// Begins to listen; without a listener polling goes on.
    async fn listen(&self) -> Option<Box<dyn Listener>> {
        match tokio::time::timeout(PATIENCE, self.backend.wake()?.listen()).await {
            Ok(Ok(listener)) => Some(listener),
            Ok(Err(error)) => {
                tracing::debug!(?error, "listening for outcomes failed; polling goes on");
                None
            }
            Err(_) => None,
        }
    }

    /// Asks the backend and answers those whose job has ended; returns how many jobs had.
    async fn look(&self, look: Look) -> usize {
        let mut found = 0;
        let fresh = self.take_fresh();
        if !matches!(look, Look::Polled) {
            for page in fresh.chunks(PAGE) {
                found += self.ask(page).await;
            }
        }
        if matches!(look, Look::Fresh) {
            return found;
        }
        let mut last = None;
        loop {
            let page = self.page_after(last);
            let found_here = self.ask(&page).await;
            found += found_here;
            let fruitless = found_here == 0 && matches!(look, Look::Hinted);
            match page.last() {
                Some(end) if page.len() == PAGE && !fruitless => last = Some(*end),
                _ => return found,
            }
        }
    }

    /// Jobs that somebody began to wait for, and still waits for.
    fn take_fresh(&self) -> Vec<JobId> {
        let mut board = self.board();
        let mut fresh = std::mem::take(&mut board.fresh);
        fresh.retain(|id| board.waiting.contains_key(id));
        fresh.sort_unstable();
        fresh.dedup();
        fresh
    }

    fn page_after(&self, last: Option<JobId>) -> Vec<JobId> {
        let start = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.board().waiting.range((start, Bound::Unbounded)).map(|(id, _)| *id).take(PAGE).collect()
    }

    /// Asks for these jobs; what the backend can't say now is asked again later.
    async fn ask(&self, ids: &[JobId]) -> usize {
        if ids.is_empty() {
            return 0;
        }
        match self.fetch(ids).await {
            Ok(fetched) => {
                let ended = ids.iter().zip(fetched).filter(|(_, fetched)| !matches!(fetched, Fetched::Pending { .. }));
                ended.map(|(id, fetched)| self.answer(*id, || Ok(fetched.clone()))).count()
            }
            Err(error) if error.is_transient() => {
                tracing::debug!(?error, jobs = ids.len(), "asking for outcomes failed and is tried again");
                0
            }
            Err(error) => ids.iter().map(|id| self.answer(*id, || Err(error.share()))).count(),
        }
    }

    fn answer(&self, id: JobId, answer: impl Fn() -> Result<Fetched>) {
        let waiters = self.board().waiting.remove(&id).unwrap_or_default();
        for waiter in waiters {
            // Who has left meanwhile needs no answer.
            drop(waiter.reply.send(answer()));
        }
    }

    fn leave_if_nobody_waits(&self) -> bool {
        let mut board = self.board();
        board.watched = !board.waiting.is_empty();
        !board.watched
    }

    async fn fetch(&self, ids: &[JobId]) -> Result<Vec<Fetched>> {
        let name = self.backend.info().name;
        let fetched = tokio::time::timeout(PATIENCE, self.results()?.fetch(ids)).await.unwrap_or_else(|_| {
            let patience = crate::time::format_duration(PATIENCE);
            Err(Error::unavailable(format!("the backend did not say what became of a job within {patience}")))
        });
        match fetched {
            Ok(fetched) if fetched.len() == ids.len() => Ok(fetched),
            Ok(fetched) => Err(miscounted(fetched.len(), ids.len())),
            Err(error) => Err(error.context("backend", name).context("while", "fetch")),
        }
    }

    fn results(&self) -> Result<&dyn Results> {
        self.backend.results().ok_or_else(|| {
            let name = self.backend.info().name;
            Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{name} keeps no results, so its jobs can't be awaited or looked up; name a backend that does in the setting `results_url`"
                ),
            )
        })
    }
}

/// Waits for a hint that outcomes were recorded; false when the listener is gone.
///
/// Until `rested`, hints are left to gather: a store that answers slowly is asked less often.
async fn hint(listener: &mut Option<Box<dyn Listener>>, rested: Instant) -> bool {
    // A timer is no use below its own precision.
    if rested > Instant::now() + Duration::from_millis(2) {
        tokio::time::sleep_until(rested).await;
    }
    loop {
        let Some(listening) = listener else { return std::future::pending().await };
        match listening.next().await {
            Ok(Hint::Outcomes | Hint::Everything) => return true,
            Ok(Hint::Jobs(_) | Hint::Control) => {}
            Err(error) => {
                tracing::debug!(?error, "the listener for outcomes is lost; polling goes on");
                *listener = None;
                return false;
            }
        }
    }
}

/// Notices that the watcher ends while somebody waits: it was closed, or its runtime has shut down.
struct WatcherWatch<'a> {
    shared: &'a Shared,
    /// Whether it left in peace; there may be another watcher already.
    left: bool,
}

impl Drop for WatcherWatch<'_> {
    /// Answers or lets go of those who wait, so that nobody waits for ever.
    fn drop(&mut self) {
        if self.left {
            return;
        }
        let waiting = {
            let mut board = self.shared.board();
            board.watched = false;
            board.fresh.clear();
            std::mem::take(&mut board.waiting)
        };
        if self.shared.closed.is_cancelled() {
            for waiter in waiting.into_values().flatten() {
                drop(waiter.reply.send(Err(closed())));
            }
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the client is closed; the job goes on, and another client can await it")
}

fn miscounted(answered: usize, asked: usize) -> Error {
    Error::unavailable(format!("the backend gave {answered} answers for {asked} jobs, which is a defect in it"))
}

impl fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcomes").finish_non_exhaustive()
    }
}
