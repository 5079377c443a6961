use taskwright::prelude::*;

#[derive(Serialize, Deserialize, Task)]
#[task(isolate = "thread")]
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
