//! Group commit: what arrives while a write is in flight goes together in the next one.
//!
//! ```text
//!  submit(a) ──▶ write [a] ──────────▶ a is answered
//!  submit(b), submit(c) wait ........▶ write [b c] ──────▶ b and c are answered
//! ```
//!
//! Nothing waits for company: the first item goes at once, and the size of a batch follows from how long writes take.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Wake};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::chance;
use crate::error::{Error, ErrorKind, Result};

/// How a batch is written.
pub(crate) trait Flush: Send + Sync + 'static {
    /// What one caller wants written.
    type Item: Send + 'static;
    /// What one caller is told.
    type Answer: Send + 'static;
    /// Items in the form in which the store takes them.
    type Batch: Send + Sync;

    /// Makes a batch, with an identity of its own if batches have one.
    fn pack(&self, items: Vec<Self::Item>) -> Self::Batch;

    /// The items of a batch that will not be written as a whole, in their order.
    fn unpack(&self, batch: Self::Batch) -> Vec<Self::Item>;

    /// Writes a batch and answers for each of its items, in their order.
    ///
    /// The same batch is given again after a transient error.
    /// `earlier_tries` counts the writes that failed before with any of its items in them, and may have had an effect.
    fn flush(&self, batch: &Self::Batch, earlier_tries: u32) -> impl Future<Output = Result<Vec<Self::Answer>>> + Send;
}

/// How much waits, how much goes together, and how long the store may fail before callers hear of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The most items in one write.
    pub(crate) batch: usize,
    /// The most items waiting or being written; further callers wait for room.
    pub(crate) capacity: usize,
    /// How often one batch is tried.
    pub(crate) tries: u32,
    /// How long one batch is tried for, a write that hangs included.
    pub(crate) patience: Duration,
}

impl Bounds {
    /// The wait after the first failed try; it doubles up to [`Bounds::LONGEST_WAIT`], with jitter.
    const FIRST_WAIT: Duration = Duration::from_millis(25);
    const LONGEST_WAIT: Duration = Duration::from_secs(1);
}

impl Default for Bounds {
    /// 500 items in a write, 10,000 in all; 8 tries within 20 seconds.
    fn default() -> Self {
        Self { batch: 500, capacity: 10_000, tries: 8, patience: Duration::from_secs(20) }
    }
}

/// Writes items in batches, one batch at a time. Clones share the buffer.
///
/// A caller is answered when its own item is durable, or could not be made so.
/// A caller that stops waiting changes nothing: its item, once in the buffer, is written.
/// What fails for a passing reason is tried again as it is; what fails for good is split until each item has its own
/// answer, so that one bad item never fails the others.
pub(crate) struct Batcher<F: Flush>(Arc<Shared<F>>);

struct Shared<F: Flush> {
    flush: F,
    bounds: Bounds,
    /// A permit for each item that may still come in; closed so that nobody goes on waiting for one.
    room: Semaphore,
    /// Held for moves only, never across an await.
    buffer: Mutex<Buffer<F>>,
    /// Every writer, so that closing can wait for it.
    writers: TaskTracker,
}

struct Buffer<F: Flush> {
    items: Vec<F::Item>,
    /// How `items` came in, front to back.
    groups: VecDeque<Group<F::Answer>>,
    /// Whether somebody writes, and will see what is put in here.
    writing: bool,
    /// Whether nothing may be put in any more.
    closed: bool,
}

/// Items that came in together and go together.
struct Group<A> {
    count: usize,
    /// Shares its batch with no other group.
    apart: bool,
    reply: Reply<A>,
}

enum Reply<A> {
    One(oneshot::Sender<Result<A>>),
    Many(oneshot::Sender<Vec<Result<A>>>),
}

