//! What configuration says of limits, told to the backend before the first claim.

use super::Shared;
use crate::backend::LimitSource;
use crate::error::Result;

/// Tells the backend; a store that is away is asked again until it has heard, or the worker stops.
pub(super) async fn configure(worker: &Shared) {
    let mut failures = 0;
    while !worker.options.limits.is_empty() && !worker.shutdown.is_stopping() {
        match worker.call("set limits", tell(worker)).await {
            Ok(()) => return,
            Err(error) => {
                failures += 1;
                worker.backend_failed("set limits", &error);
                tokio::select! {
                    () = tokio::time::sleep(super::reconnect_delay(failures)) => {}
                    () = worker.shutdown.stopping() => {}
                }
            }
        }
    }
}

async fn tell(worker: &Shared) -> Result<()> {
    // Without the facet the worker was refused when it was made.
    let Some(limiter) = worker.backend.limiter() else { return Ok(()) };
    for limit in &worker.options.limits {
        limiter.set_limit(&limit.key, LimitSource::Configuration, limit.allowance).await?;
    }
    Ok(())
}
