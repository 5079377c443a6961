//! Durations as the runtime reads them: the same grammar, at compile time.

use std::time::Duration;

/// `250ms`, `30s`, `10m`, `2h`, `7d`, or a sum such as `1h30m`.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u32 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total = total.checked_add(unit(&rest[..letters])?.checked_mul(number)?)?;
        rest = &rest[letters..];
    }
    Some(total)
}

fn unit(name: &str) -> Option<Duration> {
    match name {
        "us" => Some(Duration::from_micros(1)),
        "ms" => Some(Duration::from_millis(1)),
        "s" => Some(Duration::from_secs(1)),
        "m" => Some(Duration::from_mins(1)),
        "h" => Some(Duration::from_hours(1)),
        "d" => Some(Duration::from_hours(24)),
        _ => None,
    }
}
