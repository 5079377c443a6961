//! The worker's side: the children that wait, and those that run a job.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Socket;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::process::{ChildStderr, Command};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::frame::{Call, Ended, Order, Report, receive, send};
use super::{SUMMONS, Summons, Told};
use crate::context::Context;
use crate::error::{Error, ErrorKind};
use crate::job::FailureKind;
use crate::registry::RunError;
use crate::task::TaskError;
use crate::trace::TraceContext;
use crate::worker::{BoxError, TaskResponse, WorkerOptions};

/// How long a child may take to be wired.
const START: Duration = Duration::from_mins(1);

/// How long a child that broke off may take to end by itself, and its last words to arrive.
const END: Duration = Duration::from_secs(1);

/// The child processes of one worker. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Processes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// One permit for each child that may run a job.
    room: Semaphore,
    /// Children that wait for a job. Locked for moves only, never across an await.
    idle: Mutex<Vec<Child>>,
    memory: Option<u64>,
    /// After how many jobs a child is replaced.
    jobs: u32,
}

/// One child process. Dropping it kills it.
#[derive(Debug)]
struct Child {
    process: tokio::process::Child,
    stream: UnixStream,
    words: Words,
    /// How many jobs it has run.
    jobs: u32,
}

impl Processes {
    pub(crate) fn new(options: &WorkerOptions) -> Self {
        Self(Arc::new(Inner {
            room: Semaphore::new(options.processes.min(Semaphore::MAX_PERMITS)),
            idle: Mutex::default(),
            memory: options.process_memory,
            jobs: options.process_jobs,
        }))
    }

    /// Runs an attempt in a child; waits while as many as may are busy.
    ///
    /// Dropping the future kills the child.
    pub(crate) async fn run(&self, ctx: &Context) -> Result<TaskResponse, BoxError> {
        let Ok(_room) = self.0.room.acquire().await else { return Err("the worker's processes are closed".into()) };
        let idle = self.idle();
        let mut child = match idle {
            Some(child) => child,
            None => Child::start(self.0.memory).await.map_err(RunError::NoProcess)?,
        };
        match child.run(ctx).await {
            Ok(ended) => {
                self.keep(child);
                answer(ended)
            }
            Err(error) => Err(child.crashed(&error).await.into()),
        }
    }

    /// A child that waits, if one does and lives.
    fn idle(&self) -> Option<Child> {
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find_map(|mut child| match child.process.try_wait() {
            Ok(None) => Some(child),
            _ => None,
        })
    }

    fn keep(&self, mut child: Child) {
        child.jobs += 1;
        if child.jobs < self.0.jobs {
            self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).push(child);
        }
    }
}

impl Child {
    async fn start(memory: Option<u64>) -> Result<Self, Error> {
        let refuse = |error: io::Error| {
            Error::new(ErrorKind::Unavailable, "a process for an isolated task could not be started").because(error)
        };
        let mut child = Self::spawn(memory).map_err(refuse)?;
        let ready = match timeout(START, receive(&mut child.stream)).await {
            Ok(Ok(Report::Ready)) => return Ok(child),
            Ok(Ok(_)) => "it spoke out of turn".to_owned(),
            Ok(Err(_)) => child.end().await,
            Err(_) => format!("it was not ready after {START:?}"),
        };
        let message = format!("a process for an isolated task did not start: {ready}{}", child.words.last().await);
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    fn spawn(memory: Option<u64>) -> io::Result<Self> {
        let (ours, theirs) = Socket::pair()?;
        ours.set_nonblocking(true)?;
        let stream = UnixStream::from_std(ours)?;
        let mut arguments = std::env::args_os();
        let mut command = Command::new(program()?);
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        let summons = Summons { parent: std::process::id(), memory };
        command
            .args(arguments)
            .env(SUMMONS, summons.to_string())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::piped())
            // Ctrl-C is for the worker, which knows what to do with what runs.
            .process_group(0)
            .kill_on_drop(true);
        let mut process = command.spawn()?;
        let Some(stderr) = process.stderr.take() else { return Err(io::Error::other("its standard error is missing")) };
        // The command holds the child's end of the socket, whose closing tells us that the child has ended.
        drop(command);
        Ok(Self { process, stream, words: Words::of(stderr), jobs: 0 })
    }

