//! The commands that look at tasks, queues, workers and the backend.

use crate::{assert_has, setup};

#[test]
fn tasks_are_listed_with_their_shape() {
    let table = setup().run(&["tasks"]).ok();
    let add = table.lines().find(|line| line.starts_with("fixture.add")).unwrap();
    assert_has(add, &["left: i64, right: i64", "keep_result = \"1h\"", "tags = [\"sums\"]", "fixture.rs:"]);
    let answer = setup().run(&["tasks", "--json"]).json();
    let names: Vec<_> = answer["tasks"].as_array().unwrap().iter().map(|task| task["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["fixture.add", "fixture.fail", "fixture.greet", "fixture.panic", "fixture.wait"]);
    let fail = &answer["tasks"][1];
    assert_eq!((fail["queue"].as_str(), fail["max_attempts"].as_u64()), (Some("mail"), Some(1)));
    assert_eq!(fail["parameters"][0]["name"], "to");
    assert!(fail["file"].as_str().unwrap().ends_with("fixture.rs") && fail["line"].as_u64() > Some(0));
}

#[test]
fn one_task_is_shown_with_its_documentation_also_by_alias() {
    let text = setup().run(&["tasks", "fixture.sum"]).ok();
    assert_has(&text, &["fixture.add", "aliases", "Adds two numbers", "A second paragraph"]);
    let answer = setup().run(&["tasks", "fixture.greet", "--json"]).json();
    assert_eq!(answer["state"][0]["parameter"], "greeting");
    assert_eq!(answer["unique"], "greet-{name}");
}

#[test]
fn an_unknown_task_is_not_found_and_the_nearest_is_named() {
    assert_has(&setup().run(&["tasks", "fixture.ad"]).refused(3), &["no task `fixture.ad`", "`fixture.add`?"]);
    assert_has(&setup().run(&["tasks", "greet"]).refused(3), &["`fixture.greet`?"]);
}

#[test]
fn an_empty_store_has_no_queues_and_no_workers() {
    let setup = setup();
    assert_eq!(setup.run(&["queues", "--json"]).json(), serde_json::json!({ "queues": [] }));
    assert_eq!(setup.run(&["workers", "--json"]).json(), serde_json::json!({ "workers": [] }));
    let ran = setup.run(&["workers"]);
    assert_has(&ran.stderr, &["no worker is alive"]);
    assert_eq!(ran.ok(), "");
}

#[test]
fn a_queue_is_paused_and_resumed() {
    let setup = setup();
    assert_eq!(setup.run(&["queues", "pause", "mail"]).ok(), "mail is paused\n");
    let answer = setup.run(&["queues", "--json"]).json();
    assert_eq!((&answer["queues"][0]["queue"], &answer["queues"][0]["paused"]), (&"mail".into(), &true.into()));
    assert_has(&setup.run(&["queues", "list"]).ok(), &["QUEUE", "mail", "paused"]);
    let answer = setup.run(&["queues", "resume", "mail", "--json"]).json();
    assert_eq!(answer, serde_json::json!({ "queue": "mail", "paused": false }));
    assert_eq!(setup.run(&["queues", "--json"]).json()["queues"], serde_json::json!([]));
}

#[test]
fn a_limit_is_set_listed_and_cleared() {
    let setup = setup();
    let nothing = serde_json::json!({ "limits": [] });
    assert_eq!(setup.run(&["limits", "--json"]).json(), nothing);
    assert_eq!(setup.run(&["limits", "set", "customer-7", "5+100/1m"]).ok(), "customer-7 is limited to 5+100/1m\n");
    assert_has(&setup.run(&["limits"]).ok(), &["KEY", "customer-7", "5+100/1m"]);
    let listed = &setup.run(&["limits", "list", "--json"]).json()["limits"][0];
    assert_eq!((&listed["limit"], &listed["set"]), (&"5+100/1m".into(), &"5+100/1m".into()));
    assert_eq!((&listed["configured"], &listed["held"]), (&serde_json::Value::Null, &0.into()));
    let answer = setup.run(&["limits", "clear", "customer-7", "--json"]).json();
    assert_eq!(answer, serde_json::json!({ "key": "customer-7", "set": null }));
    assert_has(&setup.run(&["limits", "set", "customer-7", "many"]).refused(2), &["is not a limit", "100/1m"]);
}

#[test]
fn limits_of_the_configuration_hold_once_a_worker_has_started() {
    let setup = setup();
    setup.run(&["worker", "--drain", "--set", "limits=queue:mail=10,api=100/1m"]).ok();
    let limits = setup.run(&["limits", "--json"]).json()["limits"].clone();
    let configured: Vec<_> = limits.as_array().unwrap().iter().map(|limit| limit["configured"].clone()).collect();
    assert_eq!(configured, ["100/1m", "10"]);
    setup.run(&["worker", "--drain", "--set", "limits=api=none"]).ok();
    assert_eq!(setup.run(&["limits", "--json"]).json()["limits"][0]["key"], "queue:mail");
    let refused = setup.run(&["worker", "--drain", "--set", "limits=queue:mail=much"]).refused(2);
    assert_has(&refused, &["setting `limits`", "100/1m"]);
}

#[test]
fn a_queue_that_nobody_knows_is_not_paused_by_mistake() {
    let setup = setup();
    assert_has(
        &setup.run(&["queues", "pause", "mial"]).refused(3),
        &["queue `mial`", "did you mean `mail`?", "--force"],
    );
    assert_eq!(setup.run(&["queues", "pause", "mial", "--force"]).ok(), "mial is paused\n");
    assert_eq!(setup.run(&["queues", "resume", "mial"]).ok(), "mial is running\n");
    assert_has(&setup.run(&["queues", "pause", "no queue"]).refused(2), &["is not a name"]);
}

#[test]
fn migrate_says_what_the_backend_is_at() {
    let setup = setup();
    assert_has(&setup.run(&["migrate"]).ok(), &["memory", "up to date, and has no tables"]);
    let answer = setup.run(&["migrate", "status", "--json"]).json();
    assert_eq!((&answer["backend"], &answer["up_to_date"]), (&"memory".into(), &true.into()));
    assert_eq!(answer["schema"], serde_json::Value::Null);
}

#[test]
fn migrate_prints_what_would_create_the_tables() {
    let setup = setup();
    assert_has(&setup.run(&["migrate", "sql"]).ok(), &["-- memory:", " has no tables"]);
    let sql = setup.run(&["migrate", "sql", "--url", "postgres://ada:hunter2@nowhere/shop?schema=jobs"]).ok();
    assert_has(&sql, &["CREATE SCHEMA IF NOT EXISTS \"jobs\";", "CREATE TABLE \"jobs\".\"leases\"", "COMMIT;"]);
    let json = setup.run(&["migrate", "sql", "--json", "--url", "postgres://ada:hunter2@nowhere/shop"]).json();
    assert!(json["sql"].is_string() && !json["url"].to_string().contains("hunter2"), "{json}");
}

#[test]
fn doctor_finds_nothing_worse_than_a_store_that_forgets() {
    let setup = setup();
    let text = setup.run(&["doctor"]).ok();
    assert_has(&text, &["ok    tasks", "5 tasks, all wired", "warn  durability", "ok    dead letters"]);
    let answer = setup.run(&["doctor", "--json"]).json();
    assert_eq!(answer["status"], "warn");
    let checks = answer["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["status"] != "fail"), "{checks:?}");
}

#[test]
fn doctor_says_that_the_backend_is_not_there() {
    let ran = setup().run_with(&["--url", "gopher:hole", "doctor", "--json"], "");
    assert_eq!(ran.exit, 2, "{ran:?}");
    let answer = ran.json();
    let backend = answer["checks"].as_array().unwrap().iter().find(|check| check["name"] == "backend").unwrap();
    assert_eq!(backend["status"], "fail");
    assert!(backend["found"].as_str().unwrap().contains("gopher"), "{backend}");
}

#[test]
fn doctor_shows_where_results_are_and_which_setting_names_what_is_missing() {
    let variable = "TASKWRIGHT_RESULTS_URL";
    let apart = setup().variable(variable, "memory:cli-results");
    assert_has(&apart.run(&["doctor"]).ok(), &[" with results in memory:cli-results"]);
    assert_has(&apart.run(&["config"]).ok(), &["results_url", "memory:cli-results", variable]);
    let ran = setup().variable(variable, "gopher:hole").run(&["doctor"]);
    assert_eq!(ran.exit, 2, "{ran:?}");
    assert_has(
        &ran.stdout,
        &["FAIL  backend", "gopher:hole", "setting results_url", "correct the setting that names it"],
    );
}
