use taskwright::prelude::*;

#[derive(Serialize, Deserialize)]
struct Mail;

#[task]
async fn deliver(mail: &Mail) {
    let _ = mail;
}

fn main() {}
