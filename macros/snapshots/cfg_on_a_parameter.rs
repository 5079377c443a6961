#[cfg(feature = "mail")]
#[::taskwright::task(queue = "reports")]
async fn report(day: u32, to: String) {}
#[cfg(not(feature = "mail"))]
#[::taskwright::task(queue = "reports")]
async fn report(day: u32) {}
