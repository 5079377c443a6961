//! The README's table of guarantees, made of what the backends say of themselves and of the suite that they pass.
//!
//! A number in it counts cases of the suite that cite the promise; each is a test of this program on that backend, so
//! the table is true when the tests pass.
//! `TASKWRIGHT_BLESS=1 cargo test -p taskwright-tests --test conformance guarantees` writes it anew.

use std::path::PathBuf;

use libtest_mimic::{Failed, Trial};
use taskwright::backend::Info;
use taskwright::job::JobId;
use taskwright::testing::conformance::{Ability, Promise, cases};
use taskwright::time::Clock;
use taskwright::{Name, Result};

use crate::Suite;

const BEGIN: &str = "<!-- guarantees: written by the conformance tests -->\n";
const END: &str = "<!-- end of guarantees -->\n";

/// What each promise says, in a line.
const PROMISES: [(Promise, &str); 17] = [
    (Promise::P1, "a push is whole, durable when acknowledged, and repeating it adds nothing"),
    (Promise::P2, "at most one live lease a job"),
    (Promise::P3, "settle, extend and progress are fenced by the lease"),
    (Promise::P4, "nothing starts before it is due, by the store's clock"),
    (Promise::P5, "an expired lease is back within one reap"),
    (Promise::P6, "order is priority, due time, id"),
    (Promise::P7, "a unique key has at most one job, until that is done, started, or a time has passed"),
    (Promise::P8, "an unknown task costs no attempt and stands in nobody's way"),
    (Promise::P9, "a cancelled job does not start, a running one hears of it"),
    (Promise::P10, "an expired job never starts"),
    (Promise::P11, "a paused queue hands out nothing"),
    (Promise::P12, "a kept result is readable until its time ends; absent, pending and expired differ"),
    (Promise::P13, "limits are never exceeded"),
    (Promise::P14, "what a stopping worker gives back keeps its attempts"),
    (Promise::P15, "every write may be repeated after an unknown outcome"),
    (Promise::P16, "retention in bounded batches"),
    (Promise::P17, "schema changes are additive and touch nothing else"),
];

/// What some backends can do and others can't.
const ABILITIES: [(Ability, &str); 10] = [
    (Ability::Results, "results that can be awaited"),
    (Ability::Wake, "wake-up instead of polling"),
    (Ability::Leader, "one elected worker for maintenance"),
    (Ability::Inspect, "list, count, retry, delete, pause"),
    (Ability::Limiter, "limits in the whole cluster, by key and by queue"),
    (Ability::Transaction, "dispatch in the caller's transaction"),
    (Ability::Ledger, "may be the record of what a broker carries"),
    (Ability::Record, "a job is known by its id: repeated pushes, unique keys, calling off"),
    (Ability::Leases, "a lease outlives the connection that took it"),
    (Ability::Aging, "priorities that age, so that none starves, where a worker is configured so"),
];

/// A test that the README's table is what these suites make of it.
pub(crate) fn trial(suites: Vec<Suite>) -> Trial {
    Trial::test("guarantees::the_readme_has_the_table_of_these_backends", move || {
        let runtime = tokio::runtime::Runtime::new()?;
        let table = runtime.block_on(table(&suites)).map_err(|error| Failed::from(format!("{error:?}")))?;
        check(&table)
    })
}

fn check(table: &str) -> std::result::Result<(), Failed> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(&file)?;
    let place = readme.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?)));
    let (before, (present, after)) = place.ok_or("the README has no place for the table of guarantees")?;
    if present == table {
        return Ok(());
    }
    if std::env::var_os("TASKWRIGHT_BLESS").is_some() {
        return Ok(std::fs::write(file, format!("{before}{BEGIN}{table}{END}{after}"))?);
    }
    Err(format!("the README's table of guarantees is not this one; TASKWRIGHT_BLESS=1 writes it:\n{table}").into())
}

async fn table(suites: &[Suite]) -> Result<String> {
    let mut infos = Vec::new();
    for suite in suites {
        infos.push(info(suite).await?);
    }
    let mut table = String::new();
    let mut row = |words: &str, cells: Vec<String>| {
        let cells = std::iter::once(words).chain(cells.iter().map(String::as_str));
        table.extend(cells.map(|cell| format!("| {cell} ")));
        table.push_str("|\n");
    };
    row("promise or ability", suites.iter().map(|suite| suite.title.to_owned()).collect());
    row("---", suites.iter().map(|_| "---".to_owned()).collect());
    for (promise, words) in PROMISES {
        row(&format!("{promise:?} {words}"), suites.iter().map(|suite| kept(suite, promise)).collect());
    }
    for (ability, words) in ABILITIES {
        row(words, suites.iter().map(|suite| yes(suite.setup.abilities().contains(&ability))).collect());
    }
    row(
        "a task's writes and its completion in one transaction",
        infos.iter().map(|(_, completes)| yes(*completes)).collect(),
    );
    row("several processes on one store", suites.iter().map(|suite| yes(suite.name != "memory")).collect());
    row("a batch is pushed whole or not at all", infos.iter().map(|(info, _)| yes(info.atomic_push)).collect());
    row(
        "jobs of an unknown task go to a worker that knows it, without a wait",
        infos.iter().map(|(info, _)| yes(info.passes_over)).collect(),
    );
    row("largest payload", infos.iter().map(|(info, _)| format!("{} MiB", info.limits.max_payload >> 20)).collect());
    let durability = |(suite, (info, _)): (&Suite, &(Info, bool))| {
        if suite.on_a_server {
            "what the server is set up for; `doctor` says it".to_owned()
        } else {
            info.durability.clone()
        }
    };
    row("what an acknowledged job survives", suites.iter().zip(&infos).map(durability).collect());
    Ok(table)
}

fn yes(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

/// How many cases hold a promise on these stores, of those that cite it.
fn kept(suite: &Suite, promise: Promise) -> String {
    let citing = || cases().iter().filter(|case| case.promises.contains(&promise));
    let all = citing().count();
    match citing().filter(|case| case.lacks(&*suite.setup).is_none()).count() {
        0 if all == 0 => "not yet".to_owned(),
        0 => "no".to_owned(),
        kept if kept == all => format!("{kept}"),
        kept => format!("{kept} of {all}"),
    }
}

/// What a backend says of itself, and whether tasks complete in transactions there.
async fn info(suite: &Suite) -> Result<(Info, bool)> {
    let store = Name::new(format!("t{}", JobId::new()).replace('-', ""))?;
    let backend = suite.setup.open(&store, &Clock::system()).await?;
    let info = backend.info().clone();
    let completes = backend.transaction().is_some_and(|transaction| transaction.completion().is_some());
    backend.close().await?;
    Ok((info, completes))
}
