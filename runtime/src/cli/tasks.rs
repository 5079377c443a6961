//! `tasks`: what this program can run, with parameters, options and where each is written.

use serde::Serialize;

use super::desk::Desk;
use super::table::{Columns, clean};
use super::trouble::{Exit, Trouble};
use crate::policy::Backoff;
use crate::registry::{Registration, Registry};
use crate::settings::did_you_mean;
use crate::task::{Definition, Execution, Options, Parameter};
use crate::time::format_duration;

/// A task as `--json` shows it.
#[derive(Serialize)]
struct TaskView {
    name: &'static str,
    aliases: &'static [&'static str],
    parameters: &'static [Parameter],
    state: Vec<StateView>,
    execution: &'static str,
    queue: Option<&'static str>,
    priority: Option<i16>,
    max_attempts: Option<u32>,
    backoff: Option<String>,
    timeout: Option<String>,
    expires: Option<String>,
    keep_result: Option<String>,
    unique: Option<&'static str>,
    tags: &'static [&'static str],
    docs: &'static str,
    file: &'static str,
    line: u32,
}

#[derive(Serialize)]
struct StateView {
    parameter: &'static str,
    #[serde(rename = "type")]
    type_name: &'static str,
}

impl TaskView {
    fn new(definition: &'static Definition) -> Self {
        let Options { queue, priority, max_attempts, unique, tags, .. } = definition.options;
        let options = &definition.options;
        let state = definition.state.iter();
        Self {
            name: definition.name,
            aliases: definition.aliases,
            parameters: definition.parameters,
            state: state.map(|need| StateView { parameter: need.parameter, type_name: (need.type_name)() }).collect(),
            execution: match definition.execution {
                Execution::Async => "async",
                Execution::Blocking => "blocking",
                Execution::Process => "process",
            },
            queue,
            priority,
            max_attempts,
            backoff: options.backoff.map(backoff_text),
            timeout: options.timeout.map(format_duration),
            expires: options.expires.map(format_duration),
            keep_result: options.keep_result.map(format_duration),
            unique: unique.map(|unique| unique.key),
            tags,
            docs: definition.docs,
            file: definition.file,
            line: definition.line,
        }
    }

    /// What its attribute asks for, as it would be written there.
    fn options(&self) -> String {
        let quoted = |name: &str, value: Option<&str>| value.map(|value| format!("{name} = \"{value}\""));
        let options = [
            self.priority.map(|priority| format!("priority = {priority}")),
            self.max_attempts.map(|attempts| format!("max_attempts = {attempts}")),
            self.backoff.as_ref().map(|backoff| format!("backoff = {backoff}")),
            quoted("timeout", self.timeout.as_deref()),
            quoted("expires", self.expires.as_deref()),
            quoted("keep_result", self.keep_result.as_deref()),
            quoted("unique", self.unique),
            (!self.tags.is_empty()).then(|| format!("tags = {:?}", self.tags)),
            (self.execution == "process").then(|| "isolate = \"process\"".to_owned()),
        ];
        options.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    fn parameters(&self) -> String {
        let pairs: Vec<_> = self.parameters.iter().map(|one| format!("{}: {}", one.name, one.type_name)).collect();
        pairs.join(", ")
    }
}

fn backoff_text(backoff: Backoff) -> String {
    match backoff {
        Backoff::Fixed { delay } => format!("fixed(\"{}\")", format_duration(delay)),
        Backoff::Exponential { base, max } => {
            format!("exponential(\"{}\", max = \"{}\")", format_duration(base), format_duration(max))
        }
        Backoff::Linear { step, max } => {
            format!("linear(\"{}\", max = \"{}\")", format_duration(step), format_duration(max))
        }
    }
}

pub(crate) fn run(desk: &mut Desk<'_>, name: Option<&str>) -> Result<Exit, Trouble> {
    match name {
        Some(name) => show(desk, name),
        None => list(desk),
    }
}

fn list(desk: &mut Desk<'_>) -> Result<Exit, Trouble> {
    let views: Vec<TaskView> = desk.registry.iter().map(|task| TaskView::new(task.definition)).collect();
    if desk.output.json {
        desk.output.json(&serde_json::json!({ "tasks": views }))?;
        return Ok(Exit::Ok);
    }
    if views.is_empty() {
        desk.output.note(
            "no task is linked into this program; a crate that is never named in code is not linked: \
             write `use my_tasks as _;`",
        );
        return Ok(Exit::Ok);
    }
    let mut columns = Columns::new(["task", "parameters", "queue", "options", "written at"]);
    for view in &views {
        columns.row([
            view.name.to_owned(),
            view.parameters(),
            view.queue.unwrap_or("-").to_owned(),
            view.options(),
            format!("{}:{}", view.file, view.line),
        ]);
    }
    desk.output.line(columns.text())?;
    Ok(Exit::Ok)
}

fn show(desk: &mut Desk<'_>, name: &str) -> Result<Exit, Trouble> {
    let view = TaskView::new(find(&desk.registry, name)?.definition);
    if desk.output.json {
        desk.output.json(&view)?;
        return Ok(Exit::Ok);
    }
    let state: Vec<_> = view.state.iter().map(|need| format!("{}: {}", need.parameter, need.type_name)).collect();
    let facts = [
        ("task", view.name.to_owned()),
        ("aliases", view.aliases.join(", ")),
        ("parameters", view.parameters()),
        ("state", state.join(", ")),
        ("runs", view.execution.to_owned()),
        ("queue", view.queue.unwrap_or_default().to_owned()),
        ("options", view.options()),
        ("written at", format!("{}:{}", view.file, view.line)),
    ];
    for (fact, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        desk.output.line(format!("{fact:<12}{value}"))?;
    }
    if !view.docs.trim().is_empty() {
        desk.output.line(format!("\n{}", clean(view.docs.trim())))?;
    }
    Ok(Exit::Ok)
}

/// The task of this name or alias.
pub(crate) fn find<'a>(registry: &'a Registry, name: &str) -> Result<&'a Registration, Trouble> {
    registry.get(name).ok_or_else(|| {
        let names =
            registry.iter().flat_map(|task| std::iter::once(&task.definition.name).chain(task.definition.aliases));
        let near = did_you_mean(name, names.copied());
        Trouble::not_found(format!("this program has no task `{name}`{near}"))
            .help("the command `tasks` lists what there is")
    })
}
