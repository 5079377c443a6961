use taskwright::prelude::*;

#[task(queue = "no spaces", timeout = "soon", color = "red")]
async fn send<'a>(#[state] mailer: &mut String, (to, order): (&'a str, u64), list: Vec<&str>) -> impl Serialize {
    let _ = (mailer, to, order, list);
}

/// Callers of a task that is wrong see no errors of their own.
async fn caller() {
    let _: Send = Send::new(("ada", 1), vec!["x"]);
}

fn main() {}
