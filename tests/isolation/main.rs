//! Tasks in processes of their own: what they do to themselves, they do to nobody else.
//!
//! The program is `tests/bin/isolated.rs`, run as a worker on an SQLite file; its tasks are dispatched and looked at
//! from here.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "in a test, a panic is how a failure is told")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use taskwright::backend::JobFilter;
use taskwright::backend::memory::Memory;
use taskwright::job::{Ending, FailureKind, Job};
use taskwright::registry::Registry;
use taskwright::worker::WorkerOptions;
use taskwright::{Client, ErrorKind, JobId, State, Worker};

#[path = "../bin/isolated.rs"]
#[allow(dead_code, reason = "its `main` is for the program of its own")]
mod isolated;

use isolated::{Abort, Fail, Hold, Leak, Parent, Pid, Plain, Spin, Wait};

/// Far longer than anything here takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_mins(2);

/// A queue in a folder of its own.
struct Site {
    folder: tempfile::TempDir,
    client: Client,
}

impl Site {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let client = Client::connect(&format!("sqlite:{}", folder.path().join("jobs.db").display())).await.unwrap();
        Self { folder, client }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program's worker on this queue; killed when it is dropped.
    fn worker(&self, settings: &[(&str, &str)], args: &[&str]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_isolated"));
        let foreign = std::env::vars_os().map(|(name, _)| name);
        for name in foreign.filter(|name| name.to_string_lossy().starts_with("TASKWRIGHT_")) {
            command.env_remove(name);
        }
        command.current_dir(self.folder.path()).envs(settings.iter().copied());
        command.args(["worker", "--url", "sqlite:jobs.db"]).args(args);
        Running(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    /// Runs what is due, in a worker that stops then.
    async fn drain(&self, settings: &[(&str, &str)]) {
        let mut worker = self.worker(settings, &["--drain"]);
        let status = tokio::task::spawn_blocking(move || worker.0.wait().unwrap());
        assert!(within(status).await.unwrap().success());
    }

    async fn job(&self, id: JobId) -> Job {
        let filter = JobFilter { ids: vec![id], ..JobFilter::default() };
        let mut jobs = self.client.backend().inspect().unwrap().list(&filter, None, 1).await.unwrap();
        jobs.pop().expect("the job is kept")
    }
}

/// A worker in a process; killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has usually ended, which is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn within<F: IntoFuture>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future.into_future()).await.expect("it takes far too long")
}

/// Asks until the answer is what it should become.
async fn until<T>(what: &str, ask: impl Fn() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "never came true: {what}");
        tokio::task::yield_now().await;
    }
}

fn pid_in(file: &Path) -> Option<u32> {
    std::fs::read_to_string(file).ok()?.parse().ok()
}

/// Whether a process runs; one that has ended and that nobody has asked about does not.
fn runs(pid: u32) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    let state = String::from_utf8(output.stdout).unwrap();
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

#[tokio::test]
async fn a_crash_a_leak_and_a_hang_cost_their_own_attempts_and_nothing_else() {
    let site = Site::new().await;
    let pid_file = site.file("pid");
    let abort = site.client.dispatch(Abort::new()).await.unwrap().id();
    let leak = site.client.dispatch(Leak::new()).await.unwrap().id();
    let spin = site.client.dispatch(Spin::new(pid_file.clone())).await.unwrap().id();
    let isolated = site.client.dispatch_many((0..10).map(|_| Pid::new("you"))).await.unwrap();
    let plain = site.client.dispatch_many((0..200).map(|_| Plain::new())).await.unwrap();
    site.drain(&[("TASKWRIGHT_PROCESS_MEMORY", "256MiB"), ("TASKWRIGHT_PROCESSES", "3")]).await;

    for handle in plain {
        let job = site.job(handle.id()).await;
        assert_eq!((job.state, job.attempt), (State::Completed, 1));
    }
    for handle in isolated {
        let job = site.job(handle.id()).await;
        assert_eq!((job.state, job.attempt), (State::Completed, 1));
    }
    let job = site.job(abort).await;
    assert_eq!((job.state, job.attempt, job.crashes), (State::Discarded, 3, 3), "{job:?}");
    assert!(job.history.iter().all(|attempt| attempt.ending == Ending::Crashed));
    let failure = job.failure().unwrap();
    assert_eq!(failure.kind, FailureKind::Crash);
    for part in ["SIGABRT", "going down", "3 crashes make it poison"] {
        assert!(failure.message.contains(part), "{part}: {failure}");
    }
    let job = site.job(leak).await;
    assert_eq!((job.state, job.attempt, job.crashes), (State::Discarded, 1, 1));
    assert!(job.failure().unwrap().message.contains("memory allocation"), "{job:?}");
    let job = site.job(spin).await;
    let failure = job.failure().unwrap();
    assert_eq!((job.state, failure.kind), (State::Discarded, FailureKind::Timeout));
    assert!(!runs(pid_in(&pid_file).unwrap()), "its timeout really kills");
}

