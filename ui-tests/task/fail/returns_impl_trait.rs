use taskwright::prelude::*;

#[task]
async fn count() -> impl Serialize {
    1
}

fn main() {}
