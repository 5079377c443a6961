use taskwright::prelude::*;

struct SendReceipt;

#[task]
async fn send_receipt() {}

fn main() {}
