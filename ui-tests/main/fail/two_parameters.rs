use taskwright::prelude::*;

#[taskwright::main]
async fn app(app: App, name: String) -> anyhow::Result<App> {
    let _ = name;
    Ok(app)
}
