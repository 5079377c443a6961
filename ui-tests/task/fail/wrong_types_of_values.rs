use taskwright::prelude::*;

#[task(queue = 1, aliases = "one", priority = "high", keep_result = true, unique = true, tags = [1], struct = "Name", retry_if = "path", isolate = "fork")]
async fn send() {}

fn main() {}
