//! The generated program: a whole command line, `worker` among its commands.
//!
//! [`main`] is what `#[taskwright::main]` calls; [`run`] is the same with its streams, environment and folder given,
//! so that a test needs no process.
//!
//! One run goes: read the command line, load the [settings](crate::settings), set up logs, start the runtime, let the
//! application wire its [`App`], then do what was asked.

use std::ffi::OsString;
use std::future::Future;
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

pub use clap;
use futures_util::future::LocalBoxFuture;
use tokio::runtime::Runtime;

use crate::app::App;
use crate::private::Program;
use crate::settings::{Settings, Sources};

mod added;
mod args;
mod arguments;
mod bench;
mod config;
mod desk;
mod dispatch;
mod doctor;
mod health;
mod jobs;
mod limits;
mod logs;
mod migrate;
mod output;
mod queues;
mod signals;
mod table;
mod tasks;
mod trouble;
mod worker;
mod workers;

pub(crate) use added::AddedCommand;
use args::{Arguments, Asked, Command};
use desk::Desk;
use output::Output;
use trouble::{Exit, Trouble};

/// What one run of the program is given from outside.
pub struct Invocation<'a> {
    /// The command line, the program's name first.
    pub args: Vec<OsString>,
    /// The environment.
    pub environment: Vec<(String, String)>,
    /// Where settings files are looked for.
    pub directory: PathBuf,
    /// What `-` reads.
    pub stdin: &'a mut dyn Read,
    /// Where answers go.
    pub stdout: &'a mut dyn Write,
    /// Where errors and notes go. Logs go to the process's own standard error.
    pub stderr: &'a mut dyn Write,
    /// Whether a person watches.
    pub terminal: bool,
}

/// Runs the generated program with the application's wiring.
pub fn main<F, R, E>(program: Program, wiring: F) -> ExitCode
where
    F: FnOnce(App) -> R,
    R: Future<Output = Result<App, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // First of all: in a child, standard input is the line to its worker.
    #[cfg(unix)]
    crate::worker::isolation::summoned();
    logs::log_panics();
    let terminal = io::stdout().is_terminal() && io::stderr().is_terminal();
    let invocation = Invocation {
        args: std::env::args_os().collect(),
        // A variable that is not Unicode is not ours, or is refused by its setting.
        environment: std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect(),
        directory: PathBuf::new(),
        stdin: &mut io::stdin(),
        // Not locked: a task that prints would wait for the lock as long as its worker runs.
        stdout: &mut io::stdout(),
        stderr: &mut io::stderr(),
        terminal,
    };
    ExitCode::from(run(program, invocation, wiring))
}

/// Runs the generated program once and answers its exit code.
pub fn run<F, R, E>(program: Program, invocation: Invocation<'_>, wiring: F) -> u8
where
    F: FnOnce(App) -> R,
    R: Future<Output = Result<App, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let wiring = |app| -> LocalBoxFuture<'_, Result<App, BoxError>> {
        let wired = wiring(app);
        Box::pin(async { wired.await.map_err(Into::into) })
    };
    run_wired(program, invocation, Box::new(wiring))
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Wiring<'w> = Box<dyn FnOnce(App) -> LocalBoxFuture<'w, Result<App, BoxError>> + 'w>;

/// The same without type parameters.
fn run_wired(program: Program, invocation: Invocation<'_>, wiring: Wiring<'_>) -> u8 {
    let Invocation { args, environment, directory, stdin, stdout, stderr, terminal } = invocation;
    let json = args.iter().any(|arg| arg == "--json");
    let mut output = Output { stdin, stdout, stderr, json, terminal };
    let sources = Sources { directory, environment, ..Sources::default() };
    let exit = match start(program, &args, sources, output.lend(), wiring) {
        Ok(exit) => exit,
        Err(trouble) => {
            if trouble.exit != Exit::Ok {
                // Nobody is left to tell when standard error can't be written to.
                let _: io::Result<()> = trouble.print(output.stderr, json);
            }
            trouble.exit
        }
    };
    exit as u8
}

