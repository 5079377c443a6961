use taskwright::prelude::*;

#[derive(Serialize, Deserialize, Task)]
enum Mail {
    Receipt,
    Reminder,
}

fn main() {}
