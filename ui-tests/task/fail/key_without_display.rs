use taskwright::prelude::*;

#[derive(Serialize, Deserialize)]
struct Order;

#[task(unique = "receipt-{order}")]
async fn deliver(order: Order) {
    let _ = order;
}

fn main() {}
