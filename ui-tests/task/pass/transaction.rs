//! A task that completes in a transaction, of whatever driver.

use taskwright::prelude::*;

struct Transaction<'a, Db>(&'a str, Db);
struct Postgres;
type Tx<'a> = Transaction<'a, Postgres>;

struct Mailer;

#[task]
async fn charge(order: u64, #[tx] tx: &mut Transaction<'_, Postgres>) -> TaskResult<u64> {
    let _: &str = tx.0;
    Ok(order)
}

/// `transaction` and `ctx` are names of the user's here, and the order of parameters is free.
#[task]
async fn refund(#[tx] transaction: &mut Tx<'_>, ctx: &Context, to: &str, #[state] mailer: &Mailer) {
    let _ = (transaction.0, ctx.id(), to, mailer);
}

fn main() {
    let need = Charge::DEFINITION.transaction.expect("it takes a transaction");
    assert_eq!(need.parameter, "tx");
    assert_eq!((need.type_id)(), std::any::TypeId::of::<Transaction<'static, Postgres>>());
    let need = Refund::DEFINITION.transaction.expect("it takes a transaction");
    assert_eq!(need.parameter, "transaction");
    let _ = Charge::new(7);
}
