//! What the other queues are: in which version, and what they keep of a job.

const MAIN: &str = include_str!("../Cargo.lock");
const OLDER: &str = include_str!("../older-sqlx/Cargo.lock");

/// A queue by its name without its tuning, its package, the lockfile that has its version, and what it keeps.
const RIVALS: &[(&str, &str, &str, &str)] = &[
    ("apalis", "apalis", MAIN, "in memory: ends with the process"),
    ("apalis-sqlite", "apalis-sqlite", MAIN, "`synchronous` as the store says; a dead worker's jobs come back"),
    (
        "effectum",
        "effectum",
        include_str!("../effectum/Cargo.lock"),
        "`synchronous = normal`, which is all it has; a dead worker's jobs come back",
    ),
    (
        "pgmq",
        "pgmq",
        MAIN,
        "logged tables, commits awaited; what was read comes back after 30 s; no retries, no results",
    ),
    (
        "graphile_worker",
        "graphile_worker",
        MAIN,
        "logged tables, commits awaited; a dead worker's jobs come back after 4 h",
    ),
    ("awa", "awa", OLDER, "logged tables, commits awaited; a dead worker's jobs come back"),
    ("fang", "fang", OLDER, "logged tables, commits awaited; a dead worker's jobs stay as they are"),
    ("sqlxmq", "sqlxmq", OLDER, "logged tables, commits awaited; a dead worker's jobs come back"),
    ("underway", "underway", OLDER, "logged tables, commits awaited; a dead worker's jobs come back; what ran is kept"),
    ("apalis-postgres", "apalis-postgres", MAIN, "logged tables, commits awaited; a dead worker's jobs come back"),
    (
        "apalis-mysql",
        "apalis-mysql",
        include_str!("../apalis-mysql/Cargo.lock"),
        "InnoDB, commits awaited; a dead worker's jobs come back",
    ),
    (
        "bullmq",
        "bullmq",
        include_str!("../bullmq/package.json"),
        "the append-only file; a dead worker's jobs come back after 30 s",
    ),
    ("rusty-sidekiq", "rusty-sidekiq", MAIN, "the append-only file; a dead worker's jobs are lost"),
    ("oxana", "oxana", MAIN, "the append-only file; a dead worker's jobs come back"),
    ("apalis-redis", "apalis-redis", MAIN, "the append-only file; a dead worker's jobs come back"),
];

/// The version of a queue and what it keeps, if it is one of the others.
pub(crate) fn about(queue: &str) -> Option<(&'static str, &'static str)> {
    let name = name(queue);
    let (_, package, lock, kept) = RIVALS.iter().find(|(rival, ..)| *rival == name)?;
    Some((version(lock, package)?, kept))
}

/// The name without its tuning.
pub(crate) fn name(queue: &str) -> &str {
    queue.split(',').next().unwrap_or(queue)
}

/// From a lockfile of cargo, or a manifest of npm.
fn version(lock: &'static str, package: &str) -> Option<&'static str> {
    let cargo = format!("name = \"{package}\"\nversion = \"");
    let npm = format!("\"{package}\": \"");
    let (_, rest) = lock.split_once(&cargo).or_else(|| lock.split_once(&npm))?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rival_has_a_version() {
        for (name, ..) in RIVALS {
            let (version, _) = about(&format!("{name}, tuned")).unwrap_or_else(|| panic!("{name} has no version"));
            assert!(version.starts_with(|first: char| first.is_ascii_digit()), "{name}: {version}");
        }
    }
}
