use taskwright::prelude::*;

use std::cell::Cell;

#[task]
async fn deliver(#[state] count: &Cell<u8>) {
    let _ = count;
}

fn main() {}
