use taskwright::prelude::*;

#[derive(Serialize, Deserialize, Task)]
struct Mail {
    to: String,
}

fn main() {}
