use taskwright::prelude::*;

fn is_transient(error: &std::fmt::Error) -> bool {
    let _ = error;
    true
}

#[task(retry_if = is_transient)]
async fn deliver() -> Result<(), std::io::Error> {
    Ok(())
}

fn main() {}
