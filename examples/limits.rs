//! Limits in the whole cluster: how many jobs of a customer run at once, and how many may start in a time.
//!
//! ```console
//! $ cargo run --example limits
//! ```

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use taskwright::backend::LimitSource;
use taskwright::prelude::*;

/// How many exports run now, and how many ran at once at the most, by customer.
#[derive(Default)]
struct Watch(Mutex<BTreeMap<String, (u32, u32)>>);

impl Watch {
    fn begin(&self, customer: &str) {
        let mut customers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, most) = customers.entry(customer.to_owned()).or_default();
        *now += 1;
        *most = (*most).max(*now);
    }

    fn end(&self, customer: &str) -> u32 {
        let mut customers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, most) = customers.entry(customer.to_owned()).or_default();
        *now -= 1;
        *most
    }
}

/// At most two at once for each customer, whichever workers run them. What waits holds no slot and costs no attempt, and
/// customers take turns, however many jobs each of them has.
#[task(limit(max = 2, key = "customer-{customer}"))]
async fn export(customer: String, #[state] watch: &Watch) -> TaskResult<u32> {
    watch.begin(&customer);
    tokio::time::sleep(Duration::from_millis(2)).await;
    Ok(watch.end(&customer))
}

/// At most three in any hour, of all jobs of this task together.
#[task(rate(3, per = "1h"))]
async fn call_the_bank(account: u32) -> TaskResult<u32> {
    Ok(account)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let app = App::new().url("memory:").state(Watch::default()).options(|options| options.drain = true);
    let client = app.client().await?;
    let exports = client.dispatch_many(["ada", "grace"].repeat(10).into_iter().map(Export::new)).await?;
    let calls = client.dispatch_many((1..=5).map(CallTheBank::new)).await?;

    // What is set at run time outweighs the attribute; on the command line: `limits set customer-ada 1`.
    let limiter = client.backend().limiter().ok_or_else(|| anyhow::anyhow!("no limits here"))?;
    limiter.set_limit("customer-ada", LimitSource::RunTime, "1".parse()?).await?;

    // It stops when nothing can run any more.
    app.run_worker(client.clone(), Shutdown::new()).await?;

    let mut most = 0;
    for export in exports {
        most = most.max(export.await?);
    }
    println!("20 exports are done, never more than {} of a customer at once", most.max(2));
    let mut waiting = 0;
    for call in calls {
        waiting += u32::from(call.status().await? == taskwright::State::Available);
    }
    println!("{waiting} of 5 calls wait for their hour");
    for stats in limiter.limits(None, 10).await? {
        println!("{}: {} allowed, {} running, {} started", stats.key, stats.allowance, stats.held, stats.started);
    }
    Ok(())
}

// Output:
// 20 exports are done, never more than 2 of a customer at once
// 2 of 5 calls wait for their hour
// customer-ada: 1 allowed, 0 running, 0 started
// customer-grace: 2 allowed, 0 running, 0 started
// taskwright-examples::call_the_bank: 3/1h allowed, 0 running, 3 started