    /// Runs an attempt to its end; an error is the child's, not the task's.
    async fn run(&mut self, ctx: &Context) -> io::Result<Ended> {
        let (mut from, mut to) = self.stream.split();
        send(&mut to, &Order::Run(call(ctx))).await?;
        let mut told = false;
        loop {
            let report = receive(&mut from);
            tokio::pin!(report);
            let report = loop {
                tokio::select! {
                    biased;
                    report = &mut report => break report?,
                    () = ctx.cancellation().cancelled(), if !told => {
                        told = true;
                        send(&mut to, &Order::Cancel).await?;
                    }
                }
            };
            match report {
                Report::Ended(ended) => return Ok(ended),
                Report::Progress(progress) => ctx.report_progress(progress.fraction, progress.note),
                Report::Ready => return Err(io::Error::other("it began anew")),
            }
        }
    }

    async fn crashed(mut self, error: &io::Error) -> RunError {
        let end = match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                self.end().await
            }
            _ => error.to_string(),
        };
        let message = format!("the task's process was gone before the task ended: {end}{}", self.words.last().await);
        RunError::Crash(Error::new(ErrorKind::Job, message))
    }

    /// How the process ended, in words.
    async fn end(&mut self) -> String {
        match timeout(END, self.process.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it closed its standard input".to_owned(),
        }
    }
}

/// This very program, also when its file was replaced since it started.
fn program() -> io::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() { Ok(running.to_owned()) } else { std::env::current_exe() }
}

fn call(ctx: &Context) -> Call {
    let trace = TraceContext::current();
    Call {
        spec: ctx.shared_spec(),
        attempt: ctx.attempt(),
        attempt_limit: ctx.attempt_limit(),
        time_left: ctx.time_left(),
        trace: trace.map(|trace| (trace.to_string(), trace.state().map(str::to_owned))),
    }
}

/// What the attempt's end in a child would have been here.
fn answer(ended: Ended) -> Result<TaskResponse, BoxError> {
    let (kind, reaction, message, causes) = match ended {
        Ended::Returned(response) => return Ok(response),
        Ended::Panicked(message) => return Err(RunError::Panic(Error::new(ErrorKind::Job, message)).into()),
        Ended::Failed { kind, reaction, message, causes } => (kind, reaction, message, causes),
    };
    let cause = Told::chain(causes.into_iter());
    let codec = |message, cause: Option<Box<Told>>| match cause {
        Some(cause) => Error::new(ErrorKind::Codec, message).because(cause),
        None => Error::new(ErrorKind::Codec, message),
    };
    Err(match kind {
        FailureKind::Payload => RunError::Payload(codec(message, cause)).into(),
        FailureKind::Result => RunError::Result(codec(message, cause)).into(),
        _ => TaskError::asking_for(reaction, Box::new(Told { message, cause })).into(),
    })
}

/// What a child says on its standard error: passed on, and its end remembered.
#[derive(Debug)]
struct Words {
    tail: Arc<Mutex<Vec<u8>>>,
    /// Ends with the pipe, so also when nobody waits for it.
    passing: JoinHandle<()>,
}

impl Words {
    /// How much is remembered, in bytes.
    const KEPT: usize = 1_024;
    /// How many lines are told.
    const TOLD: usize = 5;

    fn of(stderr: ChildStderr) -> Self {
        let tail = Arc::default();
        Self { passing: tokio::spawn(pass_on(stderr, Arc::clone(&tail))), tail }
    }

    /// The last lines, as the end of a message; the process has ended.
    async fn last(&mut self) -> String {
        // What the child started itself may hold the pipe open for ever.
        let _: Result<_, _> = timeout(END, &mut self.passing).await;
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&tail);
        let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(Self::TOLD)..];
        if last.is_empty() { String::new() } else { format!("; its last words: {}", last.join(" | ")) }
    }
}

async fn pass_on(mut stderr: ChildStderr, tail: Arc<Mutex<Vec<u8>>>) {
    let mut chunk = vec![0; 8 << 10];
    while let Ok(length @ 1..) = stderr.read(&mut chunk).await {
        let words = &chunk[..length];
        // Whoever reads our standard error may have gone, which is no reason to stop the child's.
        let _: io::Result<()> = io::stderr().write_all(words);
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(words);
        let spare = tail.len().saturating_sub(Words::KEPT);
        tail.drain(..spare);
    }
}
