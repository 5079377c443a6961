use taskwright::prelude::*;

#[task]
async fn send(#[sate] mailer: &String) {
    let _ = mailer;
}

fn main() {}
