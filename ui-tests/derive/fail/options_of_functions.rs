use taskwright::prelude::*;

#[derive(Serialize, Deserialize, Task)]
#[task(struct = Other, retry_if = is_transient)]
struct Mail {
    to: String,
}

impl Run for Mail {
    type Output = ();

    async fn run(&self, _ctx: &Context) -> TaskResult {
        Ok(())
    }
}

fn main() {}
