//! The page of numbers, and its plot.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::floors::Floor;
use crate::plot::{Bar, bars_of};
use crate::report::{Figure, Report, cores, grouped, shown};

/// What the page says whatever was measured, with a place for each table.
const PAGE: &str = include_str!("page.template");

/// What `bench peers` has written.
#[derive(Deserialize)]
struct Peer {
    store: String,
    queue: String,
    #[serde(default)]
    version: Option<String>,
    /// What it keeps of a job when a machine or a worker dies.
    #[serde(default)]
    kept: Option<String>,
    bulk: f64,
    one: f64,
    drain: f64,
}

/// Writes `numbers.md` and its plots, `numbers.svg` and `growth.svg`, into a folder, with what `bench peers` and `bench growth` wrote, if they did.
pub(crate) fn write(report: &Report, folder: &Path, peers: &Path, growth: &Path) -> Result<()> {
    let figures = report.figures();
    let peers: Vec<Peer> = match fs::read(peers) {
        Ok(text) => serde_json::from_slice(&text).with_context(|| format!("{} is not its JSON", peers.display()))?,
        Err(_) => Vec::new(),
    };
    let versions: Vec<_> = report.versions.iter().map(|(store, version)| format!("{store}: {version}")).collect();
    let page = PAGE
        .replace("{cores}", &cores().to_string())
        .replace("{versions}", &versions.join("; "))
        .replace("{floors}", floors(&figures).trim_end())
        .replace("{peers}", beside(&peers).trim_end())
        .replace("{growth}", crate::growth::section(growth)?.trim_end())
        .replace("{figures}", every(&figures).trim_end());
    let growth_plot = crate::growth::plot(growth)?;
    for (name, text) in [("numbers.md", page), ("numbers.svg", plot(&figures)), ("growth.svg", growth_plot)] {
        let file = folder.join(name);
        fs::write(&file, text).with_context(|| format!("{} can't be written", file.display()))?;
    }
    println!("as a page: {}", folder.join("numbers.md").display());
    Ok(())
}

fn floors(figures: &[Figure<'_>]) -> String {
    let mut table = "| store | what | reached | floor | |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for (figure, judged) in figures.iter().flat_map(|figure| figure.floors.iter().map(move |floor| (figure, floor))) {
        let [store, what, reached, floor, verdict] = judged.row(figure);
        let _ = writeln!(table, "| {store} | {what} | {reached} | {floor} | {verdict} |");
    }
    table
}

fn every(figures: &[Figure<'_>]) -> String {
    let mut table = "| store | what | median | lowest | highest |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for Figure { store, measure, unit, value, values, .. } in figures {
        let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let [value, lowest, highest] = [*value, lowest, highest].map(|value| shown(value, *unit));
        let _ = writeln!(table, "| {store} | {} | {value} | {lowest} | {highest} |", measure.title());
    }
    table
}

/// Each queue's rates, and how many times as fast ours is with its defaults.
fn beside(peers: &[Peer]) -> String {
    if peers.is_empty() {
        return "They were not measured in this run.".to_owned();
    }
    let mut table =
        "| store | queue | enqueue in bulk | one, awaited | drain |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for Peer { store, queue, bulk, one, drain, .. } in peers {
        let ours = peers.iter().find(|peer| peer.store == *store && peer.queue == "taskwright");
        let cell = |rate: f64, own: fn(&Peer) -> f64| match ours {
            Some(ours) if !queue.starts_with("taskwright") => {
                format!("{} /s (ours {:.2} x)", grouped(rate), own(ours) / rate)
            }
            _ => format!("{} /s", grouped(rate)),
        };
        let [bulk, one, drain] =
            [cell(*bulk, |peer| peer.bulk), cell(*one, |peer| peer.one), cell(*drain, |peer| peer.drain)];
        let _ = writeln!(table, "| {store} | {queue} | {bulk} | {one} | {drain} |");
    }
    table + &known(peers)
}

/// The version of each other queue, and what it keeps; its tunings share them.
fn known(peers: &[Peer]) -> String {
    let mut rows = Vec::new();
    for Peer { queue, version, kept, .. } in peers {
        if let (Some(version), Some(kept)) = (version, kept) {
            let row = format!("| {} | {version} | {kept} |\n", queue.split(',').next().unwrap_or(queue));
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    format!("\nWhat each of them keeps:\n\n| queue | version | a job |\n| --- | --- | --- |\n{}", rows.concat())
}

/// A bar for each share of a raw limit that has a floor, and a mark where that is.
fn plot(figures: &[Figure<'_>]) -> String {
    let rows = figures.iter().flat_map(|figure| figure.floors.iter().map(move |judged| (figure, judged)));
    let bars = rows.filter_map(|(figure, judged)| match judged.floor {
        Floor::Of { measure, share: Some(share) } => {
            let (what, limit) = (figure.measure.title(), measure.title().trim_start_matches("raw: "));
            let label = format!("{}: {what} / {limit}", figure.store);
            Some(Bar { label, share: judged.reached, least: Some(share) })
        }
        _ => None,
    });
    bars_of("What is reached of each raw limit, and the floor", &bars.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Measure;

    #[test]
    fn a_page_has_its_tables_and_its_plot() {
        let mut report = Report::default();
        report.rate("memory", Measure::RawSpawn, 400.0);
        for rate in [300.0, 100.0, 200.0] {
            report.rate("memory", Measure::Drain, rate);
        }
        report.versions.insert("postgres".to_owned(), "15.1".to_owned());
        let folder = tempfile::tempdir().unwrap();
        let peers = folder.path().join("peers.json");
        let told = r#"[{"store":"memory","queue":"taskwright","bulk":3.0,"one":2.0,"drain":1000.0},
            {"store":"memory","queue":"other","version":"1.2","kept":"nothing","bulk":1.0,"one":1.0,"drain":500.0},
            {"store":"memory","queue":"other, tuned","version":"1.2","kept":"nothing","bulk":1.0,"one":1.0,"drain":500.0}]"#;
        fs::write(&peers, told).unwrap();
        let growth = folder.path().join("growth.json");
        let told = r#"[{"store":"redis","axis":"late","at":1,"way":"one","values":[5.0],"value":5.0,"ratio":0.5}]"#;
        fs::write(&growth, told).unwrap();
        write(&report, folder.path(), &peers, &growth).unwrap();
        let page = fs::read_to_string(folder.path().join("numbers.md")).unwrap();
        for part in [
            "| memory | drain through the engine | 200 jobs/s | 100 jobs/s | 300 jobs/s |",
            "| memory | drain through the engine | 0.50 x raw: spawn, under a semaphore | 0.60 | missed by 17 % |",
            "| memory | other | 1 /s (ours 3.00 x) | 1 /s (ours 2.00 x) | 500 /s (ours 2.00 x) |",
            "| redis | dispatch, one after the other | 1 ms of network each way | 5 jobs/s | 0.50 |  |  |",
            "postgres: 15.1",
        ] {
            assert!(page.contains(part), "{page}");
        }
        assert_eq!(page.matches("| other | 1.2 | nothing |").count(), 1, "a tuning is no other queue: {page}");
        assert!(!page.contains('{'), "{page}");
        let plot = fs::read_to_string(folder.path().join("numbers.svg")).unwrap();
        assert!(plot.contains("#e76f51") && plot.contains(">0.50</text>"), "{plot}");
        let plot = fs::read_to_string(folder.path().join("growth.svg")).unwrap();
        assert!(plot.contains("redis: dispatch, one after the other, 1 ms of network each way"), "{plot}");
    }
}
