use taskwright::prelude::*;

#[task(timeout = "soon", expires = "10", keep_result = "5 minutes", backoff = fixed("1y"))]
async fn send() {}

fn main() {}
