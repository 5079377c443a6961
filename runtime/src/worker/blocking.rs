//! Running plain functions on threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::client::Client;
use crate::context::Context;
use crate::task::{TaskError, TaskFuture};
use crate::trace::TraceContext;

/// Runs `work` on the pool of `ctx`. A panic in it goes on in the caller.
///
/// A thread can't be stopped: when the returned future is dropped, by a timeout say, `work` goes on, is reported as
/// stuck, and another may take its slot.
pub(crate) fn run<T: Send + 'static>(ctx: Context, work: Work<T>) -> TaskFuture<T> {
    Box::pin(on_a_thread(ctx, work))
}

/// A plain function with all that it is called with. Boxed, so that a thread's ways are compiled for each type of
/// result, and not for each task.
pub(crate) type Work<T> = Box<dyn FnOnce(&Context) -> Result<T, TaskError> + Send>;

async fn on_a_thread<T: Send + 'static>(ctx: Context, work: Work<T>) -> Result<T, TaskError> {
    let pool = ctx.blocking_pool().clone();
    let Ok(_slot) = pool.slots.acquire().await else {
        return Err(TaskError::new("the worker's thread pool is closed"));
    };
    let mut watch = StuckWatch { ctx: ctx.clone(), stuck: Arc::clone(&pool.stuck), progress: Arc::default() };
    let progress = Arc::clone(&watch.progress);
    let stuck = Arc::clone(&pool.stuck);
    let surroundings = Surroundings::here();
    let thread = tokio::task::spawn_blocking(move || {
        let work = || surroundings.enter(|| ctx.enter_sync(|| work(&ctx)));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        if progress.swap(ENDED, Ordering::AcqRel) == ABANDONED {
            stuck.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(job.id = %ctx.id(), task = %ctx.task(), "a stuck blocking task has ended");
        }
        result
    });
    let joined = thread.await;
    watch.progress = Arc::new(AtomicUsize::new(ENDED));
    match joined {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(join) => Err(TaskError::new(join)),
    }
}

/// What a task finds around it beside its context: its worker's client, its trace, its span.
struct Surroundings {
    client: Option<Client>,
    trace: Option<TraceContext>,
    span: tracing::Span,
}

impl Surroundings {
    fn here() -> Self {
        Self { client: Client::current().ok(), trace: TraceContext::current(), span: tracing::Span::current() }
    }

    fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
        let _span = self.span.enter();
        let traced = || match &self.trace {
            Some(trace) => trace.scope_sync(work),
            None => work(),
        };
        match &self.client {
            Some(client) => client.scope_sync(traced),
            None => traced(),
        }
    }
}

const ENDED: usize = 1;
const ABANDONED: usize = 2;

/// Notices that an attempt gives up waiting for its thread.
struct StuckWatch {
    ctx: Context,
    stuck: Arc<AtomicUsize>,
    /// 0 while both wait for each other; whoever leaves first writes how.
    progress: Arc<AtomicUsize>,
}

impl Drop for StuckWatch {
    fn drop(&mut self) {
        // Counted before it is published, so that the thread never takes off what was not yet added.
        self.stuck.fetch_add(1, Ordering::Relaxed);
        if self.progress.swap(ABANDONED, Ordering::AcqRel) == ENDED {
            self.stuck.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        tracing::error!(
            job.id = %self.ctx.id(),
            task = %self.ctx.task(),
            "a blocking task outlived its attempt and is stuck; its slot is replaced, its thread is lost until it returns"
        );
    }
}
