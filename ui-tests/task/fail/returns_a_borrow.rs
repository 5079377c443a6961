use taskwright::prelude::*;

#[task]
async fn first(names: &str) -> TaskResult<&str> {
    Ok(names)
}

fn main() {}
