use taskwright::prelude::*;

#[task]
async fn deliver(to: String, order: u64) {
    let _ = (to, order);
}

fn use_it() {
    let _ = Deliver::new(1, "ada");
}

fn main() {}
