async fn app(app: App) -> anyhow::Result<App> {
    Ok(app.state(Mailer::from_env()?))
}
fn main() -> ::taskwright::private::ExitCode {
    ::taskwright::private::main(
        ::taskwright::private::Program {
            name: ::taskwright::private::env!("CARGO_PKG_NAME"),
            version: ::taskwright::private::env!("CARGO_PKG_VERSION"),
        },
        app,
    )
}
