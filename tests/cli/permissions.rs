//! An SQLite file that this program's user may not write: a clear refusal, and the file as it was.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

use crate::assert_has;

const DISPATCH: &[&str] = &["dispatch", "fixture.add", r#"{"left":40,"right":2}"#];

/// A folder for a database, and a program that a user without rights may run.
struct Folder {
    outer: TempDir,
}

impl Folder {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        fs::copy(env!("CARGO_BIN_EXE_fixture"), outer.path().join("fixture")).unwrap();
        fs::create_dir(outer.path().join("data")).unwrap();
        allow(outer.path(), 0o755);
        Self { outer }
    }

    /// As [`Folder::new`], with a database in which one job waits.
    fn filled() -> Self {
        let folder = Self::new();
        let output = folder.command(DISPATCH).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        folder
    }

    fn data(&self) -> PathBuf {
        self.outer.path().join("data")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.outer.path().join("fixture"));
        let url = format!("sqlite:{}", self.data().join("jobs.db").display());
        command.env_clear().current_dir("/").args(["--url", &url]).args(args);
        command
    }

    /// What the program says to a user for whom the permissions hold: another than root, whom nothing stops.
    #[track_caller]
    fn refused(&self, args: &[&str]) -> String {
        let mut command = self.command(args);
        if self.outer.path().metadata().unwrap().uid() == 0 {
            const NOBODY: u32 = 65_534;
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(4), &b""[..]), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Permissions of the file, and of the folder around it, where SQLite wants to put its log.
const TOO_FEW: &[(u32, u32)] = &[(0o444, 0o555), (0o666, 0o555), (0o444, 0o777), (0o000, 0o555), (0o000, 0o777)];

fn refuses_everything(folder: &Folder) {
    let file = folder.data().join("jobs.db");
    let before = fs::read(&file).unwrap();
    for (mode, around) in TOO_FEW {
        allow(&file, *mode);
        allow(&folder.data(), *around);
        for args in [DISPATCH, &["worker", "--drain"], &["queues"], &["migrate"]] {
            let told = folder.refused(args);
            assert_has(&told, &["error: the database", file.to_str().unwrap(), "; check"]);
            assert!(told.contains("read-only to this program") || told.contains("can't be opened"), "{told}");
        }
        allow(&folder.data(), 0o755);
        allow(&file, 0o644);
        assert!(fs::read(&file).unwrap() == before, "{mode:o} in {around:o}: the file is not as it was");
    }
    let shown = folder.command(&["queues", "--json"]).output().unwrap();
    assert_has(&String::from_utf8(shown.stdout).unwrap(), &[r#""available":1"#]);
}

#[test]
fn a_file_that_may_not_be_written_is_refused_and_left_alone() {
    refuses_everything(&Folder::filled());
}

/// Then SQLite's log is there already, and a file that may only be read can be opened and even locked.
#[tokio::test]
async fn a_file_that_others_write_and_this_user_may_not_is_refused_and_left_alone() {
    let folder = Folder::filled();
    let options = SqliteConnectOptions::new().filename(folder.data().join("jobs.db"));
    let mut other = options.connect().await.unwrap();
    sqlx::query("DELETE FROM taskwright_pauses").execute(&mut other).await.unwrap();
    assert!(folder.data().join("jobs.db-wal").exists());
    refuses_everything(&folder);
    other.close().await.unwrap();
}

#[test]
fn a_folder_that_may_not_be_written_gets_no_file() {
    let folder = Folder::new();
    allow(&folder.data(), 0o555);
    assert_has(&folder.refused(DISPATCH), &["can't be opened", "; check that it and its folder are there"]);
    allow(&folder.data(), 0o755);
    assert_eq!(fs::read_dir(folder.data()).unwrap().count(), 0);
}

#[test]
fn a_program_that_ends_leaves_nothing_beside_its_file() {
    let folder = Folder::filled();
    let names = fs::read_dir(folder.data()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["jobs.db"]);
}
