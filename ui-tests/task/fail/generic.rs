use taskwright::prelude::*;

#[task]
async fn send<T: Serialize, const N: usize>(items: [T; N]) {
    let _ = items;
}

fn main() {}
