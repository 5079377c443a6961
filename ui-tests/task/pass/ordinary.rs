//! The first task anybody writes, and what the macro makes of it.

use taskwright::prelude::*;

/// Mails a receipt.
#[task(queue = "mail", max_attempts = 8, timeout = "30s", backoff = exponential("2s", max = "10m"))]
async fn send_receipt(order: u64, to: String) -> Result<String, std::io::Error> {
    Ok(format!("{order} to {to}"))
}

fn main() {
    let task = SendReceipt::new(42, "ada@example.org");
    assert_eq!((task.order, task.to.as_str()), (42, "ada@example.org"));
    let definition = SendReceipt::DEFINITION;
    assert!(definition.name.ends_with("::send_receipt"));
    assert_eq!(definition.docs, "Mails a receipt.");
    assert!(definition.file.ends_with("ordinary.rs"));
    assert_eq!(definition.line, 6);
    assert_eq!(definition.options.queue, Some("mail"));
    assert_eq!(definition.options.max_attempts, Some(8));
    assert_eq!(definition.options.timeout, Some(Duration::from_secs(30)));
    assert_eq!(
        definition.options.backoff,
        Some(Backoff::exponential(Duration::from_secs(2), Duration::from_secs(600))),
    );
    assert_eq!(definition.parameters[0].name, "order");
    assert_eq!(definition.parameters[1].type_name, "String");
    let _still_a_function = send_receipt(42, "ada@example.org".into());
}
