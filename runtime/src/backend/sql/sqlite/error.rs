//! What SQLite's errors mean to a caller.

use crate::error::{Error, ErrorKind};

/// The error of a statement.
pub(super) fn fault(error: sqlx::Error) -> Error {
    match primary_code(&error) {
        Some(code) => of_code(code).because(error),
        None => of_driver(&error).because(error),
    }
}

/// SQLite's code without the details in its upper bits.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i32>().ok().map(|code| code & 0xff)
}

/// Whether another connection has the lock.
pub(super) fn is_locked(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(BUSY | LOCKED))
}

const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const NOTADB: i32 = 26;

fn of_code(code: i32) -> Error {
    let lasting = |message| Error::new(ErrorKind::Unavailable, message);
    match code {
        BUSY | LOCKED => Error::unavailable(
            "the database is locked by another process for longer than the busy timeout; look for a transaction left open",
        ),
        FULL => Error::unavailable("the disk or the database is full; nothing was written; free some space"),
        IOERR => Error::unavailable("reading or writing the database file failed; look at the disk"),
        READONLY => {
            lasting("the database is read-only to this program; check the permissions of the file and its folder")
        }
        CANTOPEN => lasting(
            "the database file can't be opened; check that it and its folder are there and may be read and written",
        ),
        CORRUPT => Error::new(
            ErrorKind::Corrupt,
            "the database file is damaged; restore it from a backup, or save what is left with `sqlite3 <file> .recover`",
        ),
        NOTADB => {
            Error::new(ErrorKind::Corrupt, "the file is not an SQLite database; name another one, or move it away")
        }
        _ => lasting("a statement failed; does something else than taskwright change its tables?"),
    }
}

fn of_driver(error: &sqlx::Error) -> Error {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => {
            Error::unavailable("the connection to the database broke off")
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            Error::new(ErrorKind::Corrupt, "a column holds something that taskwright does not write there")
        }
        _ => Error::new(ErrorKind::Unavailable, "the database driver failed"),
    }
}

/// What every call after `close` gets.
pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the sqlite backend was closed; connect again to use it")
}
