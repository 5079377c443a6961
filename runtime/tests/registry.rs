//! Which tasks may be registered together.

#![allow(clippy::unwrap_used, reason = "a test that can't go on panics, in its helpers too")]
#![allow(clippy::unused_async, reason = "these tasks are never run")]

use taskwright::ErrorKind;
use taskwright::prelude::*;
use taskwright::registry::Registry;
use taskwright::task::{Definition, Execution, Options};

/// Tasks as a program may write them by hand, where nothing has checked the definition.
macro_rules! task_by_hand {
    ($task:ident, $name:literal, $aliases:expr) => {
        #[derive(Serialize, Deserialize)]
        struct $task;

        impl Task for $task {
            type Output = ();
            const DEFINITION: &'static Definition = &Definition {
                name: $name,
                aliases: $aliases,
                options: Options::NONE,
                parameters: &[],
                state: &[],
                transaction: None,
                execution: Execution::Async,
                docs: "",
                // All of one macro, so all of one place.
                file: "tasks.rs",
                line: 7,
            };

            fn run(self, _: Context) -> taskwright::TaskFuture<()> {
                Box::pin(async { Ok(()) })
            }
        }
    };
}

task_by_hand!(Plain, "plain", &[]);
task_by_hand!(PlainAgain, "plain", &[]);
task_by_hand!(Renamed, "renamed", &["old", "older", "old", "renamed"]);
task_by_hand!(Usurper, "usurper", &["older"]);
task_by_hand!(Older, "older", &[]);
task_by_hand!(Misnamed, "mis named", &[]);

#[task(name = "attribute.first")]
async fn first() {}

mod elsewhere {
    use taskwright::prelude::*;

    #[task(name = "attribute.first")]
    pub(super) async fn second() {}
}

fn refused(registry: taskwright::Result<Registry>) -> String {
    let error = registry.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Wiring, "{error:?}");
    format!("{error:?}")
}

#[test]
fn a_task_that_is_added_twice_is_one_task() {
    let registry = Registry::new().with::<Plain>().unwrap().with::<Renamed>().unwrap();
    let registry = registry.with::<Plain>().unwrap().with::<Renamed>().unwrap();
    assert_eq!(registry.iter().map(|task| task.definition.name).collect::<Vec<_>>(), ["plain", "renamed"]);
}

#[test]
fn a_task_that_names_an_alias_twice_or_is_its_own_alias_is_one_task() {
    let registry = Registry::new().with::<Renamed>().unwrap();
    for name in ["renamed", "old", "older"] {
        assert_eq!(registry.get(name).unwrap().definition.name, "renamed");
    }
    assert!(registry.get("oldest").is_none());
}

#[test]
fn two_tasks_of_one_name_are_refused_and_both_places_told() {
    let told = refused(Registry::new().with::<First>().unwrap().with::<elsewhere::Second>());
    let file = file!();
    assert!(told.contains("two tasks are called `attribute.first`"), "{told}");
    assert_eq!(told.matches(file).count(), 2, "{told}");
    refused(Registry::linked());
}

#[test]
fn two_types_of_one_name_and_place_are_two_tasks() {
    let told = refused(Registry::new().with::<Plain>().unwrap().with::<PlainAgain>());
    assert!(told.contains("two tasks are called `plain`, both made at tasks.rs:7"), "{told}");
    assert!(told.contains("a module of both the library and the program"), "{told}");
}

#[test]
fn an_alias_belongs_to_one_task() {
    let registry = || Registry::new().with::<Renamed>().unwrap();
    assert!(refused(registry().with::<Usurper>()).contains("`older`"));
    assert!(refused(registry().with::<Older>()).contains("`older`"));
}

#[test]
fn a_name_that_no_store_takes_is_refused() {
    assert!(refused(Registry::new().with::<Misnamed>()).contains("mis named"));
}
