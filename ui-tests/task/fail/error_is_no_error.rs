use taskwright::prelude::*;

struct MailError;

#[task]
async fn deliver() -> Result<(), MailError> {
    Err(MailError)
}

fn main() {}
