use taskwright::prelude::*;

#[task]
async fn deliver(to: String) {
    let shared = std::rc::Rc::new(to);
    tokio::task::yield_now().await;
    drop(shared);
}

fn main() {}
