//! A program's wiring. The generated `main` is in a module, so that this case is not a worker that runs for ever.

mod program {
    #![allow(dead_code)]

    use taskwright::prelude::*;

    #[taskwright::main]
    async fn app(app: App) -> anyhow::Result<App> {
        Ok(app)
    }

    const _: fn() -> std::process::ExitCode = main;
}

mod called_main {
    #![allow(dead_code)]

    use taskwright::prelude::*;

    /// The program.
    #[taskwright::main(crate = ::taskwright)]
    async fn main(app: App) -> Result<App, Box<dyn std::error::Error + Send + Sync>> {
        Ok(app)
    }

    const _: fn() -> std::process::ExitCode = main;
}

fn main() {}
