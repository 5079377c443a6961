//! Middleware around every attempt, as tower layers.

use std::error::Error as StdError;
use std::task::{Context as TaskContext, Poll};

use futures_util::future::BoxFuture;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt};

use crate::codec::Payload;
use crate::context::Context;
use crate::registry::Registration;

use super::isolation::Processes;

/// Any error, as layers pass it on.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// One attempt on its way through the layers to its task.
///
/// ```
/// use taskwright::worker::TaskCall;
///
/// fn label(call: &TaskCall) -> String {
///     format!("{} attempt {}", call.ctx.task(), call.ctx.attempt())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct TaskCall {
    /// What the task will see.
    pub ctx: Context,
    /// The task.
    pub registration: Registration,
    /// Where it runs, if it asks for a process of its own.
    pub(crate) processes: Option<Processes>,
}

/// What a task returned, encoded; `None` when nobody keeps it.
pub type TaskResponse = Option<Payload>;

/// The tasks, with the layers around them.
///
/// A layer's [`Service`] is cloned for each attempt. An error that it returns is the attempt's failure and is judged
/// like the task's own: a [`TaskError`](crate::TaskError) in it or among its causes says what should become of the job.
pub type TaskService = BoxCloneSyncService<TaskCall, TaskResponse, BoxError>;

/// What tasks pass through, from the outermost layer to the task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers(Option<TaskService>);

impl Layers {
    /// Puts `layer` around what is there already.
    pub(crate) fn around<L>(self, layer: &L) -> Self
    where
        L: Layer<TaskService>,
        L::Service: Service<TaskCall, Response = TaskResponse, Error: Into<BoxError>> + Clone + Send + Sync + 'static,
        <L::Service as Service<TaskCall>>::Future: Send + 'static,
    {
        let inner = self.0.unwrap_or_else(|| TaskService::new(Innermost));
        Self(Some(TaskService::new(layer.layer(inner).map_err(Into::into))))
    }

    /// Runs one attempt through the layers; without any, this is the task itself.
    pub(crate) fn call(&self, call: TaskCall) -> BoxFuture<'static, Result<TaskResponse, BoxError>> {
        match &self.0 {
            None => run(call),
            Some(service) => Box::pin(service.clone().oneshot(call)),
        }
    }
}

fn run(call: TaskCall) -> BoxFuture<'static, Result<TaskResponse, BoxError>> {
    let TaskCall { ctx, registration, processes } = call;
    match processes {
        None => (registration.run)(ctx),
        Some(processes) => Box::pin(async move { processes.run(&ctx).await }),
    }
}

/// The task itself, as the innermost service.
#[derive(Clone, Copy, Debug)]
struct Innermost;

impl Service<TaskCall> for Innermost {
    type Response = TaskResponse;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<TaskResponse, BoxError>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: TaskCall) -> Self::Future {
        run(call)
    }
}
