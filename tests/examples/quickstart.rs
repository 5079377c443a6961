//! The quickstart on small folders: every kind of file, and a kill in the middle.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use taskwright::backend::JobFilter;
use taskwright::job::Job;
use taskwright::{Client, State};
use taskwright_tests::servers::{Kind, Server};
use tempfile::TempDir;

use crate::programs::{example, printed, run};

/// A folder to sum up, and beside it the queue.
struct Setup(TempDir);

fn setup() -> Setup {
    let setup = Setup(tempfile::tempdir().unwrap());
    fs::create_dir(setup.folder()).unwrap();
    setup
}

impl Setup {
    fn folder(&self) -> PathBuf {
        self.0.path().join("folder")
    }

    fn file(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.folder().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn files(&self, count: usize) {
        for number in 0..count {
            self.file(format!("{}/{number}.txt", number % 7), format!("{number}\n").repeat(number));
        }
    }

    /// The quickstart on the folder, with its queue in the file `queue`.
    fn quickstart(&self, queue: &str) -> Command {
        let mut command = example("quickstart");
        command.current_dir(self.0.path()).arg(self.folder()).args(["--db", queue]);
        command
    }

    fn run(&self, queue: &str) -> Printed {
        Printed(printed(&mut self.quickstart(queue)))
    }

    /// Runs twice on the queue of these settings, where so many of three files are done already the second time.
    fn moves_to(&self, settings: &[(&str, &str)], kept: usize) {
        let run = || {
            let mut quickstart = example("quickstart");
            quickstart.current_dir(self.0.path()).arg(self.folder()).envs(settings.iter().copied());
            Printed(printed(&mut quickstart))
        };
        assert_eq!(run().number("files summed up"), 3, "{settings:?}");
        assert_eq!(run().number("done already"), kept, "{settings:?}");
        assert!(!self.0.path().join("target/quickstart.db").exists());
    }

    /// All jobs of a queue in these states.
    async fn jobs(&self, queue: &str, states: Vec<State>) -> Vec<Job> {
        let client = Client::connect(&format!("sqlite:{}", self.0.path().join(queue).display())).await.unwrap();
        let filter = JobFilter { states, ..JobFilter::default() };
        let jobs = client.backend().inspect().unwrap().list(&filter, None, 10_000).await.unwrap();
        client.close().await.unwrap();
        jobs
    }

    /// A run that takes long enough to be disturbed, once some files are done.
    async fn run_until_some_are_done(&self, some: usize) -> Child {
        let mut quickstart = self.quickstart("queue.db");
        quickstart.args(["--jobs", "4"]).env("QUICKSTART_PAUSE_MS", "100");
        let mut child = quickstart.stdout(Stdio::piped()).spawn().unwrap();
        while self.jobs("queue.db", vec![State::Completed]).await.len() < some {
            assert!(child.try_wait().unwrap().is_none(), "the run has ended before {some} files were done");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        child
    }
}

/// What the quickstart printed.
#[derive(Debug)]
struct Printed(String);

impl Printed {
    /// The words of the line that ends so, columns set apart by single spaces.
    fn line(&self, end: &str) -> String {
        let found = self.0.lines().find(|line| line.ends_with(end));
        let line = found.unwrap_or_else(|| panic!("no line ends with `{end}`:\n{}", self.0));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// How many are said to be so: the number before these words, or 0 when nobody says them.
    fn number(&self, words: &str) -> usize {
        let phrases = self.0.lines().flat_map(|line| line.split(", ")).map(str::trim);
        let mut numbered = phrases.filter_map(|phrase| phrase.split_once(' '));
        let found = numbered.find(|(_, said)| said.starts_with(words));
        found.map_or(0, |(number, _)| number.replace(',', "").parse().unwrap())
    }
}

#[test]
fn every_file_is_summed_up() {
    let setup = setup();
    setup.file("two lines.txt", "one\ntwo\n");
    setup.file("deeper/and deeper/no end of line", "one");
    setup.file("empty", "");
    setup.file("large", vec![b'\n'; 3_000_000]);
    let printed = setup.run("queue.db");
    assert_eq!(printed.line("  two lines.txt"), "8 2 c3f9c8c283a2b1f2 two lines.txt");
    assert_eq!(
        printed.line("  deeper/and deeper/no end of line"),
        "3 0 7692c3ad3540bb80 deeper/and deeper/no end of line"
    );
    assert_eq!(printed.line("  empty"), "0 0 e3b0c44298fc1c14 empty");
    assert!(printed.line("  large").starts_with("3,000,000 3,000,000 "));
    assert!(printed.line("  all 4 files").starts_with("3,000,011 3,000,002 "));
    assert!(!printed.0.contains("carrying on"), "{}", printed.0);
}

#[test]
fn an_empty_folder_is_no_mistake() {
    let printed = setup().run("queue.db");
    assert!(printed.line("all 0 files").starts_with("0 0 "), "{}", printed.0);
}

#[test]
fn links_and_the_products_of_git_and_cargo_and_the_queue_itself_are_left_out() {
    let setup = setup();
    setup.file("file", "content");
    setup.file(".git/config", "git's");
    setup.file("crate/target/debug/program", "cargo's");
    symlink(setup.folder(), setup.folder().join("round and round")).unwrap();
    symlink("file", setup.folder().join("link")).unwrap();
    symlink("nowhere", setup.folder().join("dangling")).unwrap();
    for run in ["first", "second"] {
        let printed = setup.run("folder/queue.db");
        assert!(printed.line("all 1 file").starts_with("7 0 "), "{run}: {}", printed.0);
    }
}

#[test]
fn names_need_not_be_text() {
    let setup = setup();
    setup.file(OsStr::from_bytes(b"not \xff utf-8"), "a");
    setup.file("escape \u{1b}[31m", "bc");
    let printed = setup.run("queue.db");
    assert!(printed.line("not \u{fffd} utf-8").starts_with("1 0 "));
    assert!(printed.line("escape ?[31m").starts_with("2 0 "));
}

#[tokio::test]
async fn files_that_vanish_are_rows_and_tried_again_when_they_are_back() {
    let setup = setup();
    setup.files(200);
    let child = setup.run_until_some_are_done(1).await;
    let elsewhere = setup.0.path().join("elsewhere");
    fs::rename(setup.folder(), &elsewhere).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let broken = Printed(String::from_utf8(output.stdout).unwrap());
    let failed = broken.0.matches("No such file or directory").count();
    assert!(failed > 0, "{}", broken.0);
    assert_eq!(broken.number("files summed up"), 200 - failed);

    fs::rename(&elsewhere, setup.folder()).unwrap();
    let whole = setup.run("queue.db");
    assert_eq!(whole.number("failed: to be tried again"), failed);
    assert_eq!(whole.line("all 200 files"), setup.run("other.db").line("all 200 files"));
}

#[test]
fn what_is_done_is_not_done_again_until_it_changes() {
    let setup = setup();
    setup.files(20);
    let first = setup.run("queue.db");
    let second = setup.run("queue.db");
    assert_eq!(second.number("files summed up"), 0);
    assert_eq!(second.number("done already"), 20);
    assert_eq!(second.line("all 20 files"), first.line("all 20 files"));

    setup.file("3/3.txt", "other");
    let third = setup.run("queue.db");
    assert_eq!(third.number("file summed up"), 1);
    assert_ne!(third.line("all 20 files"), first.line("all 20 files"));
}

#[tokio::test]
async fn a_killed_run_is_carried_on_and_no_file_is_lost() {
    let setup = setup();
    setup.files(300);
    let mut child = setup.run_until_some_are_done(20).await;
    child.kill().unwrap();
    child.wait().unwrap();

    let carried_on = setup.run("queue.db");
    let done = carried_on.number("done already");
    let rescued = carried_on.number("rescued");
    assert!((20..300).contains(&done), "{}", carried_on.0);
    assert_eq!(carried_on.number("files summed up"), 300 - done);
    assert_eq!(carried_on.line("all 300 files"), setup.run("other.db").line("all 300 files"));

    let jobs = setup.jobs("queue.db", Vec::new()).await;
    assert_eq!(jobs.len(), 300);
    assert!(jobs.iter().all(|job| job.state == State::Completed));
    let twice = jobs.iter().filter(|job| job.attempt > 1).count();
    assert_eq!(twice, rescued, "only what was in hand was begun again");
}

#[test]
fn a_folder_that_is_none_is_refused_in_words() {
    let setup = setup();
    for (name, said) in [("nowhere", "can't open nowhere: No such file"), ("file", "file is not a folder; name one")] {
        fs::write(setup.0.path().join("file"), "").unwrap();
        let output = run(example("quickstart").current_dir(setup.0.path()).arg(name));
        let errors = String::from_utf8(output.stderr).unwrap().replace("\n\nCaused by:\n    ", ": ");
        assert!(errors.contains(said) && !output.status.success(), "{errors}");
    }
}

#[test]
fn the_url_alone_moves_the_queue() {
    let setup = setup();
    setup.files(3);
    let servers = [Kind::MySql, Kind::Postgres, Kind::Redis].into_iter().filter_map(Server::shared);
    let urls = servers.map(|server| (server.url(), 3)).chain([("memory:", 0)]);
    for (url, kept) in urls {
        setup.moves_to(&[("TASKWRIGHT_URL", url)], kept);
    }
}

#[test]
fn two_urls_move_the_queue_to_a_broker_and_its_record() {
    let Some(broker) = Server::shared(Kind::RabbitMq) else { return };
    let setup = setup();
    setup.files(3);
    let record = format!("sqlite:{}", setup.0.path().join("record.db").display());
    setup.moves_to(&[("TASKWRIGHT_URL", broker.url()), ("TASKWRIGHT_STORE_URL", &record)], 3);
}
