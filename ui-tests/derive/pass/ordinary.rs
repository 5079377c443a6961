//! A struct first, and its work written by hand.

use taskwright::prelude::*;

/// Greets somebody.
#[derive(Serialize, Deserialize, Task)]
#[task(queue = "mail", unique = "greet-{name}", max_attempts = 2)]
struct Greet {
    name: String,
    #[serde(rename = "often", default)]
    times: u32,
}

impl Run for Greet {
    type Output = String;

    async fn run(&self, _ctx: &Context) -> TaskResult<String> {
        Ok(format!("hello {}", self.name).repeat(self.times as usize))
    }
}

fn main() {
    assert!(Greet::DEFINITION.name.ends_with("::Greet"));
    assert_eq!(Greet::DEFINITION.docs, "Greets somebody.");
    assert_eq!(Greet::DEFINITION.options.queue, Some("mail"));
    assert_eq!(Greet::DEFINITION.parameters[1].name, "often");
    assert_eq!(Task::unique_key(&Greet { name: "ada".into(), times: 1 }).as_deref(), Some("greet-ada"));
}
