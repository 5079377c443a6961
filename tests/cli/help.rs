//! Help, versions, completions, and mistakes on the command line.

use crate::{assert_has, setup};

#[test]
fn help_lists_every_command_and_those_that_the_program_adds() {
    let help = setup().run(&["--help"]).ok();
    let commands =
        ["worker", "dispatch", "tasks", "queues", "jobs", "workers", "migrate", "doctor", "config", "completions"];
    assert_has(&help, &commands);
    assert_has(&help, &["location", "Print where the jobs are", "Exit codes: 0 done"]);
}

#[test]
fn help_of_one_command_names_its_options() {
    assert_has(&setup().run(&["worker", "--help"]).ok(), &["--queues", "--drain", "--health-addr", "--grace"]);
    assert_has(&setup().run(&["location", "--help"]).ok(), &["Print where the jobs are", "--fail"]);
    assert_has(&setup().run(&["config", "--help"]).ok(), &["TASKWRIGHT_RETENTION_DISCARDED", "Default: 30d"]);
}

#[test]
fn the_version_is_the_program_s() {
    assert_eq!(setup().run(&["--version"]).ok(), "fixture 1.2.3\n");
}

#[test]
fn an_unknown_command_is_refused_with_the_nearest() {
    let told = setup().run(&["wrokers"]).refused(2);
    assert_has(&told, &["unrecognized subcommand 'wrokers'", "workers"]);
    assert_has(&setup().run(&["locaton"]).refused(2), &["'location'"]);
}

#[test]
fn an_unknown_option_is_refused() {
    assert_has(&setup().run(&["queues", "--jsn"]).refused(2), &["--jsn", "--json"]);
}

#[test]
fn completions_know_the_program_s_own_commands() {
    for shell in ["bash", "zsh", "fish"] {
        assert_has(&setup().run(&["completions", shell]).ok(), &["location", "dispatch"]);
    }
    assert_has(&setup().run(&["completions", "tcsh"]).refused(2), &["bash", "zsh"]);
}

#[test]
fn an_added_command_fails_as_the_others_do() {
    let told = setup().run(&["location", "--fail"]).refused(1);
    assert_has(&told, &["error: the command `location` failed", "because: asked to fail"]);
    let told = setup().run(&["location", "--fail", "--json"]).refused(1);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["error"]["causes"][0], "asked to fail");
}
