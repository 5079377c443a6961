use taskwright::prelude::*;

#[task(queue = *)]
async fn send() {}

fn main() {}
