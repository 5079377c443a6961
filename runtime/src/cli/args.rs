//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use super::trouble::Exit;
use crate::job::{Allowance, JobId, Name, State, check_limit_key};
use crate::private::Program;
use crate::settings::{SETTINGS, Setting};
use crate::time::{Timestamp, parse_duration};

/// The command line as a parser knows it.
#[derive(Debug, Parser)]
#[command(about = "Runs this program's tasks, and looks after their queues", after_help = Exit::HELP)]
struct Grammar {
    #[command(flatten)]
    global: GlobalArguments,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Everything that was asked for.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) global: GlobalArguments,
    pub(crate) command: Asked,
}

/// What to do.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A command of every program; `worker` when none was named.
    Own(Command),
    /// A command that the application adds, or a mistake: only its wiring knows.
    Added,
}

/// What every command understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct GlobalArguments {
    /// Where the jobs are, such as `sqlite:taskwright.db`
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// Settings file to read instead of `taskwright.toml` or `taskwright.yaml`
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Any other setting; `config --help` lists them
    #[arg(long, global = true, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// How logs look: `human`, `json` or `none`
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Which logs are written: `error`, `warn`, `info`, `debug`, `trace`, or directives
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Show and log the values of jobs' arguments, which may be private
    #[arg(long, global = true)]
    show_arguments: bool,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Claim jobs and run them until told to stop
    Worker(WorkerArguments),
    /// Put a task on its queue
    Dispatch(DispatchArguments),
    /// List the tasks that this program can run
    Tasks(TasksArguments),
    /// Look at queues, pause and resume them
    Queues(QueuesArguments),
    /// Look at limits in the whole cluster, set and clear them
    Limits(LimitsArguments),
    /// Look at jobs, retry, cancel and delete them
    Jobs(JobsArguments),
    /// List the workers that are alive
    Workers,
    /// Bring the backend's tables up to date
    Migrate(MigrateArguments),
    /// Check that everything is in order, and say what to do where it is not
    Doctor,
    /// Measure what the backend can do, in a queue of its own that is empty again afterwards
    Bench(BenchArguments),
    /// Show the settings in force and where each came from
    #[command(after_long_help = settings_help())]
    Config,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct WorkerArguments {
    /// Queues to serve, in this order; `default=4` runs at most four of its jobs at once
    #[arg(long, value_name = "NAME[=LIMIT],..")]
    queues: Option<String>,
    /// How many jobs to run at once
    #[arg(long, value_name = "NUMBER")]
    concurrency: Option<String>,
    /// How long to let jobs finish when stopping, such as `25s`
    #[arg(long, value_name = "DURATION")]
    grace: Option<String>,
    /// Where to answer `/healthz` and `/readyz`, such as `127.0.0.1:8080`
    #[arg(long, value_name = "ADDRESS")]
    health_addr: Option<String>,
    /// Stop when the queues are empty
    #[arg(long)]
    pub(crate) drain: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DispatchArguments {
    /// The task's name, as `tasks` lists it
    pub(crate) task: String,
    /// Its parameters as a JSON object, or `-` to read them from standard input
    #[arg(default_value = "{}", value_name = "JSON")]
    pub(crate) parameters: String,
    /// Queue to put it on instead of the task's own
    #[arg(long)]
    pub(crate) queue: Option<Name>,
    /// How long to wait before it may start, such as `10m`
    #[arg(long, value_parser = parse_duration)]
    pub(crate) delay: Option<Duration>,
    /// Higher goes first
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) priority: Option<i16>,
    /// Refuse when an unfinished job has this key
    #[arg(long, value_name = "KEY")]
    pub(crate) unique_key: Option<String>,
    /// Wait until it has ended, and print its result
    #[arg(long)]
    pub(crate) wait: bool,
    /// With --wait: give up waiting after this long; the job goes on
    #[arg(long, value_parser = parse_duration, requires = "wait")]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct TasksArguments {
    /// Only this task, with its documentation
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct QueuesArguments {
    #[command(subcommand)]
    pub(crate) action: Option<QueueAction>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueAction {
    /// Show every queue that holds jobs or is paused
    List,
    /// Hand out no more jobs of a queue
    Pause {
        /// The queue
        queue: Name,
        /// Also when nothing is known of this queue yet
        #[arg(long)]
        force: bool,
    },
    /// Hand out jobs of a queue again
    Resume {
        /// The queue
        queue: Name,
    },
}

#[derive(Debug, Args)]
pub(crate) struct LimitsArguments {
    #[command(subcommand)]
    pub(crate) action: Option<LimitAction>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LimitAction {
    /// Show what is allowed of each key, and how much of it is used
    List {
        /// How many at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        /// Go on after this key of an earlier list
        #[arg(long, value_name = "KEY")]
        after: Option<String>,
    },
    /// Set what is allowed of a key, whatever tasks and configuration say
    Set {
        /// The key; `queue:mail` for all jobs of the queue `mail`
        #[arg(value_parser = limit_key)]
        key: String,
        /// `5` for so many at once, `100/1m` for so many starts in a time, `5+100/1m` for both
        #[arg(value_name = "LIMIT")]
        allowance: Allowance,
    },
    /// Leave a key to what tasks ask for and configuration says
    Clear {
        /// The key
        #[arg(value_parser = limit_key)]
        key: String,
        /// Forget what the configuration of workers has said, too, until one starts that says it again
        #[arg(long)]
        configured: bool,
    },
}

fn limit_key(text: &str) -> Result<String, crate::Error> {
    check_limit_key(text).map(|()| text.to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct JobsArguments {
    #[command(subcommand)]
    pub(crate) action: Option<JobAction>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobAction {
    /// List jobs, newest first
    List {
        #[command(flatten)]
        filter: FilterArguments,
        /// How many at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        /// Go on after this job of an earlier list
        #[arg(long, value_name = "ID")]
        after: Option<JobId>,
    },
    /// Show all that is known of jobs
    Show {
        /// The jobs
        #[arg(required = true, value_name = "ID")]
        ids: Vec<JobId>,
        /// Their arguments and results too, which may be private
        #[arg(long)]
        payload: bool,
    },
    /// Run jobs that have ended again; without --state, dead letters only
    Retry(ChangeArguments),
    /// Call off jobs that have not ended
    Cancel {
        #[command(flatten)]
        change: ChangeArguments,
        /// Why, for the jobs' history
        #[arg(long, default_value = "cancelled by command")]
        reason: String,
    },
    /// Remove jobs that are not running, with all that is kept of them
    Delete(ChangeArguments),
}

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which jobs")]
pub(crate) struct FilterArguments {
    /// In one of these states
    #[arg(long, value_delimiter = ',', value_name = "STATE,..")]
    pub(crate) state: Vec<State>,
    /// In this queue
    #[arg(long)]
    pub(crate) queue: Option<Name>,
    /// Of this task
    #[arg(long)]
    pub(crate) task: Option<Name>,
    /// With this tag
    #[arg(long)]
    pub(crate) tag: Option<String>,
    /// Pushed before this moment, or longer than this ago: `2026-01-02T03:04:05Z` or `2h`
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    pub(crate) before: Option<Timestamp>,
}

impl FilterArguments {
    pub(crate) fn is_empty(&self) -> bool {
        self.state.is_empty()
            && self.queue.is_none()
            && self.task.is_none()
            && self.tag.is_none()
            && self.before.is_none()
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ChangeArguments {
    /// These jobs
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<JobId>,
    #[command(flatten)]
    pub(crate) filter: FilterArguments,
    /// All jobs that it applies to; needed when neither ids nor a filter are given
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    /// How many jobs are dispatched from many callers, in bulk, and drained
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000, value_parser = at_least_one)]
    pub(crate) jobs: usize,
    /// How many jobs are dispatched one after the other, and how often an idle worker is woken
    #[arg(long, value_name = "NUMBER", default_value_t = 500, value_parser = at_least_one)]
    pub(crate) samples: usize,
    /// Also dispatch so many jobs a second for a while, and tell how long they take to start
    #[arg(long, value_name = "NUMBER", value_parser = at_least_one)]
    pub(crate) rate: Option<usize>,
    /// With --rate: how long, such as `1m`
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", value_parser = parse_duration, requires = "rate")]
    pub(crate) time: Duration,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=10_000_000).contains(&number) => Ok(number),
        _ => Err("give a number from 1 to 10000000".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct MigrateArguments {
    #[command(subcommand)]
    pub(crate) action: Option<MigrateAction>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MigrateAction {
    /// Bring them up to date, which connecting does anyway
    Up,
    /// Say what the backend is at; connecting has brought it up to date
    Status,
    /// Print the statements that create the tables, without connecting
    Sql,
}

fn moment(text: &str) -> Result<Timestamp, crate::Error> {
    match parse_duration(text) {
        Ok(ago) => Ok(Timestamp::now().before(ago)),
        Err(_) => text.parse(),
    }
}

fn settings_help() -> String {
    let entry = |setting: &Setting| {
        let default = setting.default_text();
        let default = if default.is_empty() { "nothing" } else { &default };
        let Setting { key, about, takes, .. } = setting;
        let variable = setting.variable();
        format!("  {key} ({variable})\n      {about}\n      Takes {takes}. Default: {default}\n")
    };
    let entries: Vec<_> = SETTINGS.iter().map(entry).collect();
    format!("All settings, with the variable that gives each:\n\n{}", entries.join("\n"))
}

/// The command line of `program`, with the commands that it adds.
pub(crate) fn command(program: Program, added: impl IntoIterator<Item = clap::Command>) -> clap::Command {
    let command = Grammar::command().name(program.name).version(program.version);
    added.into_iter().fold(command, clap::Command::subcommand)
}

/// Parses with the commands that the application adds, and refuses all others.
pub(crate) fn parse_with(
    program: Program,
    added: impl IntoIterator<Item = clap::Command>,
    args: &[OsString],
) -> Result<clap::ArgMatches, clap::Error> {
    command(program, added).try_get_matches_from(args)
}

/// Whether an answer of the parser depends on commands that it did not know.
pub(crate) fn concerns_added_commands(told: &clap::Error, args: &[OsString]) -> bool {
    let known = Grammar::command();
    let names_known = args.iter().skip(1).any(|arg| known.get_subcommands().any(|command| *arg == *command.get_name()));
    match told.kind() {
        ErrorKind::DisplayHelp => !names_known,
        ErrorKind::InvalidSubcommand => true,
        _ => false,
    }
}

/// The command line with the settings that follow an added command before it, where the parser looks for them.
///
/// What stands behind an added command is not understood before the application was asked, and the application is not
/// asked before the settings are known.
fn settings_first(args: &[OsString]) -> Vec<OsString> {
    let known = GlobalArguments::augment_args(clap::Command::new("settings"));
    let takes_value = |word: &str| {
        let name = word.strip_prefix("--")?;
        let argument = known.get_arguments().find(|argument| argument.get_long() == Some(name))?;
        Some(argument.get_action().takes_values())
    };
    let (mut settings, mut rest) = (Vec::new(), Vec::new());
    let mut words = args.iter().skip(1).cloned();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy().into_owned();
        if text == "--" {
            rest.push(word);
            rest.extend(words.by_ref());
        } else if let Some(takes_value) = takes_value(text.split('=').next().unwrap_or(&text)) {
            settings.push(word);
            if takes_value && !text.contains('=') {
                settings.extend(words.next());
            }
        } else {
            rest.push(word);
        }
    }
    args.iter().take(1).cloned().chain(settings).chain(rest).collect()
}

impl Arguments {
    pub(crate) fn parse(program: Program, args: &[OsString]) -> Result<Self, clap::Error> {
        let arguments = Self::parse_own(program, args)?;
        match arguments.command {
            Asked::Own(_) => Ok(arguments),
            Asked::Added => Self::parse_own(program, &settings_first(args)),
        }
    }

    fn parse_own(program: Program, args: &[OsString]) -> Result<Self, clap::Error> {
        let matches = command(program, []).allow_external_subcommands(true).try_get_matches_from(args)?;
        let global = GlobalArguments::from_arg_matches(&matches)?;
        let own = |name| Grammar::command().get_subcommands().any(|command| command.get_name() == name);
        let command = match matches.subcommand_name() {
            None => Asked::Own(Command::Worker(WorkerArguments::default())),
            Some(name) if own(name) => Asked::Own(Command::from_arg_matches(&matches)?),
            Some(_) => Asked::Added,
        };
        Ok(Self { global, command })
    }

    /// The values of flags that are settings: key, value, flag.
    pub(crate) fn flags(&self) -> Result<Vec<(String, String, String)>, crate::Error> {
        let global = &self.global;
        let mut given = vec![
            ("url", global.url.clone(), "--url"),
            ("log.format", global.log_format.clone(), "--log-format"),
            ("log.level", global.log_level.clone(), "--log-level"),
            ("show_arguments", global.show_arguments.then(|| "true".to_owned()), "--show-arguments"),
        ];
        if let Asked::Own(Command::Worker(worker)) = &self.command {
            given.extend([
                ("queues", worker.queues.clone(), "--queues"),
                ("concurrency", worker.concurrency.clone(), "--concurrency"),
                ("grace", worker.grace.clone(), "--grace"),
                ("health_addr", worker.health_addr.clone(), "--health-addr"),
            ]);
        }
        let own = given.into_iter().filter_map(|(key, value, flag)| Some((key.to_owned(), value?, flag.to_owned())));
        let set = global.set.iter().map(|pair| match pair.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned(), "--set".to_owned())),
            None => Err(crate::Error::invalid(format!("`--set {pair}` gives no value; write --set NAME=VALUE"))),
        });
        // The flags of their own come last: they say more plainly what is meant.
        let mut flags = set.collect::<Result<Vec<_>, _>>()?;
        flags.extend(own);
        Ok(flags)
    }

    /// Whether it is one command among others and not a worker, whose logs matter.
    pub(crate) fn is_quiet(&self) -> bool {
        !matches!(self.command, Asked::Own(Command::Worker(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    const PROGRAM: Program = Program { name: "shop", version: "1.2.3" };

    fn parse(args: &[&str]) -> Result<Arguments, clap::Error> {
        let args: Vec<OsString> = std::iter::once("shop").chain(args.iter().copied()).map(Into::into).collect();
        Arguments::parse(PROGRAM, &args)
    }

    #[test]
    fn the_command_line_is_sound() {
        command(PROGRAM, []).debug_assert();
    }

    #[test]
    fn flags_become_settings() {
        let arguments = parse(&["worker", "--queues", "a,b=2", "--set", "lease=10s", "--url", "memory:"]).unwrap();
        let mut settings = Settings::default();
        for (key, value, flag) in arguments.flags().unwrap() {
            settings.set(&key, &value, flag).unwrap();
        }
        assert_eq!(settings.get("queues").unwrap(), "a,b=2");
        assert_eq!(settings.origin("lease"), "--set");
        assert_eq!(settings.url, "memory:");
    }

    #[test]
    fn settings_may_stand_before_and_after_the_command() {
        assert!(parse(&["--json", "queues"]).unwrap().global.json);
        assert!(parse(&["queues", "pause", "mail", "--json"]).unwrap().global.json);
    }

    #[test]
    fn a_negative_priority_is_a_number() {
        let arguments = parse(&["dispatch", "task", "{}", "--priority", "-5"]).unwrap();
        assert!(matches!(
            arguments.command,
            Asked::Own(Command::Dispatch(DispatchArguments { priority: Some(-5), .. }))
        ));
    }

    #[test]
    fn states_are_checked_and_the_choices_named() {
        let error = parse(&["jobs", "list", "--state", "dead"]).unwrap_err().to_string();
        assert!(error.contains("`dead` is not a state") && error.contains("discarded"), "{error}");
    }

    #[test]
    fn every_setting_is_in_the_help_of_config() {
        let error = parse(&["config", "--help"]).unwrap_err().to_string();
        for setting in SETTINGS {
            assert!(error.contains(&setting.variable()), "{}", setting.key);
        }
    }
}
