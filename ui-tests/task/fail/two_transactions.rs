use taskwright::prelude::*;

struct Transaction<'a>(&'a str);

#[task]
async fn charge(#[tx] tx: &mut Transaction<'_>, #[tx] other: &mut Transaction<'_>) {
    let _ = (tx, other);
}

fn main() {}
