fn main() -> ::taskwright::private::ExitCode {
    async fn main(app: App) -> anyhow::Result<App> {
        Ok(app)
    }
    ::taskwright::private::main(
        ::taskwright::private::Program {
            name: ::taskwright::private::env!("CARGO_PKG_NAME"),
            version: ::taskwright::private::env!("CARGO_PKG_VERSION"),
        },
        main,
    )
}
