use taskwright::prelude::*;

#[task(crate = taskwright)]
async fn send() {}

fn main() {}
