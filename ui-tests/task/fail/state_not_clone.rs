use taskwright::prelude::*;

struct Mailer;

#[task]
async fn deliver(#[state] mailer: Mailer) {
    let _ = mailer;
}

fn main() {}
