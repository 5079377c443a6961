//! Putting tasks on queues.

use std::sync::Arc;

use crate::backend::Backend;
use crate::error::Result;

/// A connection to one backend, from which tasks are dispatched and jobs found again. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    backend: Arc<dyn Backend>,
}

impl Client {
    /// A client of the backend that `url` names.
    pub async fn connect(url: &str) -> Result<Self> {
        Ok(Self::new(crate::backend::connect::connect(url).await?))
    }

    /// A client of a backend that is already there.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self(Arc::new(Inner { backend }))
    }

    /// The backend.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.0.backend
    }
}
