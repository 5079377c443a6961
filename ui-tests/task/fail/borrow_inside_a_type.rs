use taskwright::prelude::*;

#[task]
async fn send(names: Vec<&str>, maybe: Option<&u8>) {
    let _ = (names, maybe);
}

fn main() {}
