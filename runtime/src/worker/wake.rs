//! Listening for hints, so that nobody needs to poll.

use std::convert::Infallible;

use super::Shared;
use crate::backend::{Hint, Wake};
use crate::error::Result;

/// Turns the backend's hints into looks at the queues and heartbeats, for as long as its caller keeps it.
pub(crate) async fn listen(worker: &Shared) {
    let Some(wake) = worker.backend.wake() else {
        return std::future::pending().await;
    };
    let mut failures = 0;
    loop {
        let Err(error) = follow(worker, wake, &mut failures).await;
        failures += 1;
        worker.backend_failed("listen", &error);
        tokio::time::sleep(super::reconnect_delay(failures)).await;
    }
}

async fn follow(worker: &Shared, wake: &dyn Wake, failures: &mut u32) -> Result<Infallible> {
    let mut listener = worker.call("listen", wake.listen()).await?;
    // Whatever happened before we listened has to be looked for.
    act(worker, &Hint::Everything);
    loop {
        let hint = listener.next().await?;
        *failures = 0;
        act(worker, &hint);
    }
}

fn act(worker: &Shared, hint: &Hint) {
    match hint {
        Hint::Jobs(queue) if !worker.options.queues.iter().any(|served| served.name == *queue) => {}
        Hint::Jobs(_) => worker.look.notify_one(),
        Hint::Outcomes => {}
        Hint::Control | Hint::Everything => {
            worker.leases.beat.notify_one();
            worker.look.notify_one();
        }
    }
}
