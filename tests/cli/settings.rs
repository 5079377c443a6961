//! Layers of settings, and what becomes of settings that can't be used.

use serde_json::Value;

use crate::{Ran, assert_has, setup};

#[track_caller]
fn setting(ran: &Ran, name: &str) -> (String, String) {
    let answer = ran.json();
    let settings = answer["settings"].as_array().unwrap();
    let found = settings.iter().find(|setting| setting["setting"] == name).unwrap();
    let text = |field: &Value| field.as_str().unwrap().to_owned();
    (text(&found["value"]), text(&found["origin"]))
}

#[test]
fn config_shows_every_value_with_its_origin() {
    let setup = setup()
        .file("taskwright.toml", "queues = [\"critical\", \"default=4\"]\n[log]\nformat = \"json\"\n")
        .file(".env", "TASKWRIGHT_LEASE=45s\nAPPLICATION=other")
        .variable("TASKWRIGHT_GRACE", "7s");
    let ran = setup.run(&["config", "--json", "--set", "poll=3s"]);
    assert_eq!(setting(&ran, "concurrency").1, "default");
    let (queues, origin) = setting(&ran, "queues");
    assert_eq!(queues, "critical,default=4");
    assert!(origin.ends_with("taskwright.toml"), "{origin}");
    assert_eq!(setting(&ran, "lease"), ("45s".into(), ".env: TASKWRIGHT_LEASE".into()));
    assert_eq!(setting(&ran, "grace"), ("7s".into(), "TASKWRIGHT_GRACE".into()));
    assert_eq!(setting(&ran, "poll"), ("3s".into(), "--set".into()));
    assert_eq!(setting(&ran, "url").1, "--url");
    let table = setup.run(&["config"]).ok();
    assert_has(&table, &["SETTING", "lease", "45s", ".env: TASKWRIGHT_LEASE"]);
}

#[test]
fn a_flag_is_stronger_than_a_variable() {
    let setup = setup().variable("TASKWRIGHT_LOG_FORMAT", "json");
    let ran = setup.run(&["config", "--json", "--log-format", "human"]);
    assert_eq!(setting(&ran, "log.format"), ("human".into(), "--log-format".into()));
}

#[test]
fn passwords_are_shown_nowhere() {
    let url = "memory:name?password=hunter2";
    for args in [&["--url", url, "config"][..], &["--url", url, "queues"], &["--url", "pg//u:hunter2@host", "queues"]] {
        let ran = setup().run_with(args, "");
        assert!(!format!("{ran:?}").contains("hunter2"), "{ran:?}");
    }
    let ran = setup().run_with(&["--url", "memory://ada:hunter2@host", "config"], "");
    assert_has(&ran.stdout, &["ada:***@host"]);
}

#[test]
fn a_value_that_cannot_be_used_is_refused_by_name_and_origin() {
    let cases = [
        (setup().run(&["worker", "--concurrency", "0"]), "`concurrency` can't be `0`", "--concurrency"),
        (setup().run(&["worker", "--concurrency", "many"]), "a number from 1 to 100000", "--concurrency"),
        (setup().run(&["worker", "--grace", "soon"]), "`grace` can't be `soon`", "--grace"),
        (setup().run(&["worker", "--queues", "a b"]), "`queues` can't be `a b`", "--queues"),
        (setup().run(&["worker", "--queues", "a,a"]), "named twice", "--queues"),
        (setup().run(&["worker", "--health-addr", "here"]), "`health_addr` can't be `here`", "--health-addr"),
        (setup().run(&["queues", "--log-level", "loud"]), "`log.level` can't be `loud`", "--log-level"),
        (setup().run(&["queues", "--set", "leese=3s"]), "did you mean `lease`?", "--set"),
        (setup().run(&["queues", "--set", "lease"]), "gives no value", "--set"),
        (setup().variable("TASKWRIGHT_LEASE", "1").run(&["queues"]), "`lease` can't be `1`", "TASKWRIGHT_LEASE"),
        (setup().variable("TASKWRIGHT_LAESE", "1").run(&["queues"]), "did you mean `TASKWRIGHT_LEASE`", "unset it"),
        (setup().file("taskwright.toml", "lease = 30").run(&["queues"]), "`lease` can't be `30`", "taskwright.toml"),
        (setup().file("taskwright.yaml", "lease: [").run(&["queues"]), "is not Yaml", "taskwright.yaml"),
        (setup().run(&["queues", "--config", "no.toml"]), "can't be read", "no.toml"),
    ];
    for (ran, what, place) in cases {
        assert_has(&ran.refused(2), &["error: ", what, place]);
    }
}

#[test]
fn a_url_that_names_no_backend_is_refused() {
    for url in ["", "nonsense", "gopher:hole", "memory:a b"] {
        let told = setup().run_with(&["--url", url, "queues"], "").refused(2);
        assert_has(&told, &["error: ", url]);
    }
}

#[test]
fn errors_for_scripts_are_json() {
    let told = setup().run_with(&["--url", "gopher:hole", "queues", "--json"], "").refused(2);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["error"]["kind"], "invalid");
}
