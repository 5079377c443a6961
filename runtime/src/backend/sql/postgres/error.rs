//! What Postgres's errors mean to a caller.

use crate::error::{Error, ErrorKind};

/// The error of a statement or a connection.
pub(super) fn fault(error: sqlx::Error) -> Error {
    let meaning = match state(&error) {
        Some(state) => of_state(&state),
        None => of_driver(&error),
    };
    meaning.because(error)
}

/// The server's code for what went wrong, five letters or digits.
fn state(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Whether another transaction was in the way: a serialization failure, a deadlock, a row that appeared meanwhile.
pub(super) fn is_in_the_way(error: &sqlx::Error) -> bool {
    state(error).is_some_and(|state| matches!(&*state, "40001" | "40P01" | "23505"))
}

/// Whether a lock was not to be had within `lock_timeout`.
pub(super) fn waited_in_vain(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    cause.and_then(state).is_some_and(|state| state == "55P03")
}

fn of_state(state: &str) -> Error {
    let lasting = |message| Error::new(ErrorKind::Unavailable, message);
    match state {
        "28P01" | "28000" => {
            lasting("the server refuses this user or password; correct the URL, or the server's pg_hba.conf")
        }
        "3D000" => lasting("there is no such database on the server; create it, or name another one in the URL"),
        "42501" => lasting(
            "the database user may not do this; grant it CREATE on the database, or USAGE on the schema and all rights on its tables",
        ),
        // Another try may reach another server: after a failover, this one may be the old one.
        "25006" => Error::unavailable(
            "the server is read-only: a replica, or set so by default_transaction_read_only; name the primary in the URL",
        ),
        "40001" | "40P01" | "23505" => {
            Error::unavailable("other transactions were in the way again and again; try again later")
        }
        "42P01" | "42703" | "42883" | "3F000" => lasting(
            "a table or column of taskwright is not there; was its schema dropped or changed? connecting again creates what is missing",
        ),
        "42P07" => lasting(
            "a table that taskwright would create is there already and not its own; name another schema with `?schema=NAME`",
        ),
        "53100" => Error::unavailable("the server's disk is full; nothing was written; free some space"),
        "53300" => {
            Error::unavailable("the server has too many connections; raise its max_connections, or use a pooler")
        }
        "57014" => Error::unavailable("the server cancelled the statement; look at its statement_timeout"),
        "26000" | "42P05" => lasting(
            "a pooler mixed up prepared statements; if it pools transactions, say so in the URL with `?pooler=transaction`",
        ),
        "22021" => Error::invalid("the server takes no text with a zero byte or in another encoding than UTF-8"),
        _ => match &state[..2] {
            "08" | "57" | "58" => Error::unavailable("the server broke off: it stops, starts, or crashed"),
            "53" => Error::unavailable("the server ran out of memory or other resources"),
            "55" => Error::unavailable("something in the database is locked or not ready"),
            "XX" => Error::new(ErrorKind::Corrupt, "the server found its data damaged; look at its log"),
            _ => lasting("a statement failed; does something else than taskwright change its tables?"),
        },
    }
}

fn of_driver(error: &sqlx::Error) -> Error {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::PoolTimedOut => {
            Error::unavailable("the server can't be reached, or the connection broke off")
        }
        sqlx::Error::Tls(_) => Error::new(
            ErrorKind::Unavailable,
            "no encrypted connection came about; check `sslmode` in the URL, the certificates, and the feature `tls` of taskwright",
        ),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            Error::new(ErrorKind::Corrupt, "a column holds something that taskwright does not write there")
        }
        sqlx::Error::Configuration(_) => Error::invalid("the URL is not one of a Postgres server"),
        _ => Error::unavailable("the database driver failed"),
    }
}

/// What every call after `close` gets.
pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the postgres backend was closed; connect again to use it")
}
