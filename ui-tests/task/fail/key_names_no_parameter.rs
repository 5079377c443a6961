use taskwright::prelude::*;

#[task(unique = "receipt-{ordre}")]
async fn send(order: u64, to: String) {
    let _ = (order, to);
}

#[task(limit(key = "{mailer}", max = 1))]
async fn other(#[state] mailer: &String) {
    let _ = mailer;
}

fn main() {}
