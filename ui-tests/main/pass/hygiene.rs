//! Nothing that the user's names mean here changes what the macro means.

mod program {
    #![allow(dead_code)]
    #![deny(missing_docs, unsafe_code, clippy::pedantic)]

    mod core {}
    mod std {}
    struct Result;
    struct Ok;
    struct ExitCode;
    struct Program;

    #[::taskwright::main]
    async fn wiring(app: ::taskwright::App) -> ::anyhow::Result<::taskwright::App> {
        ::anyhow::Result::Ok(app)
    }
}

fn main() {}
