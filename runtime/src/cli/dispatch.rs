//! `dispatch`: puts a task on its queue by name, its parameters given as JSON.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::args::DispatchArguments;
use super::desk::Desk;
use super::tasks;
use super::trouble::{Exit, Trouble};
use crate::codec::{Codec, Payload};
use crate::dispatch::{Order, OutputFn};
use crate::error::{Error, ErrorKind, Result};
use crate::handle::JobHandle;
use crate::task::Definition;
use crate::time::format_duration;

pub(crate) async fn run(desk: &mut Desk<'_>, arguments: DispatchArguments) -> Result<Exit, Trouble> {
    let DispatchArguments { task, parameters, queue, delay, priority, unique_key, wait, timeout } = arguments;
    let task = *tasks::find(&desk.registry, &task)?;
    let payload = payload(desk, task.definition, parameters)?;
    let client = desk.client().await?;
    let order = Order { queue, delay, priority, unique_key };
    let read = (task.read)(&payload).map_err(|error| undecoded(task.definition, &error))?;
    let handle = client.order(read, order).await?;
    if wait { report_result(desk, handle, task.output, timeout).await } else { report_id(desk, &handle) }
}

/// The parameters as the task will read them: a JSON object, whose names are checked here since decoding passes over
/// those that it does not know.
fn payload(desk: &mut Desk<'_>, definition: &Definition, parameters: String) -> Result<Payload, Trouble> {
    let mut text = parameters;
    if text == "-" {
        text.clear();
        desk.output.stdin.read_to_string(&mut text)?;
    }
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| Trouble::usage(format!("the parameters are not JSON: {error}")).help(wanted(definition)))?;
    if let Some(given) = value.as_object() {
        let known = |name: &String| definition.parameters.iter().any(|parameter| parameter.name == name);
        for unknown in given.keys().filter(|name| !known(name)) {
            let near = crate::settings::did_you_mean(unknown, definition.parameters.iter().map(|known| known.name));
            desk.output.note(format!("warning: {} has no parameter `{unknown}`{near}", definition.name));
        }
    }
    Ok(Payload { codec: Codec::Json, bytes: text.into() })
}

fn undecoded(definition: &Definition, error: &Error) -> Trouble {
    let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    Trouble::usage(format!("these are not the parameters of {}: {cause}", definition.name)).help(wanted(definition))
}

fn wanted(definition: &Definition) -> String {
    let parameters: Vec<_> =
        definition.parameters.iter().map(|one| format!("\"{}\": {}", one.name, one.type_name)).collect();
    format!("{} takes a JSON object {{{}}}", definition.name, parameters.join(", "))
}

fn report_id(desk: &mut Desk<'_>, handle: &JobHandle<()>) -> Result<Exit, Trouble> {
    let (id, is_new) = (handle.id(), handle.is_new());
    if desk.output.json {
        desk.output.json(&serde_json::json!({ "id": id.to_string(), "new": is_new }))?;
        return Ok(Exit::Ok);
    }
    if handle.is_replaced() {
        desk.output.note("no new job: this one has the same unique key, and was changed");
    } else if !is_new {
        desk.output.note("nothing was dispatched: this job has the same unique key");
    }
    desk.output.line(id.to_string())?;
    Ok(Exit::Ok)
}

async fn report_result(
    desk: &mut Desk<'_>,
    handle: JobHandle<()>,
    output: OutputFn,
    timeout: Option<Duration>,
) -> Result<Exit, Trouble> {
    let (id, is_new) = (handle.id(), handle.is_new());
    if !desk.output.json {
        desk.output.note(format!("job {id}"));
    }
    let result = within(timeout, output(handle)).await.map_err(|error| error.context("job", id.to_string()))?;
    if desk.output.json {
        desk.output.json(&serde_json::json!({ "id": id.to_string(), "new": is_new, "result": result }))?;
    } else {
        desk.output.json(&result)?;
    }
    Ok(Exit::Ok)
}

async fn within(timeout: Option<Duration>, output: BoxFuture<'static, Result<Value>>) -> Result<Value> {
    let Some(timeout) = timeout else { return output.await };
    tokio::time::timeout(timeout, output).await.unwrap_or_else(|_| {
        let message = format!("the job has not ended within {}; it goes on", format_duration(timeout));
        Err(Error::new(ErrorKind::Timeout, message))
    })
}
