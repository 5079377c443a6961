use taskwright::prelude::*;

#[task]
async fn send(to: String)
where
    String: Clone, {
    let _ = to;
}

fn main() {}
