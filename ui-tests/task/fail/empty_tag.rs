use taskwright::prelude::*;

#[task(tags = ["billing", ""])]
async fn send() {}

fn main() {}
