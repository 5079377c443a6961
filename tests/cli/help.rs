//! Help, versions, completions, and mistakes on the command line.

use taskwright::App;

use crate::{assert_has, setup};

#[test]
fn help_lists_every_command_and_those_that_the_program_adds() {
    let help = setup().run(&["--help"]).ok();
    let commands = [
        "worker",
        "dispatch",
        "tasks",
        "queues",
        "limits",
        "jobs",
        "workers",
        "migrate",
        "doctor",
        "bench",
        "config",
        "completions",
    ];
    assert_has(&help, &commands);
    assert_has(&help, &["location", "Print where the jobs are", "Exit codes: 0 done"]);
}

#[test]
fn help_of_one_command_names_its_options() {
    assert_has(&setup().run(&["worker", "--help"]).ok(), &["--queues", "--drain", "--health-addr", "--grace"]);
    assert_has(&setup().run(&["bench", "--help"]).ok(), &["--jobs", "--samples", "--rate", "--for"]);
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
fn wiring_that_fails_is_told_with_its_causes_and_help_works_without_it() {
    let broken = async |_: App| Err(anyhow::anyhow!("no such host").context("the mailer can't be reached"));
    let told = setup().run_wired(&["queues"], "", broken).refused(1);
    assert_has(&told, &["wiring failed", "because: the mailer can't be reached", "because: no such host"]);
    let ran = setup().run_wired(&["--help"], "", broken);
    assert_has(&ran.stderr, &["commands that the program adds are missing"]);
    assert_has(&ran.ok(), &["worker", "doctor"]);
}

#[test]
fn what_code_decides_is_stronger_than_every_setting() {
    let wiring = async |app: App| Ok(app.options(|options| options.concurrency = 3));
    let ran = setup().run_wired(&["config", "--json", "--set", "concurrency=5"], "", wiring);
    let settings = ran.json();
    let concurrency = settings["settings"].as_array().unwrap().iter().find(|one| one["setting"] == "concurrency");
    assert_eq!(concurrency.unwrap()["value"], "3");
    assert_eq!(concurrency.unwrap()["origin"], "code");
}

#[test]
fn a_mistake_on_the_command_line_is_json_for_scripts() {
    let told = setup().run(&["queues", "--jsn", "--json"]).refused(2);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["error"]["kind"], "invalid");
}

#[test]
fn an_added_command_fails_as_the_others_do() {
    let told = setup().run(&["location", "--fail"]).refused(1);
    assert_has(&told, &["error: the command `location` failed", "because: asked to fail"]);
    let told = setup().run(&["location", "--fail", "--json"]).refused(1);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["error"]["causes"][0], "asked to fail");
}
