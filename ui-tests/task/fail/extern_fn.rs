use taskwright::prelude::*;

#[task]
extern "C" fn send(order: u64) {
    let _ = order;
}

fn main() {}
