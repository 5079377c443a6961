//! The transaction that a task's own writes share with the completion of its job.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::backend::{Backend, Completion, TaskTransaction};
use crate::error::{Error, ErrorKind, Result};

/// The transaction of one attempt: begun for its task, and left here for the worker when the task has returned.
#[derive(Default)]
pub(crate) struct TransactionCell {
    /// Who begins it; `None` where no worker runs the task.
    backend: Option<Arc<dyn Backend>>,
    /// Held for a move only, never across an await.
    open: Mutex<Option<Box<dyn TaskTransaction>>>,
}

impl TransactionCell {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend: Some(backend), open: Mutex::default() }
    }

    /// Begins the transaction and lends it.
    pub(crate) async fn begin(&self) -> Result<Lent<'_>> {
        let Some(backend) = &self.backend else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "no worker runs this task, so nothing begins its transaction; call its function with one of yours",
            ));
        };
        let Some(completion) = completion(&**backend) else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{} runs no tasks in transactions", backend.info().name),
            ));
        };
        Ok(Lent { open: Some(completion.begin().await?), cell: self })
    }

    /// The transaction that the task was lent, if it was and the task has ended.
    pub(crate) fn take(&self) -> Option<Box<dyn TaskTransaction>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What runs tasks in transactions, if the backend does.
pub(crate) fn completion(backend: &dyn Backend) -> Option<&dyn Completion> {
    backend.transaction()?.completion()
}

impl fmt::Debug for TransactionCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionCell").finish_non_exhaustive()
    }
}

/// A transaction in the hands of a task. It is left to the worker when this is dropped, however the task ended.
pub struct Lent<'a> {
    /// Always there until the drop.
    open: Option<Box<dyn TaskTransaction>>,
    cell: &'a TransactionCell,
}

impl Lent<'_> {
    /// The driver's transaction, if it is a `T`.
    pub(crate) fn transaction<T: Any>(&mut self) -> Option<&mut T> {
        self.open.as_mut()?.transaction().downcast_mut()
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        *self.cell.open.lock().unwrap_or_else(PoisonError::into_inner) = self.open.take();
    }
}

impl fmt::Debug for Lent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").finish_non_exhaustive()
    }
}
