//! What the errors of MySQL and MariaDB mean to a caller.

use sqlx::mysql::MySqlDatabaseError;

use crate::error::{Error, ErrorKind};

/// The error of a statement or a connection.
pub(super) fn fault(error: sqlx::Error) -> Error {
    let meaning = match number(&error) {
        Some(number) => of_number(number),
        None => of_driver(&error),
    };
    meaning.because(error)
}

/// The server's number for what went wrong.
fn number(error: &sqlx::Error) -> Option<u16> {
    Some(error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

const DEADLOCK: u16 = 1213;
const LOCK_WAIT_TIMEOUT: u16 = 1205;
const DUPLICATE: u16 = 1062;
/// MariaDB with `innodb_snapshot_isolation`: what was read has been changed since.
const CHANGED_SINCE_READ: u16 = 1020;

/// Whether another transaction was in the way: a deadlock, a lock that nobody let go of, a row that appeared meanwhile.
pub(super) fn is_in_the_way(error: &sqlx::Error) -> bool {
    matches!(number(error), Some(DEADLOCK | LOCK_WAIT_TIMEOUT | DUPLICATE | CHANGED_SINCE_READ))
}

/// Whether the server has taken back the whole transaction, and not only a statement.
pub(super) fn took_back_everything(error: &sqlx::Error) -> bool {
    matches!(number(error), Some(DEADLOCK | CHANGED_SINCE_READ))
}

fn of_number(number: u16) -> Error {
    let lasting = |message| Error::new(ErrorKind::Unavailable, message);
    match number {
        DEADLOCK | LOCK_WAIT_TIMEOUT | DUPLICATE | CHANGED_SINCE_READ => {
            Error::unavailable("other transactions were in the way again and again; try again later")
        }
        1045 | 1698 | 1862 => {
            lasting("the server refuses this user or password; correct the URL, or the user's grants on the server")
        }
        1049 => lasting("there is no such database on the server; create it, or name another one in the URL"),
        1046 => Error::invalid("the URL names no database; write `mysql://user:password@host/database`"),
        1044 | 1142 | 1143 | 1227 | 1370 => lasting(
            "the database user may not do this; grant it CREATE, ALTER, INDEX, SELECT, INSERT, UPDATE and DELETE on the database",
        ),
        1290 | 1792 | 1836 => Error::unavailable(
            "the server is read-only: a replica, or set so by read_only; name the primary in the URL",
        ),
        1050 | 1051 | 1054 | 1146 => lasting(
            "a table or column of taskwright is not there or another one; was it dropped or changed? connecting again creates what is missing",
        ),
        1021 | 1114 | 3 | 28 | 1041 => {
            Error::unavailable("the server's disk or memory is full; nothing was written; free some space")
        }
        1040 | 1203 | 1226 => {
            Error::unavailable("the server has too many connections; raise its max_connections, or use a proxy")
        }
        1053 | 1077 | 1079 | 1080 | 1152 | 1153 | 1156..=1161 | 1927 | 4031 => {
            Error::unavailable("the server broke off: it stops, starts, or closed the connection")
        }
        1317 | 1969 | 3024 => Error::unavailable("the server cancelled the statement; look at its time limits"),
        1034 | 1194 | 1195 | 1877 => {
            Error::new(ErrorKind::Corrupt, "the server found a table damaged; look at its log")
        }
        _ => lasting("a statement failed; does something else than taskwright change its tables?"),
    }
}

fn of_driver(error: &sqlx::Error) -> Error {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::PoolTimedOut => {
            Error::unavailable("the server can't be reached, or the connection broke off")
        }
        sqlx::Error::Tls(_) => Error::new(
            ErrorKind::Unavailable,
            "no encrypted connection came about; check `ssl-mode` in the URL, the certificates, and the feature `tls` of taskwright",
        ),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            Error::new(ErrorKind::Corrupt, "a column holds something that taskwright does not write there")
        }
        sqlx::Error::Configuration(_) => Error::invalid("the URL is not one of a MySQL or MariaDB server"),
        _ => Error::unavailable("the database driver failed"),
    }
}

/// What every call after `close` gets.
pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the mysql backend was closed; connect again to use it")
}
