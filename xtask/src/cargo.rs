//! Running cargo: the program, its surroundings, and its output line by line.

use std::env;
use std::io::{self, BufRead, BufReader, IsTerminal, PipeReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::tally::Tally;

/// How long to read on after a test run has ended: a process that a test left behind may hold its output open.
const LEFT_BEHIND: Duration = Duration::from_secs(5);

/// Cargo, started in the workspace and without input.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace()).stdin(Stdio::null());
    command
}

/// The folder that holds the workspace.
pub(crate) fn workspace() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// Whether nobody watches, so that what is merely skipped elsewhere must be there.
pub(crate) fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false" && value != "0")
}

/// Runs a command and leaves its output as it is.
pub(crate) fn run(mut command: Command) -> Result<ExitStatus> {
    command.status().with_context(|| format!("{} does not start", shown(&command)))
}

/// Runs a test runner, shows what it prints, and counts the tests that it reports.
pub(crate) fn run_counted(mut command: Command) -> Result<(ExitStatus, Tally)> {
    let (reader, writer) = io::pipe()?;
    if io::stdout().is_terminal() && env::var_os("CARGO_TERM_COLOR").is_none() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    // Both streams go into one pipe, so that their lines keep their order.
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("{} does not start", shown(&command)))?;
    // It holds the pipe's other end, which must close when the runner does.
    drop(command);

    let lines = lines_of(reader);
    let mut tally = Tally::default();
    let mut show = |line: Vec<u8>| {
        tally.read(&String::from_utf8_lossy(&line));
        io::stdout().write_all(&line)
    };
    let status = loop {
        match lines.recv_timeout(LEFT_BEHIND) {
            Ok(line) => show(line)?,
            Err(mpsc::RecvTimeoutError::Disconnected) => break child.wait()?,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if let Some(status) = child.try_wait()? {
                    break status;
                }
            }
        }
    };
    Ok((status, tally))
}

/// The lines that come out of a pipe, each with its end, read beside the caller.
fn lines_of(pipe: PipeReader) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        loop {
            let mut line = Vec::new();
            match pipe.read_until(b'\n', &mut line) {
                Ok(read) if read > 0 && sender.send(line).is_ok() => {}
                _ => break,
            }
        }
    });
    receiver
}

fn shown(command: &Command) -> String {
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    let words: Vec<_> = std::iter::once("cargo".to_owned()).chain(arguments).collect();
    format!("`{}`", words.join(" "))
}
