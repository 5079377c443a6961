//! A struct with its work written by hand.

use taskwright::prelude::*;

#[derive(Serialize, Deserialize, Task)]
#[task(queue = "mail", unique = "greet-{name}")]
struct Greet {
    name: String,
}

impl Run for Greet {
    type Output = String;

    async fn run(&self, _ctx: &Context) -> TaskResult<String> {
        Ok(format!("hello {}", self.name))
    }
}

fn main() {
    assert_eq!(Greet::DEFINITION.options.queue, Some("mail"));
    assert_eq!(Greet { name: "ada".into() }.unique_key().as_deref(), Some("greet-ada"));
}
