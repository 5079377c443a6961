use taskwright::prelude::*;

#[task]
async fn first(names: &str) -> TaskResult<std::borrow::Cow<'_, str>> {
    Ok(names.into())
}

fn main() {}
