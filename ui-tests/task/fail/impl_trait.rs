use taskwright::prelude::*;

#[task]
async fn send(to: impl Into<String>) {
    let _: String = to.into();
}

fn main() {}
