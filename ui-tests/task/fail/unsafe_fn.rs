use taskwright::prelude::*;

#[task]
unsafe fn send(order: u64) {
    let _ = order;
}

fn main() {}
