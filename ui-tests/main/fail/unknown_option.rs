use taskwright::prelude::*;

#[taskwright::main(flavor = "multi_thread")]
async fn app(app: App) -> anyhow::Result<App> {
    Ok(app)
}
