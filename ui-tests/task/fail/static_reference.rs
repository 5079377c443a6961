use taskwright::prelude::*;

#[task]
async fn send(to: &'static str) {
    let _ = to;
}

fn main() {}
