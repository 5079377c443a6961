//! Every option together, and that none of them is lost on the way.

use taskwright::prelude::*;
use taskwright::job::{OnConflict, Replace, Until};
use taskwright::task::{Execution, UniqueRule};

mod errors {
    #[derive(Debug, thiserror::Error)]
    #[error("the mail did not go out")]
    pub struct MailError {
        pub transient: bool,
    }

    impl MailError {
        pub fn is_transient(&self) -> bool {
            self.transient
        }
    }
}

#[task(
    name = "mail.receipt",
    aliases = ["mail.send", "mail.send-receipt"],
    struct = ReceiptTask,
    crate = ::taskwright,
    queue = "mail",
    priority = -5,
    max_attempts = 3,
    backoff = linear("500ms", max = "1m30s"),
    timeout = "1h30m",
    expires = "2d",
    keep_result = "7d",
    unique = "receipt-{order}",
    limit(key = "customer-{customer}", max = 5),
    rate(100, per = "1m", key = "all", weight = 3),
    isolate = "process",
    tags = ["billing", "mail"],
    retry_if = errors::MailError::is_transient,
)]
async fn send_receipt(order: u64, customer: String) -> Result<(), errors::MailError> {
    Err(errors::MailError { transient: order == 0 && customer.is_empty() })
}

#[task(keep_result = false, backoff = fixed("0s"), isolate = "thread")]
fn forget() {}

#[task(name = "reindex", unique(by(shop, r#type), until = "started", on_conflict = "replace"))]
async fn reindex(shop: u64, r#type: String, reason: String) {
    drop((shop, r#type, reason));
}

#[task(name = "refresh", unique(debounce("5s", longest = "1m")))]
fn refresh() {}

#[task(name = "remind", unique(key = "remind-{user}", throttle("1h")))]
fn remind(user: u64) {
    let _ = user;
}

#[task(name = "once", unique(key = "once", within = "10m", on_conflict = "refuse"))]
fn once() {}

fn unique() {
    let rule = |definition: &taskwright::task::Definition| definition.options.unique.unwrap();
    let replace = OnConflict::Replace(Replace::ALL);
    let reindex = UniqueRule { until: Until::Started, conflict: replace, ..UniqueRule::of("reindex({shop},{type})") };
    assert_eq!(rule(Reindex::DEFINITION), reindex);
    assert_eq!(Task::unique_key(&Reindex::new(7, "a,\"b", "x")).as_deref(), Some(r#"reindex(7,"a,\"b")"#));

    let longest = Replace { longest: Some(Duration::from_secs(60)), ..Replace::ALL };
    let wait = Some(Duration::from_secs(5));
    let refresh = UniqueRule { conflict: OnConflict::Replace(longest), wait, ..reindex };
    assert_eq!(rule(Refresh::DEFINITION), UniqueRule { key: "refresh()", ..refresh });
    assert_eq!(Task::unique_key(&Refresh::new()).as_deref(), Some("refresh()"));

    let hour = Until::Elapsed(Duration::from_secs(3_600));
    assert_eq!(rule(Remind::DEFINITION), UniqueRule { until: hour, ..UniqueRule::of("remind-{user}") });
    let minutes = Until::Elapsed(Duration::from_secs(600));
    let once = UniqueRule { until: minutes, conflict: OnConflict::Refuse, ..UniqueRule::of("once") };
    assert_eq!(rule(Once::DEFINITION), once);
}

fn main() {
    unique();
    let definition = ReceiptTask::DEFINITION;
    let options = &definition.options;
    assert_eq!(definition.name, "mail.receipt");
    assert_eq!(definition.aliases, ["mail.send", "mail.send-receipt"]);
    assert_eq!(definition.execution, Execution::Process);
    assert_eq!(options.queue, Some("mail"));
    assert_eq!(options.priority, Some(-5));
    assert_eq!(options.max_attempts, Some(3));
    assert_eq!(options.backoff, Some(Backoff::linear(Duration::from_millis(500), Duration::from_secs(90))));
    assert_eq!(options.timeout, Some(Duration::from_secs(5_400)));
    assert_eq!(options.expires, Some(Duration::from_secs(172_800)));
    assert_eq!(options.keep_result, Some(Duration::from_secs(604_800)));
    assert_eq!(options.unique, Some(UniqueRule::of("receipt-{order}")));
    assert_eq!(options.limit.as_ref().map(|limit| (limit.key, limit.max)), Some((Some("customer-{customer}"), 5)));
    assert_eq!(options.rate.as_ref().map(|rate| (rate.key, rate.count, rate.per.as_secs())), Some((Some("all"), 100, 60)));
    assert_eq!(options.tags, ["billing", "mail"]);
    assert_eq!(Task::unique_key(&ReceiptTask::new(7, "ada")).as_deref(), Some("receipt-7"));

    assert_eq!(Forget::DEFINITION.options.keep_result, Some(Duration::ZERO));
    assert_eq!(Forget::DEFINITION.options.backoff, Some(Backoff::fixed(Duration::ZERO)));
    assert_eq!(Forget::DEFINITION.execution, Execution::Blocking);
    assert_eq!(Task::unique_key(&Forget::new()), None);
}
