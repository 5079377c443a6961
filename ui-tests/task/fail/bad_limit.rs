use taskwright::prelude::*;

#[task(limit(key = "all"))]
async fn one() {}

#[task(limit = 5)]
async fn two() {}

#[task(limit(5, key = "all", max = 5))]
async fn three() {}

fn main() {}
