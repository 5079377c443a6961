//! The program as a process of its own, on an SQLite file: streams, signals, the health endpoint, logs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::assert_has;

/// Far longer than anything here takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_mins(1);

fn fixture(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fixture"));
    let foreign = std::env::vars_os().map(|(name, _)| name);
    for name in foreign.filter(|name| name.to_string_lossy().starts_with("TASKWRIGHT_")) {
        command.env_remove(name);
    }
    command.current_dir(directory).args(args).stdin(Stdio::null());
    command
}

#[track_caller]
fn run(directory: &Path, args: &[&str]) -> Output {
    fixture(directory, args).output().unwrap()
}

#[track_caller]
fn ok(directory: &Path, args: &[&str]) -> String {
    let output = run(directory, args);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(directory: &Path, args: &[&str], exit: i32) -> String {
    let output = run(directory, args);
    assert_eq!((output.status.code(), &*output.stdout), (Some(exit), &b""[..]), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[track_caller]
fn json_of(directory: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&ok(directory, &[args, &["--json"]].concat())).unwrap()
}

/// Asks until the answer is what it should become.
#[track_caller]
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::yield_now();
    }
}

/// A process in the background; killed when a test fails before it has ended.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        // It has usually ended, which is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A worker in the background.
struct Running {
    child: Background,
    logs: BufReader<ChildStderr>,
    /// Where its health endpoint listens.
    health: String,
}

impl Running {
    fn start(directory: &Path, args: &[&str]) -> Self {
        let fixed = ["worker", "--health-addr", "127.0.0.1:0", "--log-format", "json"];
        let mut command = fixture(directory, &[&fixed, args].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut logs = BufReader::new(child.stderr.take().unwrap());
        let health = loop {
            let line = read_log(&mut logs).expect("the worker says where it listens");
            if line["message"] == "the health endpoint listens" {
                break line["address"].as_str().unwrap().to_owned();
            }
        };
        Self { child: Background(child), logs, health }
    }

    /// The status and the report of an endpoint; `None` when nobody answers.
    fn ask(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.health).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.health).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// The rest of the logs and the exit code.
    fn end(mut self) -> (Option<i32>, Vec<Value>) {
        let mut lines = Vec::new();
        while let Some(line) = read_log(&mut self.logs) {
            lines.push(line);
        }
        (self.child.0.wait().unwrap().code(), lines)
    }
}

