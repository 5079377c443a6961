//! What the page of numbers says of growth.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::figures::Figure;
use crate::plot::{Bar, bars_of};

/// The table of what `bench growth` has written, if it did.
pub(crate) fn section(json: &Path) -> Result<String> {
    let figures = read(json)?;
    if figures.is_empty() {
        return Ok("It was not measured in this run.".to_owned());
    }
    let mut table =
        "| store | what | at | median | ratio | goal | |\n| --- | --- | --- | --- | --- | --- | --- |\n".to_owned();
    for figure in &figures {
        let _ = writeln!(table, "| {} |", figure.row().join(" | "));
    }
    Ok(table)
}

/// A bar for each rate beside that of the smallest, which is left out.
pub(crate) fn plot(json: &Path) -> Result<String> {
    let figures = read(json)?;
    let bars = figures.iter().filter(|figure| !figure.is_first).map(|figure| {
        let [store, what, at, ..] = figure.row();
        Bar { label: format!("{store}: {what}, {at}"), share: figure.ratio, least: figure.goal }
    });
    Ok(bars_of("What is kept of the rate of the smallest, and the goal", &bars.collect::<Vec<_>>()))
}

fn read(json: &Path) -> Result<Vec<Figure>> {
    let Ok(text) = fs::read(json) else { return Ok(Vec::new()) };
    serde_json::from_slice(&text).with_context(|| format!("{} is not its JSON", json.display()))
}
