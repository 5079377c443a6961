use taskwright::prelude::*;

#[taskwright::main]
struct Program;

fn main() {}
