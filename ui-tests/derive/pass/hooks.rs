//! Hooks around the work, options in two attributes, a struct without fields.

use taskwright::prelude::*;

#[derive(Serialize, Deserialize, Task)]
#[task(name = "clean.up")]
#[task(keep_result = false, timeout = "5s")]
struct CleanUp;

impl Run for CleanUp {
    type Output = u64;

    async fn before(&self, ctx: &Context) -> TaskResult {
        if ctx.attempt() > 3 { Err(TaskError::cancel("often enough").into()) } else { Ok(()) }
    }

    async fn run(&self, _ctx: &Context) -> TaskResult<u64> {
        Ok(1)
    }

    async fn after(&self, _ctx: &Context, output: &u64) {
        let _ = output;
    }

    async fn failed(&self, _ctx: &Context, error: &TaskError) {
        let _ = error.reaction();
    }
}

fn main() {
    assert_eq!(CleanUp::DEFINITION.name, "clean.up");
    assert_eq!(CleanUp::DEFINITION.options.timeout, Some(Duration::from_secs(5)));
}
