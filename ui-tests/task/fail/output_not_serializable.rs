use taskwright::prelude::*;

struct Receipt;

#[task]
async fn deliver() -> TaskResult<Receipt> {
    Ok(Receipt)
}

fn main() {}
