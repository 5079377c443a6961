use taskwright::prelude::*;

#[task(queue = "mail", priority = 1, queue = "slow")]
async fn send() {}

fn main() {}
