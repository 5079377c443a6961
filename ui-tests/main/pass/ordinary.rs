//! A program's wiring.

use taskwright::prelude::*;

#[taskwright::main]
async fn app(app: App) -> anyhow::Result<App> {
    Ok(app)
}
