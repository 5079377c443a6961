use taskwright::prelude::*;

#[task(backoff = exponential("0s", max = "10s"))]
async fn one() {}

#[task(backoff = linear("10s", max = "5s"))]
async fn two() {}

fn main() {}