/// The next line of logs in JSON; anything else there is a failure.
#[track_caller]
fn read_log(logs: &mut impl BufRead) -> Option<Value> {
    let mut line = String::new();
    logs.read_line(&mut line).unwrap();
    (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
}

#[test]
fn jobs_live_in_a_file_between_one_run_of_the_program_and_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let id = ok(directory, &["dispatch", "fixture.add", r#"{"left":40,"right":2}"#]);
    assert!(directory.join("taskwright.db").exists());
    assert_eq!(json_of(directory, &["queues"])["queues"][0]["available"], 1);
    let summary = json_of(directory, &["worker", "--drain"]);
    assert_eq!(summary["completed"], 1, "{summary}");
    let job = &json_of(directory, &["jobs", "show", id.trim(), "--payload"])["jobs"][0];
    assert_eq!((&job["state"], &job["result"]), (&json!("completed"), &json!(42)));
    let schema = &json_of(directory, &["migrate", "status"])["schema"];
    assert_eq!(schema["version"], schema["known"]);
    let version = schema["version"].as_i64().unwrap();
    let shown = format!("ok    schema       version {version}");
    assert_has(
        &ok(directory, &["doctor"]),
        &["ok    durability", &shown, "ok    backend      sqlite at taskwright.db"],
    );
    let up_to_date = format!("sqlite at taskwright.db is up to date at schema version {version}");
    assert_has(&ok(directory, &["migrate"]), &[&up_to_date]);
    assert_has(&ok(directory, &["migrate", "up"]), &[&up_to_date]);
    assert_has(&ok(directory, &["location"]), &["sqlite at taskwright.db"]);
}

#[test]
fn tasks_may_print() {
    let directory = tempfile::tempdir().unwrap();
    ok(directory.path(), &["dispatch", "fixture.greet", r#"{"name":"ada"}"#]);
    assert_eq!(ok(directory.path(), &["worker", "--drain"]), "greeting ada\n");
}

#[test]
fn a_signal_stops_gracefully_and_a_second_one_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let id = ok(directory, &["dispatch", "fixture.wait"]);
    let worker = Running::start(directory, &["--grace", "1h", "--log-level", "info"]);
    until("ready", || worker.ask("/readyz").filter(|(status, _)| *status == 200));
    until("the job runs", || {
        let workers = json_of(directory, &["workers"]);
        (workers["workers"][0]["running"] == 1).then_some(())
    });
    let (status, report) = worker.ask("/healthz").unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((status, &report["live"], &report["claimed"]), (200, &json!(true), &json!(1)));
    assert_eq!(worker.ask("/elsewhere").unwrap().0, 404);

    worker.signal("-TERM");
    until("no longer ready", || worker.ask("/readyz").filter(|(status, _)| *status == 503));
    assert_eq!(worker.ask("/healthz").unwrap().0, 200);
    worker.signal("-INT");
    let (exit, logs) = worker.end();
    assert_eq!(exit, Some(0), "{logs:?}");
    let stopping = logs.iter().filter(|line| line["message"].as_str().unwrap_or_default().starts_with("stopping"));
    assert_eq!(stopping.map(|line| line["signal"].as_str().unwrap()).collect::<Vec<_>>(), ["SIGTERM", "SIGINT"]);
    let job = &json_of(directory, &["jobs", "show", id.trim()])["jobs"][0];
    assert_eq!((&job["state"], &job["attempt"]), (&json!("available"), &json!(0)), "{job}");
    assert_eq!(json_of(directory, &["workers"])["workers"], json!([]));
}

#[test]
fn a_measurement_that_is_told_to_stop_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    ok(directory, &["dispatch", "fixture.add", r#"{"left": 1, "right": 2}"#]);
    let queues = || json_of(directory, &["queues"]);
    let before = queues();
    let mut command = fixture(directory, &["bench", "--jobs", "1000000"]);
    let mut bench = Background(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    until("it has jobs", || (queues() != before).then_some(()));
    let told = Command::new("kill").args(["-TERM", &bench.0.id().to_string()]).status().unwrap();
    assert!(told.success());
    let status = until("it ends", || bench.0.try_wait().unwrap());
    let (mut answer, mut trouble) = (String::new(), String::new());
    bench.0.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    bench.0.stderr.take().unwrap().read_to_string(&mut trouble).unwrap();
    assert_eq!((status.code(), &*answer), (Some(1), ""), "{trouble}");
    assert_has(&trouble, &["SIGTERM stopped it before everything was measured"]);
    assert_eq!(queues(), before);
    assert_eq!(json_of(directory, &["workers"])["workers"], json!([]));
}

#[test]
fn logs_name_the_job_and_not_its_arguments_unless_asked() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    for (show, level) in [(false, "trace"), (true, "info"), (false, "error")] {
        let id = ok(directory, &["dispatch", "fixture.fail", r#"{"to":"ada"}"#]);
        ok(directory, &["dispatch", "fixture.add", r#"{"left":987654321,"right":0}"#]);
        let mut args = vec!["worker", "--drain", "--queues", "mail,default"];
        args.extend(["--log-format", "json", "--log-level", level]);
        args.extend(show.then_some("--show-arguments"));
        let output = run(directory, &args);
        let logs = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<Value> = logs.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let failed = lines.iter().find(|line| line["level"] == "ERROR").unwrap();
        assert_eq!(failed["span"]["job.id"], id.trim(), "{failed}");
        assert_eq!(failed["span"]["job.task"], "fixture.fail");
        let shown = lines.iter().any(|line| line["job.arguments"].as_str() == Some(r#"{"left":987654321,"right":0}"#));
        assert_eq!((shown, logs.contains("987654321")), (show, show), "{logs}");
    }
}

#[test]
fn a_panic_is_a_line_in_the_logs_and_an_end_of_its_job() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let id = ok(directory, &["dispatch", "fixture.panic"]);
    let output = run(directory, &["worker", "--drain", "--log-format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let logs = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<Value> = logs.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let panic = lines.iter().find(|line| line["message"] == "a thread panicked").unwrap();
    assert_eq!(panic["panic.message"], "this task always panics");
    assert_has(panic["panic.location"].as_str().unwrap(), &["fixture.rs:"]);
    assert_has(&ok(directory, &["jobs", "show", id.trim()]), &["discarded", "this task always panics"]);
}

#[test]
fn a_store_that_cannot_be_opened_is_told_without_a_panic() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let told = refused(directory, &["queues", "--url", "sqlite:no/such/folder/jobs.db"], 2);
    assert_has(&told, &["error: ", "no/such/folder"]);
    std::fs::write(directory.join("letter.db"), "Dear Ada, this is a letter and not a database. ".repeat(40)).unwrap();
    for command in ["queues", "worker", "workers"] {
        let told = refused(directory, &[command, "--url", "sqlite:letter.db"], 1);
        assert_has(&told, &["error: ", "letter.db", "help: "]);
        assert!(!told.contains("panicked") && !told.contains("backtrace"), "{told}");
    }
    let doctor = run(directory, &["doctor", "--url", "sqlite:letter.db"]);
    assert_eq!(doctor.status.code(), Some(1));
    assert_has(&String::from_utf8(doctor.stdout).unwrap(), &["FAIL  backend"]);
}

#[test]
fn whoever_stops_reading_ends_the_program_in_silence() {
    let directory = tempfile::tempdir().unwrap();
    let mut child =
        fixture(directory.path(), &["tasks"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{output:?}");
}

#[test]
fn without_a_command_it_is_a_worker() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut child = fixture(directory, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("a worker is alive", || {
        let workers = json_of(directory, &["workers"]);
        (workers["workers"].as_array().unwrap().len() == 1).then_some(())
    });
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
