use taskwright::prelude::*;

#[task]
async fn send(name: std::borrow::Cow<'_, str>) {
    let _ = name;
}

fn main() {}
