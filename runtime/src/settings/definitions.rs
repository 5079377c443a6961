//! The list of all settings, each with its words, its check and its place in [`Settings`].

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::Settings;
use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::time::{format_duration, parse_duration};
use crate::worker::{ConfiguredLimit, QueueOptions, WorkerOptions};

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name in files; a dot stands for a table.
    pub key: &'static str,
    /// The command-line flag that gives it, where it has one of its own.
    pub flag: Option<&'static str>,
    /// The values that it takes, in words.
    pub takes: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Its default in words, where it is not the same on every machine.
    pub default: Option<&'static str>,
    /// Whether parts of its value are shown to nobody.
    pub secret: bool,
    pub(super) write: fn(&mut Settings, &str) -> Result<()>,
    pub(super) read: fn(&Settings) -> String,
}

impl Setting {
    /// The environment variable that gives it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("TASKWRIGHT_{}", self.key.replace('.', "_").to_ascii_uppercase())
    }

    /// Its default, as text.
    #[must_use]
    pub fn default_text(&self) -> String {
        self.default.map_or_else(|| (self.read)(&Settings::default()), str::to_owned)
    }
}

pub(super) fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// Every setting, in the order in which people look for them.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "url",
        flag: Some("--url"),
        takes: "a backend's URL: `sqlite:path/to/file.db` or `memory:`",
        about: "Where the jobs are.",
        default: None,
        secret: true,
        write: |settings, text| {
            settings.url = url(text)?;
            Ok(())
        },
        read: |settings| settings.url.clone(),
    },
    Setting {
        key: "store_url",
        flag: None,
        takes: "a URL as `url` does, of any backend but RabbitMQ, or nothing",
        about: "Where the record of jobs is that `url`, a RabbitMQ broker, only carries.",
        default: None,
        secret: true,
        write: |settings, text| {
            settings.store_url = if text.is_empty() { None } else { Some(url(text)?) };
            Ok(())
        },
        read: |settings| settings.store_url.clone().unwrap_or_default(),
    },
    Setting {
        key: "results_url",
        flag: None,
        takes: "a URL as `url` does, of any backend but RabbitMQ, or nothing",
        about: "Where results are kept, when that is not where the jobs are.",
        default: None,
        secret: true,
        write: |settings, text| {
            settings.results_url = if text.is_empty() { None } else { Some(url(text)?) };
            Ok(())
        },
        read: |settings| settings.results_url.clone().unwrap_or_default(),
    },
    Setting {
        key: "events_url",
        flag: None,
        takes: "a URL as `url` does, or nothing",
        about: "Through which backend workers and handles hear what happened, when that is not where the jobs are.",
        default: None,
        secret: true,
        write: |settings, text| {
            settings.events_url = if text.is_empty() { None } else { Some(url(text)?) };
            Ok(())
        },
        read: |settings| settings.events_url.clone().unwrap_or_default(),
    },
    Setting {
        key: "queues",
        flag: Some("--queues"),
        takes: "names, separated by commas; `name=4` runs at most four jobs of it at once",
        about: "The queues that a worker serves, in this order.",
        default: None,
        secret: false,
        write: |settings, text| {
            settings.worker.queues = queues(text)?;
            Ok(())
        },
        read: |settings| joined(&settings.worker.queues),
    },
    Setting {
        key: "priority_aging",
        flag: None,
        takes: "a duration from 1s to 1d, or nothing for strict priorities",
        about: "How long a job waits for each level of priority that it lacks, so that high priorities starve nothing.",
        default: None,
        secret: false,
        write: |settings, text| {
            let aging = || duration(text, Duration::from_secs(1)..=DAY);
            settings.worker.priority_aging = if text.is_empty() { None } else { Some(aging()?) };
            Ok(())
        },
        read: |settings| settings.worker.priority_aging.map(format_duration).unwrap_or_default(),
    },
    Setting {
        key: "limits",
        flag: None,
        takes: "limits as `key=5`, `key=100/1m` or `key=5+100/1m`, separated by commas; `queue:mail` is the key of a \
            queue, and `key=none` takes one back",
        about: "How many jobs of a key run at once, or start in a time, in the whole cluster.",
        default: None,
        secret: false,
        write: |settings, text| {
            settings.worker.limits = limits(text)?;
            Ok(())
        },
        read: |settings| joined(&settings.worker.limits),
    },
    Setting {
        key: "concurrency",
        flag: Some("--concurrency"),
        takes: "a number from 1 to 100000",
        about: "How many jobs a worker runs at once.",
        default: Some("8 for each processor"),
        secret: false,
        write: |settings, text| {
            settings.worker.concurrency = number(text, 1..=WorkerOptions::MAX_CONCURRENCY)?;
            Ok(())
        },
        read: |settings| settings.worker.concurrency.to_string(),
    },
    Setting {
        key: "blocking_threads",
        flag: None,
        takes: "a number from 1 to 10000",
        about: "How many plain functions a worker runs at once, each on a thread of its own.",
        default: Some("4 for each processor"),
        secret: false,
        write: |settings, text| {
            settings.worker.blocking_threads = number(text, 1..=10_000)?;
            Ok(())
        },
        read: |settings| settings.worker.blocking_threads.to_string(),
    },
    Setting {
        key: "processes",
        flag: None,
        takes: "a number from 1 to 1000",
        about: "How many tasks with `isolate = \"process\"` a worker runs at once, each in a child process.",
        default: Some("1 for each processor"),
        secret: false,
        write: |settings, text| {
            settings.worker.processes = number(text, 1..=1_000)?;
            Ok(())
        },
        read: |settings| settings.worker.processes.to_string(),
    },
    Setting {
        key: "process_memory",
        flag: None,
        takes: "a size from 64MiB, such as `512MiB` or `2GiB`, or nothing for no limit",
        about: "How much memory a child process may take for its data; a task that asks for more ends with its process.",
        default: None,
        secret: false,
        write: |settings, text| {
            settings.worker.process_memory = if text.is_empty() { None } else { Some(size(text, 64 << 20)?) };
            Ok(())
        },
        read: |settings| settings.worker.process_memory.map(shown_size).unwrap_or_default(),
    },
    Setting {
        key: "process_jobs",
        flag: None,
        takes: "a number from 1 to 1000000",
        about: "After how many jobs a child process is replaced by a fresh one.",
        default: None,
        secret: false,
        write: |settings, text| {
            settings.worker.process_jobs = number(text, 1..=1_000_000)?;
            Ok(())
        },
        read: |settings| settings.worker.process_jobs.to_string(),
    },
    Setting {
        key: "prefetch",
        flag: None,
        takes: "a number from 0 to 100000",
        about: "How many jobs a worker may claim ahead while its tasks are short.",
        default: None,
        secret: false,
        write: |settings, text| {
            settings.worker.prefetch = number(text, 0..=100_000)?;
            Ok(())
        },
        read: |settings| settings.worker.prefetch.to_string(),
    },
    Setting {
        key: "lease",
        flag: None,
        takes: "a duration from 1s to 1d",
        about: "How long after a worker's last sign of life its jobs go to another.",
        default: None,
        secret: false,
        write: |settings, text| {
            settings.worker.lease = duration(text, Duration::from_secs(1)..=DAY)?;
            Ok(())
        },
        read: |settings| format_duration(settings.worker.lease),
    },
    Setting {
        key: "poll",
        flag: None,
        takes: "a duration from 10ms to 1d",
        about: "How long an idle worker waits for a wake-up before it looks by itself.",
        default: None,
        secret: false,
        write: |settings, text| {
            settings.worker.poll = duration(text, Duration::from_millis(10)..=DAY)?;
            Ok(())
        },
        read: |settings| format_duration(settings.worker.poll),
    },
    Setting {
        key: "grace",
        flag: Some("--grace"),
        takes: "a duration from 0s to 1d",
        about: "How long a stopping worker lets its jobs finish before it cancels them.",
        default: None,
        secret: false,
        write: |settings, text| {
            settings.worker.grace = duration(text, Duration::ZERO..=DAY)?;
            Ok(())
        },
        read: |settings| format_duration(settings.worker.grace),
    },
    Setting {
        key: "margin",
        flag: None,
        takes: "a duration from 0s to 1d",
        about: "How long a cancelled job may clean up before it is dropped.",
        default: None,
        secret: false,
        write: |settings, text| {
            settings.worker.margin = duration(text, Duration::ZERO..=DAY)?;
            Ok(())
        },
        read: |settings| format_duration(settings.worker.margin),
    },
    Setting {
        key: "max_crashes",
        flag: None,
        takes: "a number from 1 to 1000",
        about: "How many workers a job may take down before it is discarded as poison.",
        default: None,
        secret: false,
        write: |settings, text| {
            settings.worker.max_crashes = number(text, 1..=1_000)?;
            Ok(())
        },
        read: |settings| settings.worker.max_crashes.to_string(),
    },
    Setting {
        key: "retention.expired_result",
        flag: None,
        takes: "a duration such as `1h` or `30d`",
        about: "How long a completed job is remembered after its result has expired.",
        default: None,
        secret: false,
        write: |settings, text| {
            settings.worker.retention.expired_result = parse_duration(text)?;
            Ok(())
        },
        read: |settings| format_duration(settings.worker.retention.expired_result),
    },
    Setting {
        key: "retention.discarded",
        flag: None,
        takes: "a duration such as `1h` or `30d`",
        about: "How long dead letters are kept.",
        default: None,
        secret: false,
        write: |settings, text| {
            settings.worker.retention.discarded = parse_duration(text)?;
            Ok(())
        },
        read: |settings| format_duration(settings.worker.retention.discarded),
    },
    Setting {
        key: "retention.cancelled",
        flag: None,
        takes: "a duration such as `1h` or `30d`",
        about: "How long cancelled and expired jobs are kept.",
        default: None,
        secret: false,
        write: |settings, text| {
            settings.worker.retention.cancelled = parse_duration(text)?;
            Ok(())
        },
        read: |settings| format_duration(settings.worker.retention.cancelled),
    },
    Setting {
        key: "codec",
        flag: None,
        takes: "`messagepack` or `json`",
        about: "How the payloads of dispatched jobs are written; both are always read.",
        default: None,
        secret: false,
        write: |settings, text| {
            settings.codec = codec(text)?;
            Ok(())
        },
        read: |settings| codec_name(settings.codec).to_owned(),
    },
    Setting {
        key: "health_addr",
        flag: Some("--health-addr"),
        takes: "an address and port such as `127.0.0.1:8080`, or nothing",
        about: "Where a worker answers `/healthz` and `/readyz`.",
        default: None,
        secret: false,
        write: |settings, text| {
            settings.health_addr = if text.is_empty() { None } else { Some(parsed(text)?) };
            Ok(())
        },
        read: |settings| settings.health_addr.map_or_else(String::new, |address| address.to_string()),
    },
    Setting {
        key: "log.format",
        flag: Some("--log-format"),
        takes: "`human`, `json`, or `none` for an application that sets up its own",
        about: "How logs look.",
        default: None,
        secret: false,
        write: |settings, text| {
            settings.log_format = text.parse()?;
            Ok(())
        },
        read: |settings| settings.log_format.to_string(),
    },
    Setting {
        key: "log.level",
        flag: Some("--log-level"),
        takes: "`error`, `warn`, `info`, `debug`, `trace`, `off`, or directives such as `info,my_crate=debug`",
        about: "Which logs are written; commands other than `worker` only warn unless it is given.",
        default: None,
        secret: false,
        write: |settings, text| {
            settings.log_level = log_level(text)?;
            Ok(())
        },
        read: |settings| settings.log_level.clone(),
    },
    Setting {
        key: "show_arguments",
        flag: Some("--show-arguments"),
        takes: "`true` or `false`",
        about: "Whether commands may show, and workers log, the values of jobs' arguments.",
        default: None,
        secret: false,
        write: |settings, text| {
            settings.show_arguments = parsed(text)?;
            Ok(())
        },
        read: |settings| settings.show_arguments.to_string(),
    },
];

