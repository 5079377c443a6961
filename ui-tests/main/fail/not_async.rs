use taskwright::prelude::*;

#[taskwright::main]
fn app(app: App) -> anyhow::Result<App> {
    Ok(app)
}
