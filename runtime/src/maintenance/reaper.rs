//! Putting back what dead workers held.

use std::time::Duration;

use super::{BATCH, MOST_CALLS};
use crate::backend::{Reap, Reaped};
use crate::worker::Shared;

/// Reaps until nothing is left, a bounded number of times; tells for how long nothing more will be.
pub(super) async fn round(worker: &Shared) -> Duration {
    let reap = Reap { limit: BATCH, max_crashes: worker.options.max_crashes };
    for _ in 0..MOST_CALLS {
        match worker.call("reap", worker.backend.reap(&reap)).await {
            Ok(reaped) => {
                report(&reaped);
                if !reaped.more {
                    return reaped.calm;
                }
            }
            Err(error) => {
                worker.backend_failed("reap", &error);
                break;
            }
        }
    }
    Duration::ZERO
}

fn report(reaped: &Reaped) {
    let Reaped { returned, discarded, expired, .. } = *reaped;
    if returned + discarded > 0 {
        tracing::warn!(returned, discarded, "rescued jobs of workers that fell silent");
    }
    if expired > 0 {
        tracing::info!(expired, "jobs expired before they were started");
    }
}
