use taskwright::prelude::*;

#[task(isolate = "thread")]
async fn send() {}

fn main() {}
