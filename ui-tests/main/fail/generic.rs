use taskwright::prelude::*;

#[taskwright::main]
async fn app<T: Default>(app: App) -> anyhow::Result<App> {
    let _ = T::default();
    Ok(app)
}
