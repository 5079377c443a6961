//! Dispatching in a transaction of your own: the job exists if and when your rows do.
//!
//! ```console
//! $ cargo run --example transactional
//! ```

use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;
use taskwright::Shutdown;
use taskwright::prelude::*;

#[task]
async fn send_receipt(order: i64) -> TaskResult<String> {
    Ok(format!("receipt for order {order}"))
}

/// Places an order; its receipt is sent if the order is there, and only then.
async fn place_order(client: &Client, shop: &SqlitePool, order: i64, paid: bool) -> anyhow::Result<JobHandle<String>> {
    let mut transaction = shop.begin().await?;
    sqlx::query("INSERT INTO orders (id) VALUES (?)").bind(order).execute(&mut *transaction).await?;
    let handle = client.dispatch_in(SendReceipt::new(order), &mut transaction).await?;
    if paid {
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(handle)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // The queue lives in the shop's own database file.
    let file = std::env::temp_dir().join(format!("taskwright-shop-{}.db", JobId::new()));
    let app = App::new().url(format!("sqlite:{}", file.display()));
    let client = app.client().await?;
    let shop = SqlitePool::connect_with(SqliteConnectOptions::new().filename(&file)).await?;
    sqlx::query("CREATE TABLE orders (id INTEGER PRIMARY KEY)").execute(&shop).await?;

    let shutdown = Shutdown::new();
    let worker = tokio::spawn(app.worker(client.clone())?.run(shutdown.clone()));

    let refused = place_order(&client, &shop, 1, false).await?;
    println!("rolled back: {}", refused.status().await.map_or("no such job".to_owned(), |state| state.to_string()));
    let paid = place_order(&client, &shop, 2, true).await?;
    println!("committed: {}", paid.await?);

    shutdown.stop();
    println!("{} job was run", worker.await??.completed);
    shop.close().await;
    client.close().await?;
    std::fs::remove_file(file)?;
    Ok(())
}

// Output:
// rolled back: no such job
// committed: receipt for order 2
// 1 job was run
