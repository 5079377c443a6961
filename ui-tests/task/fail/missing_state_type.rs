use taskwright::prelude::*;

#[task]
async fn send(#[state] mailer: &Mailer) {
    let _ = mailer;
}

fn main() {}
