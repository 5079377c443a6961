//! Removing terminal jobs that nobody needs any more.

use super::{BATCH, MOST_CALLS};
use crate::worker::Shared;

/// Prunes until nothing is left, a bounded number of times.
pub(super) async fn round(worker: &Shared) {
    let Some(inspect) = worker.backend.inspect() else { return };
    let mut pruned = 0;
    for _ in 0..MOST_CALLS {
        match worker.call("prune", inspect.prune(&worker.options.retention, BATCH)).await {
            Ok(changed) => {
                pruned += changed.count;
                if !changed.more {
                    break;
                }
            }
            Err(error) => return worker.backend_failed("prune", &error),
        }
    }
    if pruned > 0 {
        tracing::debug!(pruned, "removed terminal jobs");
    }
}
