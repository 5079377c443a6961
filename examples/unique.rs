//! Uniqueness: one job of a kind at a time, the latest of many, or one in a while.
//!
//! ```console
//! $ cargo run --example unique
//! ```

use taskwright::job::{OnConflict, Until};
use taskwright::prelude::*;
use taskwright::{ErrorKind, Shutdown, State};

/// One unfinished job for each account; another dispatch gets the handle of that one.
#[task(unique = "sync-{account}")]
async fn sync(account: u64) -> TaskResult<String> {
    Ok(format!("synced account {account}"))
}

/// However often a page is edited, it is indexed once, as it was last, when nobody has edited it for a moment.
///
/// What counts is the page; its text is what the latest dispatch brings.
#[task(unique(by(page), debounce("50ms", longest = "1s")))]
async fn index(page: u64, text: String) -> TaskResult<String> {
    Ok(format!("indexed page {page} as {text:?}"))
}

/// At most one reminder an hour, also when the first has long been sent.
#[task(unique(by(user), throttle("1h")))]
async fn remind(user: u64) {
    let _ = user;
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let app = App::new().url("memory:");
    let client = app.client().await?;

    let first = Sync::new(7).dispatch().await?;
    let second = Sync::new(7).dispatch().await?;
    println!("one job for both: {}", !second.is_new() && second.id() == first.id());
    let refused = Sync::new(7).on_conflict(OnConflict::Refuse).dispatch().await;
    println!("refused: {}", refused.is_err_and(|error| error.kind() == ErrorKind::Conflict));

    let draft = Index::new(1, "a draft").dispatch().await?;
    let edited = Index::new(1, "the latest text").dispatch().await?;
    println!("replaced: {}", edited.is_replaced() && edited.id() == draft.id());

    let reminder = Remind::new(3).dispatch().await?;

    let shutdown = Shutdown::new();
    let worker = tokio::spawn(app.worker(client)?.run(shutdown.clone()));
    println!("{}", second.await?);
    println!("{}", draft.await?);
    reminder.wait().await?;
    println!("again within the hour: {}", Remind::new(3).dispatch().await?.is_new());

    // Any dispatch can bring a rule of its own.
    let one =
        Sync::new(8).unique_key("nightly").until(Until::Started).delay(Duration::from_hours(1)).dispatch().await?;
    let other = Sync::new(9).unique_key("nightly").dispatch().await?;
    println!("{}", if other.id() == one.id() && other.status().await? == State::Scheduled { "skipped" } else { "new" });

    shutdown.stop();
    worker.await??;
    Ok(())
}

// Output:
// one job for both: true
// refused: true
// replaced: true
// synced account 7
// indexed page 1 as "the latest text"
// again within the hour: false
// skipped
