//! `limits`: what is allowed in the whole cluster, and changing it while workers run.

use serde::Serialize;

use super::args::{LimitAction, LimitsArguments};
use super::desk::Desk;
use super::table::Columns;
use super::trouble::{Exit, Trouble};
use crate::backend::{LimitSource, LimitStats, Limiter, no_limiter};
use crate::client::Client;
use crate::job::Allowance;

pub(crate) async fn run(desk: &mut Desk<'_>, arguments: LimitsArguments) -> Result<Exit, Trouble> {
    match arguments.action.unwrap_or(LimitAction::List { limit: 50, after: None }) {
        LimitAction::List { limit, after } => list(desk, limit, after.as_deref()).await,
        LimitAction::Set { key, allowance } => set(desk, &key, allowance, false).await,
        LimitAction::Clear { key, configured } => set(desk, &key, Allowance::default(), configured).await,
    }
}

/// A limit as `--json` shows it; what is not limited is null.
#[derive(Serialize)]
struct LimitView<'a> {
    key: &'a str,
    /// What is in force.
    limit: Option<String>,
    /// What was set by hand.
    set: Option<String>,
    configured: Option<String>,
    held: u64,
    started: u64,
}

impl<'a> LimitView<'a> {
    fn new(stats: &'a LimitStats) -> Self {
        let text = |allowance: Allowance| (!allowance.is_empty()).then(|| allowance.to_string());
        Self {
            key: &stats.key,
            limit: text(stats.allowance),
            set: text(stats.at_run_time),
            configured: text(stats.configured),
            held: stats.held,
            started: stats.started,
        }
    }
}

fn limiter(client: &Client) -> Result<&dyn Limiter, Trouble> {
    let backend = client.backend();
    backend.limiter().ok_or_else(|| no_limiter(backend.info().name, "this command is about limits").into())
}

async fn list(desk: &mut Desk<'_>, limit: u32, after: Option<&str>) -> Result<Exit, Trouble> {
    let client = desk.client().await?;
    let limits = limiter(&client)?.limits(after, usize::try_from(limit).unwrap_or(usize::MAX)).await?;
    let views: Vec<_> = limits.iter().map(LimitView::new).collect();
    if desk.output.json {
        desk.output.json(&serde_json::json!({ "limits": views }))?;
        return Ok(Exit::Ok);
    }
    if views.is_empty() {
        desk.output.note("no limit is set, and no job has counted against one lately");
        return Ok(Exit::Ok);
    }
    let mut columns = Columns::new(["key", "limit", "running", "started", "set", "configured"]);
    let shown = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    for view in views {
        columns.row([
            view.key.to_owned(),
            shown(view.limit),
            view.held.to_string(),
            view.started.to_string(),
            shown(view.set),
            shown(view.configured),
        ]);
    }
    desk.output.line(columns.text())?;
    Ok(Exit::Ok)
}

async fn set(desk: &mut Desk<'_>, key: &str, allowance: Allowance, configured: bool) -> Result<Exit, Trouble> {
    let client = desk.client().await?;
    let limiter = limiter(&client)?;
    limiter.set_limit(key, LimitSource::RunTime, allowance).await?;
    if configured {
        limiter.set_limit(key, LimitSource::Configuration, Allowance::default()).await?;
    }
    let set = (!allowance.is_empty()).then(|| allowance.to_string());
    if desk.output.json {
        desk.output.json(&serde_json::json!({ "key": key, "set": set }))?;
    } else {
        desk.output.line(match set {
            Some(set) => format!("{key} is limited to {set}"),
            None => format!("{key} is limited by what tasks and configuration say"),
        })?;
    }
    Ok(Exit::Ok)
}