#[tokio::test]
async fn children_are_wired_like_their_worker_used_again_and_replaced() {
    let site = Site::new().await;
    let handles = site.client.dispatch_many((0..4).map(|number| Pid::new(format!("number {number}")))).await.unwrap();
    let plain = site.client.dispatch(Plain::new()).await.unwrap();
    site.drain(&[("TASKWRIGHT_PROCESS_JOBS", "2"), ("TASKWRIGHT_PROCESSES", "1")]).await;
    let worker = within(plain).await.unwrap();
    let mut pids = BTreeSet::new();
    for (number, handle) in handles.into_iter().enumerate() {
        let (pid, greeting) = within(handle).await.unwrap();
        assert_eq!(greeting, format!("hello number {number}"));
        assert_ne!(pid, worker);
        pids.insert(pid);
    }
    assert_eq!(pids.len(), 2, "two jobs for each process");
}

#[tokio::test]
async fn errors_and_panics_come_back_as_they_were() {
    let site = Site::new().await;
    let mut ids = Vec::new();
    for how in ["error", "discard", "panic", "snooze"] {
        ids.push(site.client.dispatch(Fail::new(how)).await.unwrap().id());
    }
    site.drain(&[]).await;
    let [error, discard, panic, snooze] = &*ids else { unreachable!() };
    let job = site.job(*error).await;
    let failure = job.failure().unwrap();
    assert_eq!((job.state, job.attempt, failure.kind), (State::Discarded, 5, FailureKind::Error));
    assert_eq!(failure.to_string(), "it failed: the reason's reason: the reason");
    let job = site.job(*discard).await;
    assert_eq!((job.state, job.attempt), (State::Discarded, 1));
    assert_eq!(job.failure().unwrap().to_string(), "it failed: the reason's reason: the reason");
    let job = site.job(*panic).await;
    let failure = job.failure().unwrap();
    assert_eq!((job.state, job.attempt, failure.kind), (State::Discarded, 5, FailureKind::Panic));
    assert_eq!(failure.message, "the task panicked: it panicked on purpose");
    assert_eq!(job.crashes, 0, "a panic is no crash");
    let job = site.job(*snooze).await;
    assert_eq!((job.state, job.attempt), (State::Scheduled, 0));
}

#[tokio::test]
async fn progress_and_cancellation_pass_between_worker_and_child() {
    let site = Site::new().await;
    let handle = site.client.dispatch(Wait::new()).await.unwrap();
    let _worker = site.worker(&[("TASKWRIGHT_LEASE", "3s")], &[]);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while handle.progress().await.unwrap().is_none_or(|progress| progress.note != "halfway") {
        assert!(tokio::time::Instant::now() < deadline, "its progress never came");
    }
    handle.cancel("no longer needed").await.unwrap();
    let id = handle.id();
    within(handle).await.unwrap_err();
    assert_eq!(site.job(id).await.state, State::Cancelled);
}

#[tokio::test]
async fn a_task_dispatches_from_its_own_process() {
    let site = Site::new().await;
    let parent = site.client.dispatch(Parent::new()).await.unwrap();
    site.drain(&[]).await;
    let id = parent.id();
    let child = within(parent).await.unwrap();
    let child = site.job(child).await;
    assert_eq!((child.state, child.spec.parent), (State::Completed, Some(id)));
}

#[tokio::test]
async fn a_child_does_not_outlive_its_worker() {
    let site = Site::new().await;
    let held = site.file("held");
    site.client.dispatch(Hold::new(held.clone())).await.unwrap();
    let mut worker = site.worker(&[], &[]);
    let pid = until("the task runs", || pid_in(&held)).await;
    worker.0.kill().unwrap();
    until("the child has ended", || (!runs(pid)).then_some(())).await;
}

#[tokio::test]
async fn a_job_whose_process_does_not_start_waits_at_no_cost() {
    let site = Site::new().await;
    let id = site.client.dispatch(Pid::new("you")).await.unwrap().id();
    site.drain(&[("BREAK_CHILDREN", "yes")]).await;
    let job = site.job(id).await;
    assert_eq!((job.state, job.attempt, job.crashes), (State::Scheduled, 0, 0));
    assert_eq!(job.history.last().unwrap().ending, Ending::Returned);
}

#[tokio::test]
async fn a_program_that_can_not_be_started_again_refuses_isolated_tasks() {
    let client = Client::new(std::sync::Arc::new(Memory::new()));
    let registry = Registry::new().with::<Pid>().unwrap();
    let mut states = taskwright::context::States::default();
    states.insert(isolated::greeting());
    let error = Worker::new(client, registry, states.into(), WorkerOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("App::isolated"), "{error}");
}
