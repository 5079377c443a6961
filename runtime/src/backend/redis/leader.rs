//! One worker among many.

use std::time::Duration;

use async_trait::async_trait;

use super::Redis;
use super::answer::count;
use super::scripts::{CAMPAIGN, RESIGN};
use crate::backend::{Leader, Term};
use crate::error::Result;
use crate::job::{Name, WorkerId};
use crate::time::micros;

#[async_trait]
impl Leader for Redis {
    async fn campaign(&self, role: &Name, worker: WorkerId, ttl: Duration) -> Result<Option<Term>> {
        let mut call = self.link.call(&CAMPAIGN);
        call.arg(role.as_str()).arg(worker.as_bytes()).arg(micros(ttl));
        let term = count(&self.link.run(&call).await?)?;
        Ok((term > 0).then_some(Term(term)))
    }

    async fn resign(&self, role: &Name, worker: WorkerId) -> Result<()> {
        let mut call = self.link.call(&RESIGN);
        call.arg(role.as_str()).arg(worker.as_bytes());
        self.link.run(&call).await?;
        Ok(())
    }
}
