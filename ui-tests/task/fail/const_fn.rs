use taskwright::prelude::*;

#[task]
const fn send(order: u64) {
    let _ = order;
}

fn main() {}