impl<F: Flush> Batcher<F> {
    pub(crate) fn new(flush: F, bounds: Bounds) -> Self {
        let buffer = Buffer { items: Vec::new(), groups: VecDeque::new(), writing: false, closed: false };
        // A group as large as a whole batch must fit in.
        let capacity = bounds.capacity.max(bounds.batch).min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Shared {
            flush,
            bounds: Bounds { batch: bounds.batch.max(1), capacity, ..bounds },
            room: Semaphore::new(capacity.max(1)),
            buffer: Mutex::new(buffer),
            writers: TaskTracker::new(),
        }))
    }

    /// Writes one item.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for room, nothing has happened; dropped later, the item is written all the same.
    pub(crate) async fn submit(&self, item: F::Item) -> Result<F::Answer> {
        let (sender, answer) = oneshot::channel();
        self.enter(1, |items| items.push(item), false, Reply::One(sender)).await?;
        answer.await.unwrap_or_else(|_| Err(abandoned()))
    }

    /// Writes many items, with one answer for each, in their order. As one caller they cost little more than one item.
    ///
    /// Each piece of [`Bounds::batch`] items goes in one write.
    pub(crate) async fn submit_many(&self, items: Vec<F::Item>) -> Vec<Result<F::Answer>> {
        self.submit_groups(items, false).await
    }

    /// As [`Batcher::submit_many`], in writes that hold nobody else's items.
    pub(crate) async fn submit_apart(&self, items: Vec<F::Item>) -> Vec<Result<F::Answer>> {
        self.submit_groups(items, true).await
    }

    async fn submit_groups(&self, items: Vec<F::Item>, apart: bool) -> Vec<Result<F::Answer>> {
        let mut results = Vec::with_capacity(items.len());
        let mut rest = items.into_iter();
        while rest.len() > 0 {
            let mut group: Vec<_> = rest.by_ref().take(self.0.bounds.batch).collect();
            let count = group.len();
            let (sender, answers) = oneshot::channel();
            let entered = self.enter(count, |items| items.append(&mut group), apart, Reply::Many(sender)).await;
            match entered {
                Err(error) => fail_all(count, error, &mut results),
                Ok(()) => match answers.await {
                    Ok(answers) => results.extend(answers),
                    Err(_) => fail_all(count, abandoned(), &mut results),
                },
            }
        }
        results
    }

    /// Takes no more items, writes those that are in, and waits for that. Closing twice is fine.
    pub(crate) async fn close(&self) {
        self.0.buffer().closed = true;
        self.0.room.close();
        self.0.writers.close();
        self.0.writers.wait().await;
    }

    /// Puts a group in the buffer, and becomes its writer if there is none.
    async fn enter(
        &self,
        count: usize,
        put: impl FnOnce(&mut Vec<F::Item>),
        apart: bool,
        reply: Reply<F::Answer>,
    ) -> Result<()> {
        let Ok(runtime) = Handle::try_current() else {
            return Err(Error::new(ErrorKind::NotConfigured, "this must run inside a tokio runtime with time enabled"));
        };
        let permits = u32::try_from(count).unwrap_or(u32::MAX);
        let Ok(room) = self.0.room.acquire_many(permits).await else { return Err(closed()) };
        // Given back by the writer, item for item.
        room.forget();
        let writer = {
            let mut buffer = self.0.buffer();
            if buffer.closed {
                return Err(closed());
            }
            put(&mut buffer.items);
            buffer.groups.push_back(Group { count, apart, reply });
            let idle = !std::mem::replace(&mut buffer.writing, true);
            // Tracked before the lock is released, so that `close` waits for it.
            idle.then(|| self.0.writers.track_future(Arc::clone(&self.0).write_until_empty()))
        };
        if let Some(writer) = writer {
            start(writer, &runtime);
        }
        Ok(())
    }
}

/// Runs a writer here as far as it comes without waiting, and the rest of it as a task, once there is something to do.
///
/// A store in memory is done at once and pays for no task; a caller that is dropped takes no writer with it.
/// A task that was spawned at once would have nothing to do yet, and the runtime would wake another thread for it: what
/// this one has woken, such as the task that drives a connection, waits to be run here already.
fn start<W: Future<Output = ()> + Send + 'static>(writer: W, runtime: &Handle) {
    let later = Arc::new(Later { runtime: runtime.clone(), stage: Mutex::new(Stage::Begun) });
    let mut writer: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(writer);
    if writer.as_mut().poll(&mut task::Context::from_waker(&Arc::clone(&later).into())).is_ready() {
        return;
    }
    let mut stage = later.stage();
    if let Stage::Begun = *stage {
        *stage = Stage::Waiting(writer);
    } else {
        drop(stage);
        runtime.spawn(writer);
    }
}

