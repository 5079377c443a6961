use taskwright::prelude::*;

struct Transaction<'a>(&'a str);

#[task]
async fn charge(#[tx] tx: Transaction<'_>) {
    let _ = tx;
}

#[task]
async fn refund(#[tx] tx: &Transaction<'_>) {
    let _ = tx;
}

fn main() {}
