//! `migrate`: connecting brings a backend's tables up to date; this says what they are at.

use super::desk::Desk;
use super::trouble::{Exit, Trouble};

pub(crate) async fn run(desk: &mut Desk<'_>) -> Result<Exit, Trouble> {
    let client = desk.client().await?;
    let info = client.backend().info();
    let (name, location, durability) = (info.name, info.location.clone(), info.durability.clone());
    if desk.output.json {
        let answer = serde_json::json!({
            "backend": name,
            "location": location,
            "durability": durability,
            "up_to_date": true,
        });
        desk.output.json(&answer)?;
    } else {
        desk.output.line(format!("{name} at {location} is up to date ({durability})"))?;
    }
    Ok(Exit::Ok)
}
