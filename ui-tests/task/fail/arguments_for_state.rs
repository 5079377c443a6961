use taskwright::prelude::*;

#[task]
async fn send(#[state(name = "mailer")] mailer: &String) {
    let _ = mailer;
}

fn main() {}
