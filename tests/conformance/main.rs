//! The conformance suite on every backend, and proof that its cases can fail.
//!
//! A case that needs what a backend has not got shows so, and checks that it is absent in the right way:
//! `test [no wake] toy::wake::push_wakes_those_who_wait_for_its_queue ... ok`.

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use taskwright::testing::Setup;
use taskwright::testing::conformance::{Case, cases};
use taskwright_tests::toy::FreshToy;

use self::stores::{FreshMemory, FreshSqlite};

mod stores;
mod twins;

fn main() -> std::io::Result<ExitCode> {
    let arguments = Arguments::from_args();
    // It goes, with all the databases in it, when the tests are done.
    let folder = tempfile::tempdir()?;
    let mut trials = suite("memory", FreshMemory::default());
    trials.extend(suite("sqlite", FreshSqlite::new(&folder)));
    trials.extend(suite("toy", FreshToy));
    trials.extend(twins::trials());
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

/// The whole suite on one backend.
fn suite(backend: &str, setup: impl Setup + 'static) -> Vec<Trial> {
    let setup: Arc<dyn Setup> = Arc::new(setup);
    cases().iter().map(|case| trial(backend, case, &setup)).collect()
}

fn trial(backend: &str, case: &'static Case, setup: &Arc<dyn Setup>) -> Trial {
    let lacks = case.lacks(&**setup).map(|ability| format!("no {ability}")).unwrap_or_default();
    let setup = Arc::clone(setup);
    let run = move || case.run(setup).map_err(|error| Failed::from(format!("{error:?}")));
    Trial::test(format!("{backend}::{}", case.path()), run).with_kind(lacks)
}
