use taskwright::prelude::*;

#[task(name = "mail receipt", aliases = [""], queue = "{curly}")]
async fn send() {}

fn main() {}
