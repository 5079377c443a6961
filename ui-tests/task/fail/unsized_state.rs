use taskwright::prelude::*;

#[task]
async fn deliver(#[state] mailer: &dyn Send, #[state] list: &[u8]) {
    let _ = (mailer, list);
}

fn main() {}
