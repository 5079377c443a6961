use taskwright::prelude::*;

struct Transaction<'a>(&'a str);

#[task]
fn charge(#[tx] tx: &mut Transaction<'_>) {
    let _ = tx;
}

fn main() {}
