use taskwright::prelude::*;

#[taskwright::main]
async unsafe fn app(app: App) -> anyhow::Result<App> {
    Ok(app)
}
