use taskwright::prelude::*;

#[task]
async fn send(ref to: String) {
    let _ = to;
}

fn main() {}