fn start(
    program: Program,
    args: &[OsString],
    mut sources: Sources,
    mut output: Output<'_>,
    wiring: Wiring<'_>,
) -> Result<Exit, Trouble> {
    let arguments = match Arguments::parse(program, args) {
        Ok(arguments) => arguments,
        Err(told) if args::concerns_added_commands(&told, args) => {
            let added = added_commands(&sources, &mut output, wiring);
            return tell(args::parse_with(program, added, args), &mut output);
        }
        Err(told) => return tell(Err(told), &mut output),
    };
    sources.file.clone_from(&arguments.global.config);
    sources.flags = arguments.flags()?;
    if let Asked::Own(Command::Completions { shell }) = arguments.command {
        let mut command = args::command(program, added_commands(&sources, &mut output, wiring));
        // Into memory first: the generator panics where a reader went away.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, program.name, &mut script);
        output.stdout.write_all(&script)?;
        return Ok(Exit::Ok);
    }
    let settings = sources.load()?;
    logs::install(&settings, arguments.is_quiet())?;
    let runtime = runtime(&settings)?;
    let exit = runtime.block_on(async {
        let app = wiring(settings.app())
            .await
            .map_err(|error| Trouble::foreign("the program's own wiring failed", &*error))?;
        let app = app.isolated().await?;
        let mut settings = settings;
        let (urls, options) = app.decided();
        settings.adopt(urls, options);
        let mut desk = Desk::new(settings, app, output)?;
        let exit = follow(program, args, arguments.command, &mut desk).await;
        desk.close().await;
        exit
    });
    // A blocking task that is stuck must not keep the process.
    runtime.shutdown_background();
    exit
}

/// Does what was asked.
async fn follow(program: Program, args: &[OsString], asked: Asked, desk: &mut Desk<'_>) -> Result<Exit, Trouble> {
    let Asked::Own(command) = asked else { return added(program, args, desk).await };
    match command {
        Command::Worker(asked) => worker::run(desk, asked.drain).await,
        Command::Dispatch(asked) => dispatch::run(desk, asked).await,
        Command::Tasks(asked) => tasks::run(desk, asked.name.as_deref()),
        Command::Queues(asked) => queues::run(desk, asked).await,
        Command::Limits(asked) => limits::run(desk, asked).await,
        Command::Jobs(asked) => jobs::run(desk, asked).await,
        Command::Workers => workers::run(desk).await,
        Command::Migrate(arguments) => migrate::run(desk, arguments.action).await,
        Command::Doctor => doctor::run(desk).await,
        Command::Bench(asked) => bench::run(desk, asked).await,
        Command::Config => config::run(desk),
        // They were printed before the program was wired.
        Command::Completions { .. } => Ok(Exit::Ok),
    }
}

/// Runs a command that the application added, or says that there is none of this name.
async fn added(program: Program, args: &[OsString], desk: &mut Desk<'_>) -> Result<Exit, Trouble> {
    let commands = desk.app.take_commands();
    let matches = match args::parse_with(program, commands.iter().map(AddedCommand::clap), args) {
        Ok(matches) => matches,
        Err(told) => return tell(Err(told), &mut desk.output),
    };
    let asked = matches.subcommand();
    let found = asked.and_then(|(name, matches)| {
        let command = commands.into_iter().find(|command| command.name() == name)?;
        Some((command, matches.clone()))
    });
    match found {
        Some((command, matches)) => command.run(desk.client().await?, matches).await,
        None => Err(Trouble::usage("there is no such command").help("see --help")),
    }
}

/// The commands that the application adds, for help and completions, which work also where nothing else does.
fn added_commands(sources: &Sources, output: &mut Output<'_>, wiring: Wiring<'_>) -> Vec<clap::Command> {
    let settings = sources.load().unwrap_or_default();
    let wired = runtime(&settings).map(|runtime| {
        let wired = runtime.block_on(async { tokio::time::timeout(HELP_PATIENCE, wiring(settings.app())).await });
        runtime.shutdown_background();
        wired
    });
    let Ok(Ok(Ok(mut app))) = wired else {
        output.note("note: commands that the program adds are missing here, since its own wiring failed");
        return Vec::new();
    };
    app.take_commands().iter().map(AddedCommand::clap).collect()
}

/// How long help waits for the application's wiring.
const HELP_PATIENCE: Duration = Duration::from_secs(2);

/// Prints help, a version, or what is wrong with the command line.
fn tell(parsed: Result<clap::ArgMatches, clap::Error>, output: &mut Output<'_>) -> Result<Exit, Trouble> {
    let Err(told) = parsed else { return Ok(Exit::Ok) };
    if output.json && told.use_stderr() {
        return Err(Trouble::usage(told.to_string().trim_end().trim_start_matches("error: ")));
    }
    let text = told.render();
    let text = if output.terminal { text.ansi().to_string() } else { text.to_string() };
    if told.use_stderr() {
        output.note(text.trim_end());
        return Ok(if told.exit_code() == 0 { Exit::Ok } else { Exit::Usage });
    }
    output.line(text.trim_end())?;
    Ok(Exit::Ok)
}

fn runtime(settings: &Settings) -> Result<Runtime, Trouble> {
    // Twice the pool, since a stuck thread is replaced; and never less than Tokio itself would allow.
    let threads = settings.worker.blocking_threads.saturating_mul(2).max(512);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(threads)
        .build()
        .map_err(|error| Trouble::new(Exit::Failed, format!("the async runtime can't start: {error}")))
}