const DAY: Duration = Duration::from_hours(24);

fn url(text: &str) -> Result<String> {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) {
        return Err(Error::invalid("it does not begin with a scheme and a colon"));
    }
    Ok(text.to_owned())
}

fn queues(text: &str) -> Result<Vec<QueueOptions>> {
    let queues: Vec<QueueOptions> = text.split(',').map(|queue| queue.trim().parse()).collect::<Result<_>>()?;
    for (index, queue) in queues.iter().enumerate() {
        if queues[..index].iter().any(|earlier| earlier.name == queue.name) {
            return Err(Error::invalid(format!("queue `{}` is named twice", queue.name)));
        }
    }
    Ok(queues)
}

fn limits(text: &str) -> Result<Vec<ConfiguredLimit>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let limits: Vec<ConfiguredLimit> = text.split(',').map(str::parse).collect::<Result<_>>()?;
    for (index, limit) in limits.iter().enumerate() {
        if limits[..index].iter().any(|earlier| earlier.key == limit.key) {
            return Err(Error::invalid(format!("limit `{}` is named twice", limit.key)));
        }
    }
    Ok(limits)
}

fn number<T: FromStr + PartialOrd>(text: &str, range: RangeInclusive<T>) -> Result<T> {
    match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        Ok(_) => Err(Error::invalid("the number is out of range")),
        Err(_) => Err(Error::invalid("it is not a whole number")),
    }
}

