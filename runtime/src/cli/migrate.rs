//! `migrate`: connecting brings a backend's tables up to date; this says what they are at, or what creates them.

use super::args::MigrateAction;
use super::desk::Desk;
use super::trouble::{Exit, Trouble};
use crate::backend::connect::{masked, schema_script};
use crate::backend::{Info, Schema};

pub(crate) async fn run(desk: &mut Desk<'_>, action: Option<MigrateAction>) -> Result<Exit, Trouble> {
    match action {
        Some(MigrateAction::Sql) => print_sql(desk),
        Some(MigrateAction::Up | MigrateAction::Status) | None => tell_status(desk).await,
    }
}

fn print_sql(desk: &mut Desk<'_>) -> Result<Exit, Trouble> {
    let places = desk.app.places();
    // What a broker carries has its tables where its record is.
    let url = places.store_url.unwrap_or(places.url);
    let script = schema_script(&url)?;
    if desk.output.json {
        let answer = serde_json::json!({ "url": masked(&url), "sql": script });
        desk.output.json(&answer)?;
    } else {
        let none = || format!("-- {} has no tables", masked(&url));
        desk.output.line(script.unwrap_or_else(none).trim_end())?;
    }
    Ok(Exit::Ok)
}

async fn tell_status(desk: &mut Desk<'_>) -> Result<Exit, Trouble> {
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
