//! Measuring a store from the program.

use serde_json::json;

use crate::{assert_has, setup};

const FEW: &[&str] = &["bench", "--jobs", "50", "--samples", "5"];

#[test]
fn bench_measures_and_leaves_nothing_but_what_was_there() {
    let setup = setup();
    setup.run(&["dispatch", "fixture.add", r#"{"left": 1, "right": 2}"#]).ok();
    let before = setup.run(&["queues", "--json"]).json();
    let ran = setup.run(&[FEW, &["--rate", "100", "--for", "100ms", "--json"]].concat());
    assert_eq!(ran.exit, 0, "{ran:?}");
    let answer = ran.json();
    assert_eq!((&answer["backend"]["name"], &answer["payload_bytes"]), (&json!("memory"), &json!(100)));
    let figures = &answer["figures"];
    for rate in ["dispatch_one", "dispatch_concurrent", "dispatch_bulk", "drain"] {
        assert!(figures[rate].as_f64().unwrap() > 0.0, "{rate}: {answer}");
    }
    for start in [&figures["start"], &figures["steady"]["start"]] {
        assert!(start["p50_ms"].as_f64().unwrap() <= start["p99_ms"].as_f64().unwrap(), "{answer}");
    }
    assert_eq!(setup.run(&["queues", "--json"]).json(), before);
    assert_eq!(setup.run(&["workers", "--json"]).json()["workers"], json!([]));
}

#[test]
fn bench_tells_people_in_a_table_and_says_what_it_is_not() {
    let ran = setup().run(FEW);
    assert_has(&ran.stderr, &["note: this is memory alone"]);
    assert_has(&ran.ok(), &["memory at ", "payload of 100 bytes", "dispatch in bulk", " jobs/s", "p50 ", "p99 "]);
}

#[test]
fn bench_refuses_to_measure_nothing() {
    assert_has(&setup().run(&["bench", "--jobs", "0"]).refused(2), &["--jobs", "from 1 to"]);
    assert_has(&setup().run(&["bench", "--for", "1s"]).refused(2), &["--rate"]);
}

#[test]
fn the_task_of_bench_is_not_among_the_program_s() {
    assert!(!setup().run(&["tasks"]).ok().contains("taskwright.bench"));
}
