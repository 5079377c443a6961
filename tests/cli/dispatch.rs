//! `dispatch` and `worker`: a task goes onto its queue by name, and is run.

use serde_json::json;

use crate::{assert_has, setup};

#[test]
fn a_task_is_dispatched_with_what_the_command_line_asks_for() {
    let setup = setup();
    let args = ["--queue", "slow", "--delay", "1h", "--priority", "-5", "--unique-key", "one", "--json"];
    let answer = setup.run(&[&["dispatch", "fixture.add", r#"{"left":1,"right":2}"#], &args[..]].concat()).json();
    let id = answer["id"].as_str().unwrap();
    assert_eq!(answer["new"], true);
    let shown = setup.run(&["jobs", "show", id, "--payload", "--json"]).json();
    let job = &shown["jobs"][0];
    assert_eq!((&job["task"], &job["queue"]), (&json!("fixture.add"), &json!("slow")));
    assert_eq!((&job["state"], &job["priority"]), (&json!("scheduled"), &json!(-5)));
    assert_eq!((&job["unique_key"], &job["tags"]), (&json!("one"), &json!(["sums"])));
    assert_eq!((&job["payload"], &job["codec"]), (&json!({ "left": 1, "right": 2 }), &json!("messagepack")));
}

#[test]
fn a_task_is_dispatched_by_its_alias_under_its_own_name_and_from_standard_input() {
    let setup = setup();
    let ran = setup.run_with(&["--url", &setup.url, "dispatch", "fixture.sum", "-"], r#"{"left":1,"right":2}"#);
    let id = ran.ok();
    assert_has(&setup.run(&["jobs", "show", id.trim()]).ok(), &["fixture.add"]);
}

#[test]
fn a_unique_job_is_dispatched_once() {
    let setup = setup();
    let dispatch = || setup.run(&["dispatch", "fixture.greet", r#"{"name":"ada"}"#]);
    let first = dispatch();
    let second = dispatch();
    assert_eq!(first.stdout, second.stdout);
    assert_has(&second.stderr, &["nothing was dispatched"]);
}

#[test]
fn the_codec_of_the_settings_is_used() {
    let setup = setup();
    let id = setup.run(&["dispatch", "fixture.greet", r#"{"name":"ada"}"#, "--set", "codec=json"]).ok();
    let shown = setup.run(&["jobs", "show", id.trim(), "--payload", "--json"]).json();
    assert_eq!(shown["jobs"][0]["codec"], "json");
}

#[test]
fn what_does_not_decode_is_refused_before_anything_is_stored() {
    let setup = setup();
    let cases = [
        (r#"{"left":1}"#, "missing field `right`"),
        (r#"{"left":1,"right":"two"}"#, "invalid type"),
        (r#"{"left":1,"#, "not JSON"),
        ("[]", "fixture.add"),
        ("7", "fixture.add"),
    ];
    for (parameters, what) in cases {
        let told = setup.run(&["dispatch", "fixture.add", parameters]).refused(2);
        assert_has(&told, &["error: ", what, r#"help: fixture.add takes a JSON object {"left": i64, "right": i64}"#]);
    }
    assert_has(&setup.run(&["dispatch", "fixture.ad", "{}"]).refused(3), &["`fixture.add`?"]);
    assert_has(&setup.run(&["dispatch", "fixture.add", "{}", "--queue", "a b"]).refused(2), &["`a b` is not a name"]);
    assert_has(&setup.run(&["dispatch", "fixture.add", "{}", "--delay", "soon"]).refused(2), &["not a duration"]);
    assert_has(&setup.run(&["dispatch", "fixture.add", "{}", "--priority", "99999"]).refused(2), &["99999"]);
    assert_eq!(setup.run(&["jobs", "list", "--json"]).json()["jobs"], json!([]));
}

#[test]
fn a_parameter_that_the_task_does_not_have_is_pointed_out() {
    let ran = setup().run(&["dispatch", "fixture.greet", r#"{"name":"ada","loudli":true}"#]);
    assert_has(&ran.stderr, &["no parameter `loudli`", "did you mean `loudly`?"]);
    ran.ok();
}

#[test]
fn a_draining_worker_runs_what_there_is_and_stops() {
    let setup = setup();
    let add = setup.run(&["dispatch", "fixture.add", r#"{"left":40,"right":2}"#]).ok();
    let fail = setup.run(&["dispatch", "fixture.fail", r#"{"to":"ada@example.org"}"#]).ok();
    let summary = setup.run(&["worker", "--drain", "--queues", "default,mail=2", "--json"]).json();
    assert_eq!((&summary["claimed"], &summary["completed"], &summary["failed"]), (&json!(2), &json!(1), &json!(1)));
    let shown = setup.run(&["jobs", "show", add.trim(), "--payload", "--json"]).json();
    assert_eq!((&shown["jobs"][0]["state"], &shown["jobs"][0]["result"]), (&json!("completed"), &json!(42)));
    let text = setup.run(&["jobs", "show", fail.trim()]).ok();
    assert_has(&text, &["discarded", "mail to ada@example.org was not sent", "because: connection refused"]);
    assert_eq!(setup.run(&["jobs", "retry", "--task", "fixture.fail"]).ok(), "1 job due again\n");
}

#[test]
fn a_result_is_waited_for() {
    let setup = setup();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let args = ["dispatch", "fixture.greet", r#"{"name":"ada","loudly":true}"#, "--wait", "--timeout", "1m"];
            setup.run(&args)
        });
        // Draining ends at once while the job is not there yet, so it is repeated until the job has been run.
        while !waiting.is_finished() {
            setup.run(&["worker", "--drain"]).ok();
        }
        assert_eq!(waiting.join().unwrap().ok(), "\"HELLO, ADA\"\n");
    });
}

#[test]
fn waiting_for_a_job_that_fails_fails() {
    let setup = setup();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| setup.run(&["dispatch", "fixture.fail", r#"{"to":"x"}"#, "--wait"]));
        while !waiting.is_finished() {
            setup.run(&["worker", "--drain", "--queues", "mail"]).ok();
        }
        let told = waiting.join().unwrap().refused(1);
        assert_has(&told, &["mail to x was not sent", "connection refused"]);
    });
}

#[test]
fn waiting_ends_when_its_time_is_over() {
    let setup = setup();
    let ran = setup.run(&["dispatch", "fixture.fail", r#"{"to":"x"}"#, "--wait", "--timeout", "1ms"]);
    assert_has(&ran.refused(1), &["has not ended within 1ms; it goes on"]);
}

#[test]
fn a_worker_whose_health_endpoint_cannot_listen_does_not_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let told = setup().run(&["worker", "--drain", "--health-addr", &address]).refused(1);
    assert_has(&told, &["can't listen on", &address, "--health-addr"]);
}
