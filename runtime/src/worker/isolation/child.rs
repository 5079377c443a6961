//! The child's side: it runs what it is handed, one attempt at a time, until its worker lets go of it.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::FutureExt;
use rustix::process::{Resource, Rlimit, Signal};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::Summons;
use super::frame::{Call, Ended, Order, Report, receive_now, send_now};
use crate::blocking::BlockingPool;
use crate::client::Client;
use crate::codec::Payload;
use crate::context::{Context, ProgressCell, States};
use crate::error::{Error, ErrorKind, Result, error_chain};
use crate::job::FailureKind;
use crate::registry::{Registry, RunError};
use crate::task::{Reaction, TaskError};
use crate::trace::{self, TraceContext};
use crate::transaction::TransactionCell;
use crate::worker::execute::panic_message;

/// The line to the worker that started this process.
pub(crate) struct Line {
    stream: UnixStream,
    /// Taken by the one who serves.
    calls: Mutex<Option<mpsc::UnboundedReceiver<Received>>>,
}

/// An attempt to run, and what stops it.
struct Received {
    call: Call,
    token: CancellationToken,
}

/// The line to this process's worker, if a worker started it.
///
/// The first call takes standard input, which is the line, away from everybody else, and sets the limit on memory; so
/// it comes before any code of the application. From then on this process ends when its worker lets go of it.
pub(crate) fn summoned() -> Option<&'static Line> {
    static LINE: OnceLock<Option<Line>> = OnceLock::new();
    let heed = || {
        let line = Line::open(Summons::here()?);
        let refuse = |error: io::Error| -> Line {
            eprintln!("this process can't run isolated tasks: {error}");
            std::process::exit(1);
        };
        Some(line.unwrap_or_else(refuse))
    };
    LINE.get_or_init(heed).as_ref()
}

impl Line {
    fn open(summons: Summons) -> io::Result<Self> {
        let stream = UnixStream::from(take_standard_input()?);
        if let Some(bytes) = summons.memory {
            let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
            rustix::process::setrlimit(Resource::Data, limit)?;
        }
        let (sender, calls) = mpsc::unbounded_channel();
        let orders = stream.try_clone()?;
        // A thread of its own, which no task can keep from hearing that the worker is gone.
        std::thread::Builder::new().name("orders".to_owned()).spawn(move || heed_orders(&orders, &sender))?;
        Ok(Self { stream, calls: Mutex::new(Some(calls)) })
    }

    fn say(&self, report: &Report) -> io::Result<()> {
        send_now(&self.stream, report)
    }
}

/// Standard input for this process alone: what it starts itself finds nothing there.
fn take_standard_input() -> io::Result<OwnedFd> {
    let line = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(line)
}

fn heed_orders(mut orders: &UnixStream, calls: &mpsc::UnboundedSender<Received>) {
    let mut running = CancellationToken::new();
    loop {
        match receive_now(&mut orders) {
            Ok(Order::Run(call)) => {
                running = CancellationToken::new();
                // Whoever served has ended, and the process with it.
                let _ = calls.send(Received { call, token: running.clone() });
            }
            Ok(Order::Cancel) => running.cancel(),
            Err(_) => die(),
        }
    }
}

/// Ends this process whatever its threads are at.
fn die() {
    // It can't fail, and nobody is left to hear of it.
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
}

/// Runs the attempts that the worker hands over; ends with the process.
pub(crate) async fn serve(
    line: &Line,
    registry: &Registry,
    states: Arc<States>,
    client: Option<Client>,
) -> Result<Infallible> {
    let gone = |error: io::Error| Error::new(ErrorKind::Closed, "the worker of this process is gone").because(error);
    let calls = line.calls.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut calls) = calls else {
        return Err(Error::new(ErrorKind::Wiring, "`App::isolated` was called twice; call it once"));
    };
    line.say(&Report::Ready).map_err(gone)?;
    while let Some(received) = calls.recv().await {
        let ended = attempt(line, registry, &states, client.as_ref(), received).await;
        line.say(&Report::Ended(ended)).map_err(gone)?;
    }
    Err(Error::new(ErrorKind::Closed, "the worker of this process is gone"))
}

async fn attempt(
    line: &Line,
    registry: &Registry,
    states: &Arc<States>,
    client: Option<&Client>,
    Received { call, token }: Received,
) -> Ended {
    let Some(task) = registry.get(call.spec.task.as_str()) else {
        return Ended::Failed {
            kind: FailureKind::Error,
            reaction: Reaction::Backoff,
            message: format!("task {} is not registered in the process that was to run it", call.spec.task),
            causes: Vec::new(),
        };
    };
    let news = Arc::new(Notify::new());
    let progress = Arc::new(ProgressCell::new(Arc::clone(&news)));
    let trace = call.trace.and_then(|(parent, state)| {
        let trace = TraceContext::parse(&parent).ok()?;
        Some(state.map_or(trace.clone(), |state| trace.with_state(&state)))
    });
    let trace = trace.unwrap_or_else(TraceContext::root);
    let span = trace::attempt_span(&call.spec, call.attempt, &trace);
    let ctx = Context::new(
        (call.spec, call.attempt, call.attempt_limit),
        call.time_left.map(|left| Instant::now() + left),
        token,
        Arc::clone(&progress),
        Arc::clone(states),
        BlockingPool::default(),
        TransactionCell::default(),
    );
    let run = AssertUnwindSafe(async { (task.run)(ctx.clone()).await }).catch_unwind();
    let run = trace.scope(ctx.enter(run)).instrument(span);
    let mut run = match client {
        Some(client) => client.scope(run).boxed(),
        None => run.boxed(),
    };
    let tell = || {
        // A worker that is gone ends this process soon enough.
        progress.take().map(|progress| line.say(&Report::Progress(progress)))
    };
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut run => break ended,
            () = news.notified() => drop(tell()),
        }
    };
    drop(tell());
    judge(ended)
}

type Returned = Result<Option<Payload>, Box<dyn std::error::Error + Send + Sync>>;

fn judge(ended: std::thread::Result<Returned>) -> Ended {
    let error = match ended {
        Ok(Ok(response)) => return Ended::Returned(response),
        Ok(Err(error)) => error,
        Err(panic) => return Ended::Panicked(panic_message(&*panic)),
    };
    let failed = |kind, reaction, error: &(dyn std::error::Error + 'static)| {
        let mut chain = error_chain(error).into_iter();
        Ended::Failed { kind, reaction, message: chain.next().unwrap_or_default(), causes: chain.collect() }
    };
    match error.downcast_ref::<RunError>() {
        Some(RunError::Payload(error)) => failed(FailureKind::Payload, Reaction::Backoff, error),
        Some(RunError::Result(error)) => failed(FailureKind::Result, Reaction::Discard, error),
        _ => {
            let error = TaskError::from_boxed(error);
            failed(FailureKind::Error, error.reaction(), &error)
        }
    }
}
