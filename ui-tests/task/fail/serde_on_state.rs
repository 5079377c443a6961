use taskwright::prelude::*;

#[task]
async fn send(#[state] #[serde(default)] mailer: &String) {
    let _ = mailer;
}

fn main() {}
