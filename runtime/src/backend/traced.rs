//! The one wrapper around every backend: spans, and errors that say what was being done.

use std::sync::Arc;

use async_trait::async_trait;
use tracing::Instrument;

use super::{
    Backend, Cancel, Cancelled, Claim, Claimed, Extend, Extended, Info, Inspect, Leader, Ledger, Limiter, Push, Pushed,
    Reap, Reaped, Results, Settled, Settlement, Transaction, Wake,
};
use crate::error::Result;

/// A backend whose operations are traced and whose errors name the backend and the operation.
///
/// Facets are handed through as they are.
#[derive(Debug)]
pub struct Traced(Arc<dyn Backend>);

impl Traced {
    /// Wraps a backend; one that is wrapped stays as it is.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self(backend)
    }

    async fn call<T>(&self, operation: &'static str, jobs: usize, call: impl Future<Output = Result<T>>) -> Result<T> {
        let backend = self.0.info().name;
        let span = tracing::trace_span!("backend", otel.name = operation, backend, jobs);
        call.instrument(span).await.map_err(|error| error.context("backend", backend).context("while", operation))
    }
}

#[async_trait]
impl Backend for Traced {
    fn info(&self) -> &Info {
        self.0.info()
    }

    async fn push(&self, push: &Push) -> Result<Vec<Pushed>> {
        self.call("push", push.jobs.len(), self.0.push(push)).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed> {
        self.call("claim", claim.limit, self.0.claim(claim)).await
    }

    async fn extend(&self, extend: &Extend) -> Result<Extended> {
        self.call("extend", extend.renewals.len(), self.0.extend(extend)).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.call("settle", settlements.len(), self.0.settle(settlements)).await
    }

    async fn cancel(&self, cancel: &Cancel) -> Result<Vec<Cancelled>> {
        self.call("cancel", cancel.ids.len(), self.0.cancel(cancel)).await
    }

    async fn reap(&self, reap: &Reap) -> Result<Reaped> {
        self.call("reap", reap.limit, self.0.reap(reap)).await
    }

    async fn close(&self) -> Result<()> {
        self.call("close", 0, self.0.close()).await
    }

    fn results(&self) -> Option<&dyn Results> {
        self.0.results()
    }

    fn wake(&self) -> Option<&dyn Wake> {
        self.0.wake()
    }

    fn leader(&self) -> Option<&dyn Leader> {
        self.0.leader()
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        self.0.inspect()
    }

    fn limiter(&self) -> Option<&dyn Limiter> {
        self.0.limiter()
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        self.0.ledger()
    }

    fn transaction(&self) -> Option<&dyn Transaction> {
        self.0.transaction()
    }
}
