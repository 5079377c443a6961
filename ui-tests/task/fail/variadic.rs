use taskwright::prelude::*;

#[task]
unsafe extern "C" fn send(order: u64, mut rest: ...) {
    let _ = order;
}

fn main() {}
