//! Generated code is quiet under the strictest lints.

#![deny(warnings, missing_docs, unsafe_code, unreachable_pub, unused_qualifications, dead_code)]
#![deny(clippy::all, clippy::pedantic, clippy::nursery, missing_debug_implementations, unused_results)]
#![deny(single_use_lifetimes, trivial_casts, missing_copy_implementations, let_underscore_drop)]
// What the functions themselves are guilty of; what is made of them is not excused.
#![allow(clippy::unused_async, clippy::unnecessary_wraps, clippy::missing_errors_doc)]
#![allow(clippy::redundant_pub_crate, clippy::fn_params_excessive_bools)]

use taskwright::prelude::*;

/// Mails a receipt.
#[task(queue = "mail", unique = "{order}", limit(key = "{to}", max = 1))]
pub async fn send_receipt(order: u64, to: String, #[state] mailer: &String, ctx: &Context) -> TaskResult<String> {
    Ok(format!("{order}{to}{mailer}{}", ctx.attempt()))
}

#[task]
async fn no_parameters() {}

#[task]
fn resize(path: &str) -> TaskResult<usize> {
    Ok(path.len())
}

#[task]
#[deprecated = "there is a better one"]
async fn old() {}

mod inner {
    use taskwright::prelude::*;

    /// Seen by the crate.
    #[task]
    pub(crate) async fn inner_task(flags: [bool; 4], one: bool, two: bool, three: bool, four: bool) {
        let _ = (flags, one, two, three, four);
    }
}

/// A task that is a struct.
#[derive(Debug, Serialize, Deserialize, Task)]
#[task(unique = "{name}")]
pub struct Derived {
    /// Whose.
    pub name: String,
}

impl Run for Derived {
    type Output = ();

    async fn run(&self, _ctx: &Context) -> TaskResult {
        Ok(())
    }
}

fn main() {
    let _ = inner::InnerTask::new([true; 4], true, true, true, true);
}
