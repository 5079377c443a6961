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

use self::stores::{FreshCarried, FreshMemory, FreshMySql, FreshPostgres, FreshRabbitMq, FreshRedis, FreshSqlite};

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
    setup: Arc<dyn Setup>,
}

fn main() -> std::io::Result<ExitCode> {
    let arguments = Arguments::from_args();
    // It goes, with all the databases in it, when the tests are done.
    let folder = tempfile::tempdir()?;
    let mut suites = vec![
        Suite::new("memory", "memory", FreshMemory::default()),
        Suite::new("sqlite", "SQLite", FreshSqlite::new(&folder)),
    ];
    let servers = [
        (Kind::MySql, Suite::new("mysql", "MySQL, MariaDB", FreshMySql)),
        (Kind::Postgres, Suite::new("postgres", "Postgres", FreshPostgres)),
        (Kind::Redis, Suite::new("redis", "Redis", FreshRedis)),
        (Kind::RabbitMq, Suite::new("rabbitmq", "RabbitMQ", FreshRabbitMq)),
        (Kind::RabbitMq, Suite::new("rabbitmq+store", "RabbitMQ with SQLite", FreshCarried::new(&folder))),
    ];
    let wanted = suites.len() + servers.len();
    let servers = servers.into_iter().filter(|(kind, _)| Server::exists(*kind));
    suites.extend(servers.map(|(_, suite)| suite.on_a_server()));
    let mut trials: Vec<_> = suites.iter().flat_map(Suite::trials).collect();
    // Without a server its column would be missing.
    if suites.len() == wanted {
        trials.push(guarantees::trial(suites));
    }
    trials.extend(Suite::new("toy", "a toy", FreshToy).trials());
    trials.extend(twins::trials());
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

impl Suite {
    fn new(name: &'static str, title: &'static str, setup: impl Setup + 'static) -> Self {
        Self { name, title, on_a_server: false, setup: Arc::new(setup) }
    }

    fn on_a_server(self) -> Self {
        Self { on_a_server: true, ..self }
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