/// Wakes a writer that has begun by spawning the rest of it. All that a write waits for wakes it in the end, be it its
/// deadline or the end of its runtime, so it is neither forgotten nor kept for ever.
struct Later {
    runtime: Handle,
    /// Held for moves only.
    stage: Mutex<Stage>,
}

enum Stage {
    /// It is being polled for the first time, and was not woken since.
    Begun,
    /// It is to be spawned when it is woken.
    Waiting(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// It was woken. From its next poll on it wakes as its task.
    Woken,
}

impl Later {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Later {
    fn wake(self: Arc<Self>) {
        let stage = std::mem::replace(&mut *self.stage(), Stage::Woken);
        if let Stage::Waiting(writer) = stage {
            self.runtime.spawn(writer);
        }
    }
}

impl<F: Flush> Shared<F> {
    fn buffer(&self) -> MutexGuard<'_, Buffer<F>> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a writer: batch after batch until the buffer is empty.
    async fn write_until_empty(self: Arc<Self>) {
        let mut watch = WriterWatch { shared: &self, in_flight: 0 };
        loop {
            let (items, groups) = self.next_batch();
            watch.in_flight = items.len();
            let results = self.write(items).await;
            self.room.add_permits(std::mem::take(&mut watch.in_flight));
            answer(groups, results);
            if self.rest_if_empty() {
                std::mem::forget(watch);
                return;
            }
            // Lets those who were just answered, and have more, join the next batch.
            tokio::task::yield_now().await;
        }
    }

    fn rest_if_empty(&self) -> bool {
        let mut buffer = self.buffer();
        buffer.writing = !buffer.groups.is_empty();
        !buffer.writing
    }

    /// Takes whole groups, the oldest first, as many as one write may hold.
    fn next_batch(&self) -> (Vec<F::Item>, Vec<Group<F::Answer>>) {
        let mut buffer = self.buffer();
        let mut count = 0;
        let fitting = buffer.groups.iter().enumerate().take_while(|(place, group)| {
            let alone = *place > 0 && (group.apart || buffer.groups[0].apart);
            count += group.count;
            *place == 0 || (!alone && count <= self.bounds.batch)
        });
        let fitting = fitting.count();
        let groups: Vec<_> = buffer.groups.drain(..fitting).collect();
        let taken = groups.iter().map(|group| group.count).sum();
        let later = buffer.items.split_off(taken);
        (std::mem::replace(&mut buffer.items, later), groups)
    }

    /// Writes items, halving what the store refuses, until each has its own answer.
    async fn write(&self, items: Vec<F::Item>) -> Vec<Result<F::Answer>> {
        let deadline = Instant::now() + self.bounds.patience;
        let mut results = Vec::with_capacity(items.len());
        let mut tries = 0;
        // The next part is the last.
        let mut parts = vec![items];
        while let Some(items) = parts.pop() {
            let count = items.len();
            let batch = self.flush.pack(items);
            match self.persist(&batch, count, &mut tries, deadline).await {
                Ok(answers) => results.extend(answers.into_iter().map(Ok)),
                Err(error) if count > 1 && concerns_content(&error) => {
                    let mut first = self.flush.unpack(batch);
                    let second = first.split_off(count / 2);
                    parts.extend([second, first]);
                }
                Err(error) => fail_all(count, error, &mut results),
            }
        }
        results
    }

