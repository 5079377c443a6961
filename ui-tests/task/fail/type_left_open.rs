use taskwright::prelude::*;

#[task]
async fn send(names: Vec<_>) {
    let _ = names;
}

fn main() {}
