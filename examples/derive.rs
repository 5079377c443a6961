//! A task that is written as a struct: the payload's type first, hooks around the work where they are wanted.
//!
//! ```console
//! $ cargo run --example derive
//! ```

use taskwright::Shutdown;
use taskwright::prelude::*;

#[derive(Serialize, Deserialize, Task)]
#[task(max_attempts = 2, backoff = fixed("10ms"))]
struct Resize {
    image: String,
    width: u32,
}

impl Run for Resize {
    type Output = String;

    async fn run(&self, ctx: &Context) -> TaskResult<String> {
        if ctx.attempt() == 1 {
            return Err(format!("{} is still being uploaded", self.image).into());
        }
        Ok(format!("{}-{}", self.width, self.image))
    }

    /// Before each attempt; an error here is the attempt's.
    async fn before(&self, ctx: &Context) -> TaskResult {
        println!("before attempt {}", ctx.attempt());
        if self.width == 0 {
            return Err(TaskError::discard("an image needs a width").into());
        }
        Ok(())
    }

    async fn after(&self, _ctx: &Context, output: &String) {
        println!("after: {output} is there");
    }

    async fn failed(&self, ctx: &Context, error: &TaskError) {
        println!("attempt {} failed: {error}", ctx.attempt());
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let app = App::new().url("memory:");
    let client = app.client().await?;
    let shutdown = Shutdown::new();
    let worker = tokio::spawn(app.worker(client)?.run(shutdown.clone()));

    let handle = Resize { image: "cat.png".to_owned(), width: 640 }.dispatch().await?;
    println!("result: {}", handle.await?);
    let handle = Resize { image: "dog.png".to_owned(), width: 0 }.dispatch().await?;
    if handle.wait().await.is_err() {
        println!("the job is {}", handle.status().await?);
    }

    shutdown.stop();
    worker.await??;
    Ok(())
}

// Output:
// before attempt 1
// attempt 1 failed: cat.png is still being uploaded
// before attempt 2
// after: 640-cat.png is there
// result: 640-cat.png
// before attempt 1
// attempt 1 failed: an image needs a width
// the job is discarded
