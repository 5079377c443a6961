use taskwright::prelude::*;

#[task(timeout = 30)]
async fn send() {}

fn main() {}
