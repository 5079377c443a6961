//! Errors: which are tried again, when, and which are not.
//!
//! ```console
//! $ cargo run --example retries
//! ```

use std::sync::atomic::{AtomicBool, Ordering};

use taskwright::Shutdown;
use taskwright::handle::JobFailure;
use taskwright::prelude::*;

#[derive(Debug, thiserror::Error)]
enum CardError {
    #[error("the bank did not answer")]
    NoAnswer,
    #[error("the card was stolen")]
    Stolen,
}

fn may_pass(error: &CardError) -> bool {
    matches!(error, CardError::NoAnswer)
}

/// A typed error is tried again if `retry_if` says so, up to `max_attempts` times, after a wait that doubles.
#[task(max_attempts = 3, backoff = exponential("10ms", max = "1s"), retry_if = may_pass)]
async fn charge(card: String, ctx: &Context) -> Result<String, CardError> {
    match (card.as_str(), ctx.attempt()) {
        ("stolen", _) => Err(CardError::Stolen),
        ("patient", 3) => Ok("charged at attempt 3".to_owned()),
        _ => Err(CardError::NoAnswer),
    }
}

static SHOP_IS_OPEN: AtomicBool = AtomicBool::new(false);

/// Any error is tried again; a `TaskError` asks for something else.
#[task]
async fn ship(parcel: u32, ctx: &Context) -> TaskResult<String> {
    if parcel == 0 {
        return Err(TaskError::discard("there is no parcel 0").into());
    }
    if !SHOP_IS_OPEN.swap(true, Ordering::Relaxed) {
        return Err(TaskError::snooze(Duration::from_millis(10)).into());
    }
    Ok(format!("shipped at attempt {}, since a snooze costs none", ctx.attempt()))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let app = App::new().url("memory:");
    let client = app.client().await?;
    let shutdown = Shutdown::new();
    let worker = tokio::spawn(app.worker(client)?.run(shutdown.clone()));

    for card in ["patient", "stolen", "other"] {
        println!("{card}: {}", told(Charge::new(card).dispatch().await?.await));
    }
    for parcel in [0, 7] {
        println!("{parcel}: {}", told(Ship::new(parcel).dispatch().await?.await));
    }

    shutdown.stop();
    worker.await??;
    Ok(())
}

fn told(result: taskwright::Result<String>) -> String {
    let given_up = |failure: &JobFailure| format!("given up at attempt {}: {failure}", failure.attempt());
    result.unwrap_or_else(|error| JobFailure::of(&error).map_or(error.to_string(), given_up))
}

// Output:
// patient: charged at attempt 3
// stolen: given up at attempt 1: the card was stolen
// other: given up at attempt 3: the bank did not answer
// 0: given up at attempt 1: there is no parcel 0
// 7: shipped at attempt 1, since a snooze costs none
