//! `bench`: what the store that the settings name can do, measured in a queue of its own.

mod figures;
mod probe;
mod stand;

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use self::figures::Figures;
use self::probe::PAYLOAD;
use self::stand::Stand;
use super::args::BenchArguments;
use super::desk::Desk;
use super::signals::Signals;
use super::trouble::{Exit, Trouble};
use crate::backend::Backend;

/// How often the progress bar turns.
const TURN: Duration = Duration::from_millis(100);

pub(crate) async fn run(desk: &mut Desk<'_>, asked: BenchArguments) -> Result<Exit, Trouble> {
    let client = desk.client().await?;
    for warning in warnings(&**client.backend()).await {
        desk.output.note(format!("note: {warning}"));
    }
    let bar = progress_bar(desk.output.terminal && !desk.output.json);
    let mut stand = Stand::new(client.clone(), desk.settings.worker.clone())?;
    let mut signals = Signals::new()?;
    let measured = tokio::select! {
        measured = measure(&mut stand, &asked, &bar) => measured,
        signal = signals.next() => {
            Err(Trouble::new(Exit::Failed, format!("{signal} stopped it before everything was measured")))
        }
    };
    bar.set_message("removing the jobs");
    let cleared = stand.clear().await;
    bar.finish_and_clear();
    // What was measured failed first, and says more.
    let figures = measured?;
    cleared?;
    report(desk, &**client.backend(), &figures)
}

/// What the figures are not to be taken for.
async fn warnings(backend: &dyn Backend) -> Vec<String> {
    let info = backend.info();
    let mut warnings = info.warnings.clone();
    if info.name == "memory" {
        warnings.push("this is memory alone, since no setting `url` names a store".to_owned());
    }
    let alive = match backend.inspect() {
        Some(inspect) => inspect.workers().await.map_or(0, |workers| workers.len()),
        None => 0,
    };
    if alive > 0 {
        warnings.push(format!("{alive} other workers are alive, which share the store with this measurement"));
    }
    warnings
}

/// Every figure in turn.
async fn measure(stand: &mut Stand, asked: &BenchArguments, bar: &ProgressBar) -> Result<Figures, Trouble> {
    bar.set_message("dispatching one at a time");
    let one = stand.one_at_a_time(asked.samples).await?;
    bar.set_message("dispatching from many callers");
    let together = stand.together(asked.jobs).await?;
    stand.drain().await?;
    bar.set_message("dispatching in bulk");
    let bulk = stand.bulk(asked.jobs).await?;
    bar.set_message("draining");
    let drain = stand.drain().await?;
    bar.set_message("waking an idle worker");
    let start = stand.idle_starts(asked.samples).await?;
    let steady = match asked.rate {
        Some(rate) => {
            bar.set_message("keeping a steady rate");
            Some(stand.steady(rate, asked.time).await?)
        }
        None => None,
    };
    Ok(Figures { jobs: asked.jobs, samples: asked.samples, one, together, bulk, drain, start, steady })
}

fn report(desk: &mut Desk<'_>, backend: &dyn Backend, figures: &Figures) -> Result<Exit, Trouble> {
    let info = backend.info();
    if desk.output.json {
        let store = serde_json::json!({ "name": info.name, "location": info.location, "durability": info.durability });
        desk.output.json(&serde_json::json!({ "backend": store, "payload_bytes": PAYLOAD, "figures": figures }))?;
        return Ok(Exit::Ok);
    }
    desk.output.line(format!("{} at {}, {}", info.name, info.location, info.durability))?;
    desk.output.line(format!("no-op jobs with a payload of {PAYLOAD} bytes, this process as the one worker"))?;
    desk.output.line(figures.table())?;
    Ok(Exit::Ok)
}

fn progress_bar(shown: bool) -> ProgressBar {
    let bar = if shown { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    // A template that does not parse leaves the default, which shows the same.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    if shown {
        bar.enable_steady_tick(TURN);
    }
    bar
}
