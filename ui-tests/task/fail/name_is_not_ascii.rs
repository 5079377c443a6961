use taskwright::prelude::*;

#[task]
async fn grüße() {}

fn main() {}
