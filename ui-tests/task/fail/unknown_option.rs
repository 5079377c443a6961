use taskwright::prelude::*;

#[task(que = "mail", retries = 3)]
async fn send() {}

fn main() {}
