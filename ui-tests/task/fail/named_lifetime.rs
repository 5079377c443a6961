use taskwright::prelude::*;

#[task]
async fn send<'a>(to: &'a str) {
    let _ = to;
}

fn main() {}
