use taskwright::prelude::*;

#[task]
struct Send {
    to: String,
}

fn main() {}
