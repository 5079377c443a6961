//! Nothing that the user's names mean here changes what the macros mean.

#![allow(dead_code, unused_macros)]

mod core {}
mod std {}
mod serde {}
mod alloc {}

struct Result;
struct Option;
struct String;
struct Box;
struct Vec;
struct Default;

struct Sync;
struct Copy;
struct Into;
struct From;
struct ToOwned;
struct Clone;
struct Iterator;
struct Task;
struct TaskError;
struct Definition;
struct Registration;
struct Duration;
struct Serialize;
struct Deserialize;

struct Ok;
struct Err;
struct Some;
struct None;

macro_rules! format {
    () => {};
}
macro_rules! concat {
    () => {};
}
macro_rules! env {
    () => {};
}

/// A local variable of the expansion has the same name.
#[::taskwright::task(struct = CtxTask)]
async fn ctx(this: u8, ctx: &::taskwright::Context) {
    let _ = (this, ctx.attempt());
}

#[::taskwright::task(
    queue = "mail",
    unique = "{to}",
    timeout = "1s",
    backoff = linear("1s", max = "2s"),
    tags = ["one"]
)]
async fn send(to: &str, list: &[u8], #[state] state: &u8) -> ::taskwright::TaskResult<u8> {
    let _ = (to, list, state);
    ::taskwright::TaskResult::Ok(1)
}

#[::taskwright::task]
fn plain(text: u8, #[state] state: u8) {
    let _ = (text, state);
}

#[derive(::taskwright::private::serde::Serialize, ::taskwright::private::serde::Deserialize, ::taskwright::Task)]
#[serde(crate = "::taskwright::private::serde")]
#[task(queue = "mail", unique = "{name}")]
struct Derived {
    name: u8,
}

impl ::taskwright::Run for Derived {
    type Output = u8;

    async fn run(&self, _ctx: &::taskwright::Context) -> ::taskwright::TaskResult<u8> {
        ::taskwright::TaskResult::Ok(self.name)
    }
}

fn main() {}
