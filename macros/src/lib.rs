//! The macros of Taskwright: [`macro@task`], [`derive@Task`] and [`macro@main`].
//!
//! Use them through the `taskwright` crate, which re-exports them.
//!
//! What happens to the tokens reads in this order: `stages` leads each macro through `parse` (how is it written), `cases`
//! (which parameters are there at all), `options` and `ast` (what was meant), `check` (is it allowed), `expand` and
//! `definition` (what is emitted), or `fallback` (what is emitted when something is wrong).

mod ast;
mod cases;
mod check;
mod definition;
mod duration;
mod errors;
mod expand;
mod fallback;
mod options;
mod parse;
mod path;
mod stages;
#[cfg(test)]
mod tests;
mod unique;

use proc_macro::TokenStream;

/// Makes a function a task: it can be dispatched, and a worker runs it.
///
/// The function stays as it is and can still be called.
/// Beside it stands a struct of its payload parameters, named after it in `UpperCamelCase`, which implements
/// `Task`, `Serialize` and `Deserialize`, has public fields as far as the function is public, and a `new`.
///
/// ```
/// use taskwright::prelude::*;
/// # struct Mailer;
/// # impl Mailer { async fn send(&self, _to: &str, _order: u64) -> Result<u64, std::io::Error> { Ok(1) } }
///
/// /// Mails a receipt.
/// #[task(queue = "mail", max_attempts = 8, timeout = "30s", backoff = exponential("2s", max = "10m"))]
/// async fn send_receipt(
///     order: u64,
///     to: &str,
///     #[state] mailer: &Mailer,
///     ctx: &Context,
/// ) -> Result<u64, std::io::Error> {
///     ctx.progress(0.5, "rendered").await;
///     mailer.send(to, order).await
/// }
///
/// let task = SendReceipt::new(42, "ada@example.org");
/// assert_eq!(task.order, 42);
/// ```
///
/// An `async fn` runs on the async executor.
/// A plain `fn` is a blocking task: it runs on a bounded thread pool.
///
/// # Parameters
///
/// | written | what it is |
/// |---|---|
/// | `order: u64` | payload: any type that is `Serialize + DeserializeOwned + Send + 'static` |
/// | `to: &str`, `ids: &[u64]`, `mail: &Mail` | payload, owned in the struct (by `ToOwned`) and lent to the function |
/// | `#[state] mailer: &Mailer` | what was given to `App::state`; also `Mailer` if it is `Clone`, or `Arc<Mailer>` |
/// | `ctx: &Context` | the running job's context, known by the last word of its type |
/// | `#[ctx] ctx: &Other` | the context, by another name of its type |
/// | `#[tx] tx: &mut Transaction<'_, Postgres>` | a transaction of the database that the queue lives in, committed together with the job's completion; rolled back when the attempt fails in any way |
///
/// `mut` and raw identifiers are fine; docs and `#[serde(..)]` go to the struct's field; `#[cfg(..)]` works.
/// The payload is encoded by the names of its parameters: they may change their order, and a new one takes
/// `#[serde(default)]`.
///
/// # Return type
///
/// `()`, or a `Result` by whatever name: of something `Serialize + DeserializeOwned + Send + 'static`, and an error that
/// turns into `Box<dyn Error + Send + Sync>`.
///
/// # Options
///
/// A duration is a text of numbers with units: `"250ms"`, `"30s"`, `"10m"`, `"2h"`, `"7d"`, or a sum such as `"1h30m"`.
/// A key is a text that may have payload parameters in it, `"receipt-{order}"`, which have to implement `Display`.
///
/// | option | meaning |
/// |---|---|
/// | `name = "mail.receipt"` | the name on the queue, else `package::function` |
/// | `aliases = ["old.name"]` | earlier names, still accepted by workers |
/// | `queue = "mail"` | the queue its jobs wait in |
/// | `priority = 5` | from -32768 to 32767, higher goes first |
/// | `max_attempts = 8` | how often a job is attempted, the first time included |
/// | `backoff = fixed("10s")` | the wait before each further attempt; also `linear("10s", max = "5m")` and `exponential("2s", max = "1h")` |
/// | `timeout = "30s"` | how long one attempt may take |
/// | `expires = "1h"` | a job that has not started this long after its dispatch is not started any more |
/// | `keep_result = "1h"` | how long an outcome is kept; `false` forgets it at once |
/// | `unique = "receipt-{order}"` | at most one unfinished job of this key; another dispatch gets the handle of that one |
/// | `unique(..)` | the same with `key = ".."` or `by(order, customer)`, for the time of `within = "10m"` or `until = "started"`, and `on_conflict = "replace"` or `"refuse"`; `debounce("5s")` lets the latest dispatch win after a wait, at most `longest = "1m"`, and `throttle("1m")` the first |
/// | `limit(max = 5, key = "customer-{customer}")` | at most `max` of one key run at once, in the whole cluster; without `key` at most `max` of this task; with `weight = 2` each job counts as two |
/// | `rate(100, per = "1m", key = "all")` | at most so many of one key start in any such time, in the whole cluster; `key` and `weight` as for `limit` |
/// | `isolate = "process"` | run each attempt in a child process; `"thread"` says what a plain `fn` does anyway |
/// | `tags = ["billing"]` | words to find jobs by |
/// | `retry_if = is_transient` | a function `fn(&E) -> bool`; an error that it does not accept discards the job |
/// | `struct = SendReceiptTask` | the struct's name |
/// | `crate = ::my::taskwright` | where the `taskwright` crate is, if the manifest does not tell |
///
/// What a dispatch asks for is stronger than what is written here.
#[proc_macro_attribute]
pub fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    stages::task(options.into(), &item.into()).into()
}

/// Makes a struct a task whose work is an `impl Run`, for those who want the type first, or hooks around the work.
///
/// The struct is the payload and brings its own `Serialize` and `Deserialize`.
///
/// ```
/// use taskwright::prelude::*;
///
/// #[derive(Serialize, Deserialize, Task)]
/// #[task(queue = "mail", unique = "greet-{name}")]
/// struct Greet {
///     name: String,
/// }
///
/// impl Run for Greet {
///     type Output = String;
///
///     async fn run(&self, _ctx: &Context) -> TaskResult<String> {
///         Ok(format!("hello {}", self.name))
///     }
///
///     async fn failed(&self, ctx: &Context, error: &TaskError) {
///         eprintln!("attempt {} to greet {}: {error}", ctx.attempt(), self.name);
///     }
/// }
/// ```
///
/// `#[task(..)]` takes the options of [the attribute](macro@task), except `struct` and `retry_if`.
/// The name on the queue is `package::StructName`.
#[proc_macro_derive(Task, attributes(task))]
pub fn derive_task(item: TokenStream) -> TokenStream {
    stages::derive(&item.into()).into()
}

/// Generates the `main` of a program with tasks: a whole command line, `worker` among its commands.
///
/// The function wires the program: it gets an empty `App` and returns it with state, middleware and commands added.
/// It may be called `main` itself.
///
/// ```no_run
/// use taskwright::prelude::*;
/// # struct Mailer;
/// # impl Mailer { fn from_env() -> Result<Self, std::io::Error> { Ok(Self) } }
///
/// #[taskwright::main]
/// async fn app(app: App) -> Result<App, std::io::Error> {
///     Ok(app.state(Mailer::from_env()?))
/// }
/// ```
///
/// The only option is `crate = ::my::taskwright`, where the `taskwright` crate is, if the manifest does not tell.
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    stages::main(options.into(), &item.into()).into()
}
