use taskwright::prelude::*;

#[task]
async fn send((to, order): (String, u64)) {
    let _ = (to, order);
}

fn main() {}
