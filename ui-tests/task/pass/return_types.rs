//! Whatever gives an output and an error, however it is called.

use std::fmt;

use taskwright::prelude::*;

type Short<T> = std::result::Result<T, String>;
type Fixed = Result<u8, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Debug)]
struct Custom;

impl fmt::Display for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("custom")
    }
}

impl std::error::Error for Custom {}

#[task]
async fn nothing() {}

#[task]
async fn unit() -> () {}

#[task]
async fn anyhow_alias() -> anyhow::Result<u64> {
    Ok(1)
}

#[task]
async fn own_alias() -> Short<Vec<u8>> {
    Err("no".to_owned())
}

#[task]
async fn alias_without_arguments() -> Fixed {
    Ok(1)
}

#[task]
async fn own_error() -> Result<Option<String>, Custom> {
    Err(Custom)
}

#[task(struct = GivesTaskResult)]
async fn task_result() -> TaskResult {
    Err(TaskError::discard("no").into())
}

#[task(struct = GivesTaskError)]
async fn task_error() -> Result<(), TaskError> {
    Err(TaskError::cancel("no"))
}

#[task]
fn plain() -> std::io::Result<()> {
    Ok(())
}

fn outputs<T: Task<Output = O>, O>(_: T) {}

fn main() {
    outputs::<_, ()>(Nothing::new());
    outputs::<_, ()>(Unit::new());
    outputs::<_, u64>(AnyhowAlias::new());
    outputs::<_, Vec<u8>>(OwnAlias::new());
    outputs::<_, u8>(AliasWithoutArguments::new());
    outputs::<_, Option<String>>(OwnError::new());
    outputs::<_, ()>(GivesTaskResult::new());
    outputs::<_, ()>(GivesTaskError::new());
    outputs::<_, ()>(Plain::new());
}
