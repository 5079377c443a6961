use taskwright::prelude::*;

#[task]
async fn serve() -> ! {
    loop {
        tokio::task::yield_now().await;
    }
}

fn main() {}
