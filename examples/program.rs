//! The smallest program: one task, and a whole command line around it.
//!
//! ```console
//! $ cargo run --example program -- dispatch greet '{"name": "ada"}'
//! $ cargo run --example program -- worker --drain
//! $ cargo run --example program -- help
//! ```

use taskwright::prelude::*;

/// Greets somebody.
#[task(name = "greet", max_attempts = 8)]
async fn greet(name: String) -> TaskResult {
    println!("hello {name}");
    Ok(())
}

#[taskwright::main]
async fn app(app: App) -> TaskResult<App> {
    Ok(app)
}

// Output:
// hello ada
