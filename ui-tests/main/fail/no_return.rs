use taskwright::prelude::*;

#[taskwright::main]
async fn app(app: App) {
    let _ = app;
}
