//! Arguments in the logs, for those who asked for them.

use std::task::{Context, Poll};

use tower::{Layer, Service};

use crate::worker::{TaskCall, TaskService};

/// Logs the arguments of each attempt before it begins.
///
/// Arguments may be private, so nothing else logs them, and this only runs with the setting `show_arguments`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogArguments;

impl Layer<TaskService> for LogArguments {
    type Service = Logged;

    fn layer(&self, inner: TaskService) -> Logged {
        Logged(inner)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Logged(TaskService);

impl Service<TaskCall> for Logged {
    type Response = <TaskService as Service<TaskCall>>::Response;
    type Error = <TaskService as Service<TaskCall>>::Error;
    type Future = <TaskService as Service<TaskCall>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, call: TaskCall) -> Self::Future {
        tracing::info!(job.arguments = %call.ctx.spec().payload.to_json(), "begins");
        self.0.call(call)
    }
}
