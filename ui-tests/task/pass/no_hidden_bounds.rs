//! A parameter needs no `Clone`, no `Debug`, no `Default`, no `PartialEq`, no `Sync`.

use std::cell::Cell;

use taskwright::prelude::*;

#[derive(Serialize, Deserialize)]
struct Bare {
    cell: Cell<u8>,
}

#[derive(Serialize, Deserialize)]
struct Output(Bare);

#[task(struct = BareTask)]
async fn bare(bare: Bare) -> TaskResult<Output> {
    tokio::task::yield_now().await;
    Ok(Output(bare))
}

fn main() {
    assert_eq!(BareTask::new(Bare { cell: Cell::new(1) }).bare.cell.get(), 1);
}
