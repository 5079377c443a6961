use taskwright::prelude::*;

#[taskwright::main]
async fn app(app: App) -> App {
    app
}
