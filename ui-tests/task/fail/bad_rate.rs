use taskwright::prelude::*;

#[task(rate(100, key = "all"))]
async fn one() {}

#[task(rate(100, every = "1m", key = "all"))]
async fn two() {}

#[task(rate = "100/s")]
async fn three() {}

fn main() {}
