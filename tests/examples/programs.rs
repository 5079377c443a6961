//! Where the examples' programs are; builds them when they are missing or older than what they are made of.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::time::SystemTime;
use std::{env, fs, io};

/// The program of one example, ready to be run without the surroundings of whoever runs the tests.
pub(crate) fn example(name: &str) -> Command {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(fresh_programs);
    let mut command = Command::new(FOLDER.join(name).with_extension(env::consts::EXE_EXTENSION));
    for (variable, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TASKWRIGHT_")) {
        command.env_remove(variable);
    }
    command
}

/// What a program printed, once it has ended well.
pub(crate) fn printed(command: &mut Command) -> String {
    let output = run(command);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

/// The names of all examples, by their files.
pub(crate) fn all() -> Vec<String> {
    let sources = fs::read_dir(workspace().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let examples = sources.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let names = examples.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    let mut names: Vec<_> = names.filter(|name| name != "lib").collect();
    names.sort();
    names
}

pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The folder of the examples' programs, beside that of this test: `target/debug/examples`.
fn fresh_programs() -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let folder = profile.join("examples");
    let built = all().iter().map(|name| modified(&folder.join(name).with_extension(env::consts::EXE_EXTENSION))).min();
    let changed = ["examples", "macros/src", "runtime/src"].map(|sources| newest(&workspace().join(sources)).unwrap());
    if built.flatten() < changed.into_iter().max() {
        build(profile);
    }
    folder
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

/// When something in a folder was last written.
fn newest(folder: &Path) -> io::Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let time = if path.is_dir() { self::newest(&path)? } else { fs::metadata(&path)?.modified()? };
        newest = newest.max(time);
    }
    Ok(newest)
}

fn build(profile: &Path) {
    let name = match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace()).args(["build", "--package", "taskwright-examples", "--examples", "--profile", name]);
    cargo.arg("--target-dir").arg(profile.parent().unwrap());
    printed(&mut cargo);
}