/// The units of sizes, the largest first.
const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

fn size(text: &str, least: u64) -> Result<u64> {
    let unit = UNITS.into_iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?.trim_end(), bytes)));
    let (digits, bytes) = unit.unwrap_or((text, 1));
    match digits.parse::<u64>().ok().and_then(|number| number.checked_mul(bytes)) {
        Some(size) if size >= least => Ok(size),
        Some(_) => Err(Error::invalid("the size is too small")),
        None => Err(Error::invalid("it is not a size; write `512MiB` or `2GiB`")),
    }
}

fn shown_size(size: u64) -> String {
    let unit = UNITS.into_iter().find(|(_, bytes)| size.is_multiple_of(*bytes));
    unit.map_or_else(|| size.to_string(), |(unit, bytes)| format!("{}{unit}", size / bytes))
}

fn duration(text: &str, range: RangeInclusive<Duration>) -> Result<Duration> {
    let duration = parse_duration(text)?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    Err(Error::invalid("the duration is out of range"))
}

fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T> {
    text.parse().map_err(|error: T::Err| Error::invalid(error.to_string()))
}

fn codec(text: &str) -> Result<Codec> {
    let known = [Codec::MessagePack, Codec::Json];
    let found = known.into_iter().find(|codec| codec_name(*codec) == text);
    found.ok_or_else(|| Error::invalid("no codec has this name"))
}

/// The codec's name in settings.
pub(crate) fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::MessagePack => "messagepack",
        Codec::Json => "json",
    }
}

fn log_level(text: &str) -> Result<String> {
    let directives = tracing_subscriber::EnvFilter::try_new(text).map_err(|error| Error::invalid(error.to_string()))?;
    // A lone word that is no level would be taken for a crate's name, and silence everything else.
    let words = text.split(',').filter(|directive| !directive.contains(['=', '[', ':', '_']));
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    for word in words {
        if !levels.contains(&word.trim().to_ascii_lowercase().as_str()) {
            return Err(Error::invalid(format!("`{word}` is not a level")));
        }
    }
    drop(directives);
    Ok(text.to_owned())
}

fn joined<T: Display>(parts: &[T]) -> String {
    parts.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}
