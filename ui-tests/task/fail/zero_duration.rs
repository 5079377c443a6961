use taskwright::prelude::*;

#[task(timeout = "0s", expires = "0ms", rate(1, per = "0s", key = "all"))]
async fn send() {}

fn main() {}
