use taskwright::prelude::*;

struct Mail;

#[task]
async fn send(mail: Mail) {
    let _ = mail;
}

fn main() {}
