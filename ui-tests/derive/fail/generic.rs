use taskwright::prelude::*;

#[derive(Serialize, Deserialize, Task)]
struct Mail<T> {
    content: T,
}

fn main() {}
