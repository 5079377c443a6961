use taskwright::prelude::*;

#[task]
async fn send(#[state] #[ctx] mailer: &String) {
    let _ = mailer;
}

fn main() {}
