use taskwright::prelude::*;

#[task(backoff = random("1s"))]
async fn one() {}

#[task(backoff = fixed("1s", max = "2s"))]
async fn two() {}

#[task(backoff = exponential("1s"))]
async fn three() {}

#[task(backoff = "1s")]
async fn four() {}

fn main() {}
