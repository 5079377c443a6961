//! `migrate`: connecting brings a backend's tables up to date; this says what they are at.

use super::desk::Desk;
use super::trouble::{Exit, Trouble};
use crate::backend::{Info, Schema};

pub(crate) async fn run(desk: &mut Desk<'_>) -> Result<Exit, Trouble> {
    let client = desk.client().await?;
    let info = client.backend().info().clone();
    if desk.output.json {
        let answer = serde_json::json!({
            "backend": info.name,
            "location": info.location,
            "durability": info.durability,
            "schema": info.schema,
            "up_to_date": true,
        });
        desk.output.json(&answer)?;
    } else {
        desk.output.line(sentence(&info))?;
    }
    Ok(Exit::Ok)
}

fn sentence(Info { name, location, durability, schema, .. }: &Info) -> String {
    let at = match schema {
        None => "up to date, and has no tables".to_owned(),
        Some(Schema { version, known }) if version > known => {
            format!("at schema version {version}, ahead of this program, which knows {known}; update this program soon")
        }
        Some(Schema { version, .. }) => format!("up to date at schema version {version}"),
    };
    format!("{name} at {location} is {at} ({durability})")
}
