//! The conformance suite on every backend, and proof that its cases can fail.
//!
//! A case that needs what a backend has not got shows so, and checks that it is absent in the right way:
//! `test [no wake] toy::wake::push_wakes_those_who_wait_for_its_queue ... ok`.

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use taskwright::testing::Setup;
use taskwright::testing::conformance::{Case, cases};
use taskwright_tests::servers::{Kind, Server};
use taskwright_tests::toy::FreshToy;

use self::stores::{
    FreshApart, FreshCarried, FreshEventsApart, FreshMemory, FreshMySql, FreshPostgres, FreshRabbitMq,
    FreshRabbitMqWithResults, FreshRedis, FreshSqlite,
};

mod guarantees;
mod stores;
mod twins;

/// A kind of store, and what it is called.
#[derive(Clone)]
pub(crate) struct Suite {
    /// In the names of tests.
    name: &'static str,
    /// For people.
    title: &'static str,
    /// Whether what its jobs survive is up to how a server is set up; the one for tests does not wait for the disk.
    on_a_server: bool,
    /// Whether it has a column in the table of guarantees.
    in_table: bool,
    setup: Arc<dyn Setup>,
}

fn main() -> std::io::Result<ExitCode> {
    let arguments = Arguments::from_args();
    // It goes, with all the databases in it, when the tests are done.
    let folder = tempfile::tempdir()?;
    let mut suites = vec![
        Suite::new("memory", "memory", FreshMemory::default()),
        Suite::new("sqlite", "SQLite", FreshSqlite::new(&folder)),
        Suite::new(
            "memory+events",
            "memory with events in memory",
            FreshEventsApart::new(FreshMemory::default(), FreshMemory::default()),
        )
        .not_in_table(),
        apart("memory+results", "memory with results in SQLite", FreshMemory::default(), FreshSqlite::new(&folder)),
    ];
    let servers = [
        (Kind::MySql, Suite::new("mysql", "MySQL, MariaDB", FreshMySql)),
        (Kind::Postgres, Suite::new("postgres", "Postgres", FreshPostgres)),
        (Kind::Redis, Suite::new("redis", "Redis", FreshRedis)),
        (Kind::RabbitMq, Suite::new("rabbitmq", "RabbitMQ", FreshRabbitMq)),
        (Kind::Postgres, apart("postgres+results", "Postgres with results in Redis", FreshPostgres, FreshRedis)),
        (
            Kind::RabbitMq,
            Suite::new(
                "rabbitmq+results",
                "RabbitMQ with results in SQLite",
                FreshRabbitMqWithResults::in_store(FreshSqlite::new(&folder)),
            ),
        ),
        (Kind::RabbitMq, carried("rabbitmq+sqlite", "RabbitMQ with SQLite", FreshSqlite::new(&folder))),
        (Kind::RabbitMq, carried("rabbitmq+redis", "RabbitMQ with Redis", FreshRedis).not_in_table()),
        (Kind::RabbitMq, carried("rabbitmq+postgres", "RabbitMQ with Postgres", FreshPostgres).not_in_table()),
    ];
    let wanted = suites.len() + servers.len();
    let servers = servers.into_iter().filter(|(kind, _)| Server::exists(*kind));
    suites.extend(servers.map(|(_, suite)| suite.on_a_server()));
    let mut trials: Vec<_> = suites.iter().flat_map(Suite::trials).collect();
    // Without a server its column would be missing.
    if suites.len() == wanted {
        suites.retain(|suite| suite.in_table);
        trials.push(guarantees::trial(suites));
    }
    trials.extend(Suite::new("toy", "a toy", FreshToy).trials());
    trials.extend(twins::trials());
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

/// Jobs that a broker carries, and the record of them in these stores.
fn carried(name: &'static str, title: &'static str, record: impl Setup + 'static) -> Suite {
    Suite::new(name, title, FreshCarried::of(record))
}

/// Jobs in one kind of store, and their results in another.
fn apart(name: &'static str, title: &'static str, jobs: impl Setup + 'static, results: impl Setup + 'static) -> Suite {
    Suite::new(name, title, FreshApart::new(jobs, results)).not_in_table()
}

impl Suite {
    fn new(name: &'static str, title: &'static str, setup: impl Setup + 'static) -> Self {
        Self { name, title, on_a_server: false, in_table: true, setup: Arc::new(setup) }
    }

    fn on_a_server(self) -> Self {
        Self { on_a_server: true, ..self }
    }

    /// What it guarantees is what another column says already.
    fn not_in_table(self) -> Self {
        Self { in_table: false, ..self }
    }

    /// Every case on this kind of store.
    fn trials(&self) -> Vec<Trial> {
        cases().iter().map(|case| self.trial(case)).collect()
    }

    fn trial(&self, case: &'static Case) -> Trial {
        let lacks = case.lacks(&*self.setup).map(|ability| format!("no {ability}")).unwrap_or_default();
        let setup = Arc::clone(&self.setup);
        let run = move || case.run(setup).map_err(|error| Failed::from(format!("{error:?}")));
        Trial::test(format!("{}::{}", self.name, case.path()), run).with_kind(lacks)
    }
}