    /// Writes one batch, again after errors that may pass, until patience ends.
    async fn persist(
        &self,
        batch: &F::Batch,
        count: usize,
        tries: &mut u32,
        deadline: Instant,
    ) -> Result<Vec<F::Answer>> {
        let mut wait = Bounds::FIRST_WAIT;
        let mut tries_left = self.bounds.tries;
        loop {
            let error = match tokio::time::timeout_at(deadline, self.flush.flush(batch, *tries)).await {
                Ok(Ok(answers)) if answers.len() == count => return Ok(answers),
                Ok(Ok(answers)) => return Err(miscounted(answers.len(), count)),
                Ok(Err(error)) => error,
                Err(_) => return Err(hung(self.bounds.patience)),
            };
            *tries = tries.saturating_add(1);
            tries_left = tries_left.saturating_sub(1);
            let pause = wait.mul_f64(0.5 + 0.5 * chance::share());
            if !error.is_transient() || tries_left == 0 || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tracing::debug!(?error, items = count, "a write failed and is tried again");
            tokio::time::sleep(pause).await;
            wait = (wait * 2).min(Bounds::LONGEST_WAIT);
        }
    }
}

/// Gives a batch's answers to those who wait for them.
fn answer<A>(groups: Vec<Group<A>>, results: Vec<Result<A>>) {
    let mut results = results.into_iter();
    for group in groups {
        // A caller that has gone is no failure: its item is written.
        match group.reply {
            Reply::One(sender) => drop(results.next().map(|result| sender.send(result))),
            Reply::Many(sender) => drop(sender.send(results.by_ref().take(group.count).collect())),
        }
    }
}

/// Notices a writer that ends before its buffer is empty: its runtime has shut down, or the store panicked.
struct WriterWatch<'a, F: Flush> {
    shared: &'a Shared<F>,
    in_flight: usize,
}

impl<F: Flush> Drop for WriterWatch<'_, F> {
    /// Fails those who wait, which dropping their reply does, so that nobody waits for ever; the next caller writes.
    fn drop(&mut self) {
        let (items, groups) = {
            let mut buffer = self.shared.buffer();
            buffer.writing = false;
            (std::mem::take(&mut buffer.items), std::mem::take(&mut buffer.groups))
        };
        self.shared.room.add_permits(self.in_flight + items.len());
        drop(groups);
    }
}

/// One error for several callers; the last has the original, with its causes.
fn fail_all<A>(count: usize, error: Error, results: &mut Vec<Result<A>>) {
    results.extend((1..count).map(|_| Err(error.share())));
    results.push(Err(error));
}

/// Whether another batch with other items in it might fare better.
fn concerns_content(error: &Error) -> bool {
    !error.is_transient() && error.kind() != ErrorKind::Closed
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the client or worker is closed and writes nothing more")
}

fn abandoned() -> Error {
    Error::unavailable("the write was abandoned: the runtime it ran on has shut down, or the backend panicked")
}

fn hung(patience: Duration) -> Error {
    let patience = crate::time::format_duration(patience);
    Error::unavailable(format!("the backend did not finish a write within {patience}; it may or may not have happened"))
}

/// Transient, since smaller batches would not mend it: what became of each item is unknown.
fn miscounted(answered: usize, asked: usize) -> Error {
    Error::unavailable(format!("the backend gave {answered} answers for {asked} items, which is a defect in it"))
}

