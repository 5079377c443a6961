//! Async and plain functions, every kind of parameter, every kind of return type.

use std::sync::Arc;

use taskwright::prelude::*;

#[derive(Clone)]
struct Mailer;

#[derive(Debug, thiserror::Error)]
#[error("the mail did not go out")]
struct MailError;

#[task]
async fn tick() {}

/// Mails a receipt.
#[task]
async fn send_receipt(
    order: u64,
    to: String,
    #[state] mailer: &Mailer,
    #[state] owned: Mailer,
    #[state] shared: Arc<Mailer>,
    ctx: &Context,
) -> Result<u32, MailError> {
    let _ = (order, to, mailer, owned, shared, ctx.attempt());
    Err(MailError)
}

#[task]
fn resize(path: &str, mut sizes: Vec<u32>, #[state] mailer: &Mailer, ctx: &Context) -> anyhow::Result<usize> {
    sizes.push(1);
    let _ = (mailer, ctx.attempt());
    Ok(path.len() + sizes.len())
}

fn main() {
    let receipt = SendReceipt::new(42, "ada@example.org");
    assert_eq!((receipt.order, receipt.to.as_str()), (42, "ada@example.org"));
    let resize = Resize::new("a.png", [1, 2]);
    assert_eq!(resize.sizes, [1, 2]);
    let _ = Tick::new();
    assert_eq!(<Tick as Task>::DEFINITION.name.rsplit("::").next(), Some("tick"));
    assert_eq!(<SendReceipt as Task>::DEFINITION.docs, "Mails a receipt.");
    assert_eq!(<SendReceipt as Task>::DEFINITION.state.len(), 3);
}
