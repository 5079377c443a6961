//! A program as its users write one, for the tests of the generated command line.

#![expect(clippy::unused_async, reason = "tasks are async functions, also those that wait for nothing")]

use taskwright::cli::clap::{Arg, ArgMatches, Command};
use taskwright::prelude::*;

/// Adds two numbers, and waits for nobody.
///
/// A second paragraph, for `tasks fixture.add`.
#[task(name = "fixture.add", aliases = ["fixture.sum"], keep_result = "1h", tags = ["sums"])]
async fn add(left: i64, right: i64) -> TaskResult<i64> {
    left.checked_add(right).ok_or_else(|| TaskError::discard("the sum is too large").into())
}

/// Fails every time, for a reason behind a reason.
#[task(name = "fixture.fail", queue = "mail", max_attempts = 1)]
async fn fail(to: String) -> TaskResult {
    Err(anyhow::anyhow!("connection refused").context(format!("mail to {to} was not sent")).into())
}

/// Greets with state that the wiring gives.
#[task(name = "fixture.greet", unique = "greet-{name}")]
async fn greet(name: String, #[serde(default)] loudly: bool, #[state] greeting: &Greeting) -> TaskResult<String> {
    let text = format!("{}, {name}", greeting.0);
    // From a thread of the worker, while the program has its own hand on standard output.
    println!("greeting {name}");
    Ok(if loudly { text.to_uppercase() } else { text })
}

/// Goes on until it is told to stop.
#[task(name = "fixture.wait")]
async fn wait(ctx: &Context) -> TaskResult {
    ctx.cancellation().cancelled().await;
    Err("told to stop".into())
}

/// Panics.
#[task(name = "fixture.panic", max_attempts = 1)]
async fn panics() -> TaskResult {
    panic!("this task always panics")
}

/// What `fixture.greet` begins with.
pub(crate) struct Greeting(&'static str);

/// What a fixture's own command prints.
async fn location(client: Client, matches: ArgMatches) -> TaskResult {
    if matches.get_flag("fail") {
        return Err("asked to fail".into());
    }
    println!("{} at {}", client.backend().info().name, client.backend().info().location);
    Ok(())
}

/// The wiring of the fixture.
pub(crate) async fn wire(app: App) -> anyhow::Result<App> {
    let command = Command::new("location").about("Print where the jobs are");
    let fail = Arg::new("fail").long("fail").help("Fail instead").action(taskwright::cli::clap::ArgAction::SetTrue);
    Ok(app.state(Greeting("hello")).command(command.arg(fail), location))
}

#[taskwright::main]
async fn app(app: App) -> anyhow::Result<App> {
    wire(app).await
}