impl<F: Flush> Clone for Batcher<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: Flush> fmt::Debug for Batcher<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher").field("bounds", &self.0.bounds).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use tokio::sync::mpsc;

    use super::*;

    /// A store that tells each write to the test and does as the test says.
    struct Scripted {
        writes: mpsc::UnboundedSender<Write>,
    }

    struct Write {
        items: Vec<u32>,
        earlier_tries: u32,
        end: oneshot::Sender<Result<()>>,
    }

    impl Write {
        fn succeed(self) {
            drop(self.end.send(Ok(())));
        }

        fn fail(self, error: Error) {
            drop(self.end.send(Err(error)));
        }
    }

    impl Flush for Scripted {
        type Item = u32;
        type Answer = u32;
        type Batch = Vec<u32>;

        fn pack(&self, items: Vec<u32>) -> Vec<u32> {
            items
        }

        fn unpack(&self, batch: Vec<u32>) -> Vec<u32> {
            batch
        }

        async fn flush(&self, batch: &Vec<u32>, earlier_tries: u32) -> Result<Vec<u32>> {
            let (end, ended) = oneshot::channel();
            let items = batch.clone();
            self.writes.send(Write { items, earlier_tries, end }).expect("the test goes on");
            ended.await.expect("the test ends every write")?;
            Ok(batch.iter().map(|item| item * 10).collect())
        }
    }

    type Writes = mpsc::UnboundedReceiver<Write>;

    fn setup(bounds: Bounds) -> (Batcher<Scripted>, Writes) {
        let (writes, received) = mpsc::unbounded_channel();
        (Batcher::new(Scripted { writes }, bounds), received)
    }

    /// Starts a caller, and lets it come as far as it can.
    async fn call(batcher: &Batcher<Scripted>, item: u32) -> tokio::task::JoinHandle<Result<u32>> {
        let batcher = batcher.clone();
        let caller = tokio::spawn(async move { batcher.submit(item).await });
        tokio::task::yield_now().await;
        caller
    }

    async fn next(writes: &mut Writes) -> Write {
        writes.recv().await.expect("a write")
    }

    fn refused() -> Error {
        Error::invalid("refused")
    }

    #[tokio::test]
    async fn the_first_item_goes_at_once_and_the_others_together() {
        let (batcher, mut writes) = setup(Bounds::default());
        let first = call(&batcher, 1).await;
        let write = next(&mut writes).await;
        assert_eq!(write.items, [1]);
        let (second, third) = (call(&batcher, 2).await, call(&batcher, 3).await);
        write.succeed();
        assert_eq!(first.await.unwrap().unwrap(), 10);
        let write = next(&mut writes).await;
        assert_eq!(write.items, [2, 3]);
        assert!(!second.is_finished(), "nobody is answered before the write has ended");
        write.succeed();
        assert_eq!(second.await.unwrap().unwrap(), 20);
        assert_eq!(third.await.unwrap().unwrap(), 30);
    }

    #[tokio::test]
    async fn a_write_holds_no_more_than_its_bound() {
        let (batcher, mut writes) = setup(Bounds { batch: 2, ..Bounds::default() });
        let callers =
            [call(&batcher, 0).await, call(&batcher, 1).await, call(&batcher, 2).await, call(&batcher, 3).await];
        for expected in [&[0][..], &[1, 2], &[3]] {
            let write = next(&mut writes).await;
            assert_eq!(write.items, expected);
            write.succeed();
        }
        for caller in callers {
            caller.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn the_item_of_a_caller_that_left_is_written() {
        let (batcher, mut writes) = setup(Bounds::default());
        let first = call(&batcher, 1).await;
        let second = call(&batcher, 2).await;
        let write = next(&mut writes).await;
        first.abort();
        second.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        write.succeed();
        let write = next(&mut writes).await;
        assert_eq!(write.items, [2]);
        write.succeed();
        batcher.close().await;
    }

    #[tokio::test]
    async fn a_full_buffer_makes_callers_wait() {
        let (batcher, mut writes) = setup(Bounds { batch: 1, capacity: 1, ..Bounds::default() });
        let first = call(&batcher, 1).await;
        let second = call(&batcher, 2).await;
        let write = next(&mut writes).await;
        assert_eq!(batcher.0.buffer().groups.len(), 0, "the second caller is not in the buffer");
        second.abort();
        write.succeed();
        first.await.unwrap().unwrap();
        assert!(second.await.unwrap_err().is_cancelled());
        batcher.close().await;
        assert!(writes.try_recv().is_err(), "who left before there was room wrote nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn a_passing_error_is_tried_again_with_the_same_batch() {
        let (batcher, mut writes) = setup(Bounds::default());
        let caller = call(&batcher, 7).await;
        for earlier_tries in 0..3 {
            let write = next(&mut writes).await;
            assert_eq!((&write.items[..], write.earlier_tries), (&[7][..], earlier_tries));
            write.fail(Error::unavailable("busy"));
        }
        next(&mut writes).await.succeed();
        assert_eq!(caller.await.unwrap().unwrap(), 70);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lasting_error_reaches_every_caller_and_the_next_one_succeeds() {
        let (batcher, mut writes) = setup(Bounds { tries: 2, ..Bounds::default() });
        let many = tokio::spawn({
            let batcher = batcher.clone();
            async move { batcher.submit_many(vec![1, 2, 3]).await }
        });
        for _ in 0..2 {
            next(&mut writes).await.fail(Error::unavailable("away"));
        }
        for result in many.await.unwrap() {
            assert!(result.unwrap_err().is_transient());
        }
        let caller = call(&batcher, 4).await;
        next(&mut writes).await.succeed();
        assert_eq!(caller.await.unwrap().unwrap(), 40);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_hangs_ends_with_patience() {
        let (batcher, mut writes) = setup(Bounds::default());
        let caller = call(&batcher, 1).await;
        let hanging = next(&mut writes).await;
        let error = caller.await.unwrap().unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("20s"), "{error}");
        drop(hanging);
    }

    #[tokio::test]
    async fn one_bad_item_fails_alone() {
        let (batcher, mut writes) = setup(Bounds::default());
        let callers = tokio::spawn({
            let batcher = batcher.clone();
            async move { batcher.submit_many(vec![1, 2, 3, 4, 5]).await }
        });
        let mut seen: Vec<Vec<u32>> = Vec::new();
        while seen.iter().filter(|items| items.contains(&4)).count() < 4 {
            let write = next(&mut writes).await;
            seen.push(write.items.clone());
            if write.items.contains(&4) { write.fail(refused()) } else { write.succeed() }
        }
        next(&mut writes).await.succeed();
        assert_eq!(seen, [vec![1, 2, 3, 4, 5], vec![1, 2], vec![3, 4, 5], vec![3], vec![4, 5], vec![4]]);
        let answers = callers.await.unwrap();
        assert_eq!(answers[3].as_ref().unwrap_err().kind(), ErrorKind::Invalid);
        let good: Vec<_> = answers.into_iter().filter_map(Result::ok).collect();
        assert_eq!(good, [10, 20, 30, 50]);
    }

    #[tokio::test]
    async fn groups_that_go_apart_share_no_write() {
        let (batcher, mut writes) = setup(Bounds::default());
        let first = call(&batcher, 1).await;
        let write = next(&mut writes).await;
        let second = call(&batcher, 2).await;
        let apart = tokio::spawn({
            let batcher = batcher.clone();
            async move { batcher.submit_apart(vec![3, 4]).await }
        });
        tokio::task::yield_now().await;
        let last = call(&batcher, 5).await;
        write.succeed();
        for expected in [&[2][..], &[3, 4], &[5]] {
            let write = next(&mut writes).await;
            assert_eq!(write.items, expected);
            write.succeed();
        }
        for caller in [first, second, last] {
            caller.await.unwrap().unwrap();
        }
        assert_eq!(apart.await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn closing_writes_what_is_in_and_refuses_the_rest() {
        let (batcher, mut writes) = setup(Bounds::default());
        let callers = [call(&batcher, 1).await, call(&batcher, 2).await];
        let closing = tokio::spawn({
            let batcher = batcher.clone();
            async move { batcher.close().await }
        });
        next(&mut writes).await.succeed();
        tokio::task::yield_now().await;
        assert!(!closing.is_finished(), "closing waits for the second write");
        next(&mut writes).await.succeed();
        closing.await.unwrap();
        for caller in callers {
            caller.await.unwrap().unwrap();
        }
        assert_eq!(batcher.submit(3).await.unwrap_err().kind(), ErrorKind::Closed);
        batcher.close().await;
    }

    #[test]
    fn a_runtime_that_ends_leaves_nobody_waiting() {
        let (batcher, mut writes) = setup(Bounds::default());
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let first = runtime();
        let hanging = first.block_on(async {
            let _caller = call(&batcher, 1).await;
            next(&mut writes).await
        });
        drop(first);
        drop(hanging);
        runtime().block_on(async {
            let caller = call(&batcher, 2).await;
            let write = next(&mut writes).await;
            assert_eq!(write.items, [2]);
            write.succeed();
            caller.await.unwrap().unwrap();
        });
    }

    /// A store whose answer is there before the first poll of a write has returned.
    struct Quick;

    impl Flush for Quick {
        type Item = ();
        type Answer = ();
        type Batch = Vec<()>;

        fn pack(&self, items: Vec<()>) -> Vec<()> {
            items
        }

        fn unpack(&self, batch: Vec<()>) -> Vec<()> {
            batch
        }

        async fn flush(&self, batch: &Vec<()>, _earlier_tries: u32) -> Result<Vec<()>> {
            let mut is_there = false;
            let answer = std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                if std::mem::replace(&mut is_there, true) { Poll::Ready(()) } else { Poll::Pending }
            });
            answer.await;
            Ok(batch.clone())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_is_woken_while_it_begins_goes_on_at_once() {
        let batcher = Batcher::new(Quick, Bounds::default());
        let began = Instant::now();
        batcher.submit(()).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO, "it has waited for its deadline");
        batcher.close().await;
    }

    #[test]
    fn without_a_runtime_the_error_says_so() {
        let (batcher, _writes) = setup(Bounds::default());
        let error = futures_util::FutureExt::now_or_never(batcher.submit(1)).expect("an answer at once").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConfigured);
    }
}
