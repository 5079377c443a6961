//! `jobs`: listing them, looking at one, and changing them by id or by filter.

mod change;
mod list;
mod show;
mod view;

use super::args::{FilterArguments, JobAction, JobsArguments};
use super::desk::Desk;
use super::trouble::{Exit, Trouble};
use crate::backend::{Change, JobFilter};

pub(crate) async fn run(desk: &mut Desk<'_>, arguments: JobsArguments) -> Result<Exit, Trouble> {
    let action =
        arguments.action.unwrap_or(JobAction::List { filter: FilterArguments::default(), limit: 50, after: None });
    match action {
        JobAction::List { filter, limit, after } => list::run(desk, filter.into(), limit as usize, after).await,
        JobAction::Show { ids, payload } => show::run(desk, ids, payload).await,
        JobAction::Retry(change) => change::run(desk, change, &Change::Retry).await,
        JobAction::Cancel { change, reason } => change::run(desk, change, &Change::Cancel { reason }).await,
        JobAction::Delete(change) => change::run(desk, change, &Change::Delete).await,
    }
}

impl From<FilterArguments> for JobFilter {
    fn from(arguments: FilterArguments) -> Self {
        let FilterArguments { state, queue, task, tag, before } = arguments;
        Self { ids: Vec::new(), states: state, queue, task, tag, before }
    }
}
