//! Who does the maintenance.

use tokio::time::Instant;

use crate::backend::Leader;
use crate::error::Result;
use crate::job::Name;
use crate::worker::Shared;

/// Whether this worker leads, as far as it can know by itself.
#[derive(Debug, Default)]
pub(super) struct Leadership {
    /// It leads until this moment, measured from before the store was asked.
    trusted_until: Option<Instant>,
    /// When to renew.
    renew_at: Option<Instant>,
}

impl Leadership {
    /// Becomes or stays the leader if it can; without elections everybody leads.
    pub(super) async fn hold(&mut self, worker: &Shared) -> bool {
        let Some(leader) = worker.backend.leader() else { return true };
        let now = Instant::now();
        if self.renew_at.is_some_and(|renew| now < renew) {
            return self.leads(now);
        }
        match campaign(worker, leader).await {
            Ok(true) => {
                self.trusted_until = Some(now + worker.options.lease);
                self.renew_at = Some(now + worker.options.lease / 3);
            }
            Ok(false) => *self = Self::default(),
            Err(error) => worker.backend_failed("campaign", &error),
        }
        self.leads(Instant::now())
    }

    fn leads(&self, now: Instant) -> bool {
        self.trusted_until.is_some_and(|until| now < until)
    }
}

async fn campaign(worker: &Shared, leader: &dyn Leader) -> Result<bool> {
    let role = role()?;
    let term = worker.call("campaign", leader.campaign(&role, worker.id, worker.options.lease)).await?;
    Ok(term.is_some())
}

/// Steps down if it leads, so that another worker follows at once.
pub(crate) async fn resign(worker: &Shared) {
    let (Some(leader), Ok(role)) = (worker.backend.leader(), role()) else { return };
    if let Err(error) = worker.call("resign", leader.resign(&role, worker.id)).await {
        tracing::debug!(error = ?error, "the leader could not resign; its term ends by itself");
    }
}

fn role() -> Result<Name> {
    Name::new("maintenance")
}
