use taskwright::prelude::*;

#[task]
async fn send(to @ _: String) {
    let _ = to;
}

fn main() {}
