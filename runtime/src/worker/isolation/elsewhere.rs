//! Systems where no child can be started: [`check`](super::check) refuses isolated tasks there.

use crate::context::Context;
use crate::error::{Error, ErrorKind};
use crate::registry::RunError;
use crate::worker::{BoxError, TaskResponse, WorkerOptions};

/// The child processes of one worker: none.
#[derive(Clone, Debug)]
pub(crate) struct Processes;

impl Processes {
    pub(crate) fn new(_: &WorkerOptions) -> Self {
        Self
    }

    pub(crate) async fn run(&self, _: &Context) -> Result<TaskResponse, BoxError> {
        Err(RunError::NoProcess(Error::new(ErrorKind::Unsupported, "this system starts no processes for tasks")).into())
    }
}
