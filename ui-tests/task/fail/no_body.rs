use taskwright::prelude::*;

#[task]
async fn send(to: String);

fn main() {}
