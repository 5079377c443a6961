use taskwright::prelude::*;

#[task(priority = 40_000, max_attempts = 0, limit(key = "all", max = 0), rate(0, per = "1s", key = "all"))]
async fn send() {}

fn main() {}
