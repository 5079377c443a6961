//! What the macros make of typical input, as files to read: `UPDATE_EXPECT=1 cargo test -p taskwright-macros` writes them.

use expect_test::{ExpectFile, expect_file};
use proc_macro2::TokenStream;
use quote::quote;

use crate::stages;

fn check(expanded: TokenStream, expected: &ExpectFile) {
    let file = syn::parse2(expanded).expect("the expansion is a list of items");
    expected.assert_eq(&prettyplease::unparse(&file));
}

#[test]
fn minimal() {
    let function = quote! {
        async fn tick() {}
    };
    check(stages::task(quote!(), &function), &expect_file!["../snapshots/minimal.rs"]);
}

#[test]
fn all_options() {
    let options = quote! {
        name = "mail.receipt",
        aliases = ["mail.send_receipt"],
        struct = ReceiptTask,
        crate = ::queue::taskwright,
        queue = "mail",
        priority = -5,
        max_attempts = 8,
        backoff = exponential("2s", max = "10m"),
        timeout = "1m30s",
        expires = "250ms",
        keep_result = "7d",
        unique = "receipt-{order}-{kind}",
        limit(key = "customer-{customer}", max = 5),
        rate(100, per = "1m", key = "all"),
        isolate = "process",
        tags = ["billing", "mail"],
        retry_if = MailError::is_transient
    };
    let function = quote! {
        /// Mails a receipt.
        ///
        /// Once for each order.
        #[cfg(feature = "mail")]
        #[tracing::instrument]
        pub(crate) async fn send_receipt(order: u64, customer: Uuid, kind: Kind) -> Result<(), MailError> {
            mail(order, customer, kind).await
        }
    };
    check(stages::task(options, &function), &expect_file!["../snapshots/all_options.rs"]);
}

#[test]
fn with_transaction() {
    let function = quote! {
        async fn charge(order: u64, #[tx] tx: &mut Transaction<'_, Postgres>) -> Result<(), sqlx::Error> {
            sqlx::query("UPDATE orders SET paid = true WHERE id = $1").bind(order).execute(&mut **tx).await?;
            Ok(())
        }
    };
    check(stages::task(quote!(), &function), &expect_file!["../snapshots/with_transaction.rs"]);
}

#[test]
fn with_context_and_state() {
    let function = quote! {
        pub async fn import(
            url: Url,
            #[state] database: &Database,
            #[state] client: Client,
            #[state] cache: Arc<Cache>,
            ctx: &Context,
            #[ctx] own: app::TaskContext,
        ) -> anyhow::Result<u64> {
            Ok(0)
        }
    };
    check(stages::task(quote!(), &function), &expect_file!["../snapshots/with_context_and_state.rs"]);
}

#[test]
fn borrowed_parameters() {
    let function = quote! {
        async fn notify(
            /// Who is told.
            to: &str,
            #[serde(default, rename = "ids")] r#type: &[u64],
            mut retries: &u8,
            mail: &Mail,
        ) -> TaskResult {
            Ok(())
        }
    };
    check(
        stages::task(quote!(unique = "{to}/{type}"), &function),
        &expect_file!["../snapshots/borrowed_parameters.rs"],
    );
}

#[test]
fn blocking() {
    let function = quote! {
        fn resize(path: PathBuf, #[state] pool: &Pool, ctx: &Context) -> Result<Size, ImageError> {
            pool.resize(path, ctx)
        }
    };
    check(stages::task(quote!(isolate = "thread"), &function), &expect_file!["../snapshots/blocking.rs"]);
}

#[test]
fn cfg_on_a_parameter() {
    let function = quote! {
        async fn report(day: u32, #[cfg(feature = "mail")] to: String) {}
    };
    check(stages::task(quote!(queue = "reports"), &function), &expect_file!["../snapshots/cfg_on_a_parameter.rs"]);
}

#[test]
fn derive() {
    let item = quote! {
        /// Greets somebody.
        #[derive(Serialize, Deserialize, Task)]
        #[task(queue = "mail", unique = "greet-{name}")]
        pub struct Greet {
            pub name: String,
            #[serde(rename = "often")]
            pub times: u32,
        }
    };
    check(stages::derive(&item), &expect_file!["../snapshots/derive.rs"]);
}

#[test]
fn main() {
    let function = quote! {
        async fn app(app: App) -> anyhow::Result<App> {
            Ok(app.state(Mailer::from_env()?))
        }
    };
    check(stages::main(quote!(), &function), &expect_file!["../snapshots/main.rs"]);
}

#[test]
fn main_by_that_name() {
    let function = quote! {
        async fn main(app: App) -> anyhow::Result<App> {
            Ok(app)
        }
    };
    check(stages::main(quote!(), &function), &expect_file!["../snapshots/main_by_that_name.rs"]);
}

/// Both mistakes are reported, the body stays as it is, and `send` still has something to be called with.
#[test]
fn fallback() {
    let function = quote! {
        async fn send(#[state] mailer: &mut Mailer, to: impl Into<String>, (a, b): (u8, u8)) {
            mailer.
        }
    };
    let expanded = stages::task(quote!(priority = "high"), &function).to_string();
    expect_file!["../snapshots/fallback.txt"].assert_eq(&(expanded.replace(" ; ", " ;\n").replace("} ", "}\n") + "\n"));
}

/// Wrong options leave the task as it is without them.
#[test]
fn fallback_without_options() {
    let function = quote! {
        async fn send(to: String) {}
    };
    let options = quote!(queue = "no spaces, please", timeout = "soon", color = "red");
    check(stages::task(options, &function), &expect_file!["../snapshots/fallback_without_options.rs"]);
}
