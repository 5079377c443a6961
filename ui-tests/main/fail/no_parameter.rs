use taskwright::prelude::*;

#[taskwright::main]
async fn app() -> anyhow::Result<App> {
    Ok(App::default())
}
