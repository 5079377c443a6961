use taskwright::prelude::*;

#[task]
async fn send(_: String) {}

fn main() {}
