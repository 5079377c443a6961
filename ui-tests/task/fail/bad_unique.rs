use taskwright::prelude::*;

#[task(unique(by(order), until = "finished"))]
async fn until(order: u64) {
    let _ = order;
}

#[task(unique(by(order), on_conflict = "raise"))]
async fn on_conflict(order: u64) {
    let _ = order;
}

#[task(unique(by(order), window = "10m"))]
async fn other_word(order: u64) {
    let _ = order;
}

#[task(unique(by(order), by(order)))]
async fn twice(order: u64) {
    let _ = order;
}

#[task(unique(key = "order", by(order)))]
async fn key_and_by(order: u64) {
    let _ = order;
}

#[task(unique(by(), within = "1m"))]
async fn by_nothing(order: u64) {
    let _ = order;
}

#[task(unique(by("order")))]
async fn by_a_text(order: u64) {
    let _ = order;
}

#[task(unique(by(order, customer, order)))]
async fn by_another(order: u64) {
    let _ = order;
}

#[task(unique(throttle("1m")))]
async fn equal_in_what(order: u64) {
    let _ = order;
}

#[task(unique(by(order), within = "1m", until = "started"))]
async fn time_and_event(order: u64) {
    let _ = order;
}

#[task(unique(by(order), debounce("5s"), on_conflict = "skip"))]
async fn debounce_and_skip(order: u64) {
    let _ = order;
}

#[task(unique(by(order), debounce("5s"), throttle("1m")))]
async fn debounce_and_throttle(order: u64) {
    let _ = order;
}

#[task(unique(by(order), debounce("1m", longest = "5s")))]
async fn longest_is_shorter(order: u64) {
    let _ = order;
}

#[task(unique(by(order), debounce("5s", most = "1m")))]
async fn debounce_otherwise(order: u64) {
    let _ = order;
}

#[task(unique(by(order), within = "0s"))]
async fn no_time(order: u64) {
    let _ = order;
}

#[task(unique(by(order), throttle(5)))]
async fn no_duration(order: u64) {
    let _ = order;
}

fn main() {}
