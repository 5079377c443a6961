use taskwright::prelude::*;

#[task(name = "mail.send", aliases = ["mail.send", "old", "old"])]
async fn send() {}

fn main() {}
