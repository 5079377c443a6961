use taskwright::prelude::*;

#[task(unique = "receipt-{}")]
async fn one() {}

#[task(unique = "receipt-{order:04}")]
async fn two(order: u64) {
    let _ = order;
}

#[task(unique = "receipt-{order")]
async fn three(order: u64) {
    let _ = order;
}

#[task(unique = "")]
async fn four() {}

fn main() {}
