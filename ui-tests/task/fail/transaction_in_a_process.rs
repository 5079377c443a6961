use taskwright::prelude::*;

struct Transaction<'a>(&'a str);

#[task(isolate = "process")]
async fn charge(#[tx] tx: &mut Transaction<'_>) {
    let _ = tx;
}

fn main() {}
