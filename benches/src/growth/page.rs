//! What the page of numbers says of growth.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::figures::Figure;

/// The table of what `bench growth` has written, if it did.
pub(crate) fn section(json: &Path) -> Result<String> {
    let Ok(text) = fs::read(json) else { return Ok("It was not measured in this run.".to_owned()) };
    let figures: Vec<Figure> =
        serde_json::from_slice(&text).with_context(|| format!("{} is not its JSON", json.display()))?;
    let mut table =
        "| store | what | at | median | ratio | goal | |\n| --- | --- | --- | --- | --- | --- | --- |\n".to_owned();
    for figure in &figures {
        let _ = writeln!(table, "| {} |", figure.row().join(" | "));
    }
    Ok(table)
}
