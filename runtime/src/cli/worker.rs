//! `worker`: claims jobs and runs them until it is told to stop.

use tokio::net::TcpListener;

use super::arguments::LogArguments;
use super::desk::Desk;
use super::health;
use super::queues::known_queues;
use super::signals::Signals;
use super::trouble::{Exit, Trouble};
use crate::job::Name;
use crate::settings::did_you_mean;
use crate::worker::{Shutdown, Summary, Worker};

pub(crate) async fn run(desk: &mut Desk<'_>, drain: bool) -> Result<Exit, Trouble> {
    let listener = match desk.settings.health_addr {
        Some(address) => Some(health::bind(address).await?),
        None => None,
    };
    let client = desk.client().await?;
    let mut app = std::mem::take(&mut desk.app);
    if desk.settings.show_arguments {
        app = app.layer(&LogArguments);
    }
    let worker = app.options(|options| options.drain |= drain).worker(client)?;
    warn_of_unknown_queues(desk).await;
    let shutdown = Shutdown::new();
    let _signals = AbortOnDrop(tokio::spawn(heed_signals(shutdown.clone())));
    let summary = work(worker, listener, shutdown).await?;
    report(desk, &summary)?;
    Ok(Exit::Ok)
}

/// Runs the worker, and answers for its health meanwhile.
async fn work(worker: Worker, listener: Option<TcpListener>, shutdown: Shutdown) -> Result<Summary, Trouble> {
    let Some(listener) = listener else { return Ok(worker.run(shutdown).await?) };
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "the health endpoint listens");
    }
    let _endpoint = AbortOnDrop(tokio::spawn(health::serve(listener, worker.health())));
    Ok(worker.run(shutdown).await?)
}

/// Ends a task that only makes sense while the worker runs.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The first signal asks for a graceful stop, the second one skips the waits.
async fn heed_signals(shutdown: Shutdown) {
    match Signals::new() {
        Ok(mut signals) => loop {
            let signal = signals.next().await;
            heed(&shutdown, signal);
        },
        Err(error) => {
            tracing::warn!(%error, "signals can't be heard; the worker stops without grace when it is told to");
        }
    }
}

fn heed(shutdown: &Shutdown, signal: &str) {
    if shutdown.is_stopping() {
        tracing::warn!(signal, "stopping at once; unfinished jobs go back to their queues");
        shutdown.abort();
    } else {
        tracing::info!(signal, "stopping when the running jobs have ended; another signal stops at once");
        shutdown.stop();
    }
}

/// A misspelt queue is served in silence for ever, so it is worth a line.
async fn warn_of_unknown_queues(desk: &mut Desk<'_>) {
    let served: Vec<Name> = desk.settings.worker.queues.iter().map(|queue| queue.name.clone()).collect();
    // A store that does not answer now is reported by the worker itself.
    let Ok(known) = known_queues(desk).await else { return };
    for queue in served.iter().filter(|queue| !known.contains(queue.as_str())) {
        let near = did_you_mean(queue.as_str(), known.iter().map(String::as_str));
        tracing::warn!(%queue, "no task names this queue and no job waits in it{near}");
    }
}

fn report(desk: &mut Desk<'_>, summary: &Summary) -> Result<(), Trouble> {
    if desk.output.json {
        return desk.output.json(summary);
    }
    Ok(())
}
