//! What Redis's errors mean to a caller.

use redis::{ErrorKind as Cause, RedisError, ServerErrorKind};

use crate::error::{Error, ErrorKind};

/// The error of a call.
pub(super) fn fault(error: RedisError) -> Error {
    let meant = match error.kind() {
        Cause::AuthenticationFailed => of_code("WRONGPASS", &error),
        Cause::InvalidClientConfig => Error::invalid("the redis URL can't be used"),
        Cause::Io if error.is_timeout() => Error::unavailable("redis did not answer in time"),
        Cause::Io if is_unknown_host(&error) => {
            Error::unavailable("the host of the redis URL is not known; check its name")
        }
        Cause::Io if error.is_connection_refusal() => {
            Error::unavailable("redis accepts no connection; is it running, at this host and port?")
        }
        Cause::Io if is_untrusted(&error) => Error::new(
            ErrorKind::Unavailable,
            "no encrypted connection to redis came about; check its certificate, and whether it speaks TLS on this port",
        ),
        Cause::Io => Error::unavailable("the connection to redis broke off"),
        Cause::Parse | Cause::UnexpectedReturnType => Error::unavailable("what answered does not talk as redis does"),
        _ => of_code(&code_in(&error), &error),
    };
    meant.because(error)
}

/// Whether the connection has to be made anew before another try.
pub(super) fn is_broken(error: &RedisError) -> bool {
    matches!(error.kind(), Cause::Io | Cause::Parse | Cause::AuthenticationFailed)
        || error.is_unrecoverable_error()
        // A server that became a replica: its name may lead to the new master now.
        || error.kind() == Cause::Server(ServerErrorKind::ReadOnly)
}

fn is_unknown_host(error: &RedisError) -> bool {
    let text = error.to_string();
    text.contains("lookup address") || text.contains("No address found") || text.contains("nodename nor servname")
}

fn is_untrusted(error: &RedisError) -> bool {
    let text = error.to_string();
    text.contains("certificate") || text.contains("corrupt message")
}

/// The server's word for what went wrong. Inside a script the word stands in the message, where the server is older
/// than 7.
fn code_in(error: &RedisError) -> String {
    const INSIDE: [&str; 8] =
        ["OOM", "READONLY", "MISCONF", "NOREPLICAS", "MASTERDOWN", "NOPERM", "WRONGTYPE", "CROSSSLOT"];
    let code = error.code().unwrap_or_default();
    let detail = error.detail().unwrap_or_default();
    if detail.contains("user executing the script") {
        return "NOPERM".to_owned();
    }
    let inside = |word: &&&str| detail.contains(&format!("-{word} ")) || detail.contains(&format!("{word} "));
    match code {
        "" | "ERR" => (*INSIDE.iter().find(inside).unwrap_or(&code)).to_owned(),
        code => code.to_owned(),
    }
}

fn of_code(code: &str, error: &RedisError) -> Error {
    let lasting = |message: &str| Error::new(ErrorKind::Unavailable, message);
    match code {
        "WRONGPASS" | "NOAUTH" => {
            lasting("redis refuses the user or the password; check them in the URL: redis://user:password@host")
        }
        "NOPERM" => no_rights(&error.to_string()),
        "OOM" => Error::unavailable(
            "redis has used all of its maxmemory; nothing was written; raise it, or finish and prune jobs",
        ),
        "MISCONF" => Error::unavailable("redis can't save to its disk and takes no writes; look at its log"),
        "NOREPLICAS" => Error::unavailable("redis has fewer replicas than min-replicas-to-write and takes no writes"),
        "READONLY" => {
            Error::unavailable("this redis is a replica, which takes no writes; the URL has to name the primary")
        }
        "LOADING" => Error::unavailable("redis is still loading its data"),
        "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" => Error::unavailable("redis is not whole for the moment"),
        "BUSY" => Error::unavailable("redis is busy with a script that does not end"),
        "MOVED" | "ASK" => {
            Error::unavailable("the prefix's keys are on their way from one node of the cluster to another")
        }
        "CROSSSLOT" => lasting("redis keeps the prefix's keys in different slots, which is a defect in taskwright"),
        "WRONGTYPE" => Error::new(
            ErrorKind::Corrupt,
            "a key under the prefix is not of the type that taskwright gives it; delete it, or choose another prefix",
        ),
        _ => match error.detail() {
            Some(detail) if detail.contains("max number of clients") => {
                Error::unavailable("redis has as many clients as it may have")
            }
            Some(detail) if detail.contains("DB index is out of range") => {
                lasting("redis has no database of this number; name another one in the URL, or none")
            }
            _ => lasting("redis refused a command; is something else than taskwright using its keys?"),
        },
    }
}

/// The user may not do what it has to.
pub(super) fn no_rights(refusal: &str) -> Error {
    let message = "the redis user may not do this; its ACL has to allow keys and channels under the prefix, scripts, \
                   and their commands: `~{taskwright}:* &{taskwright}:* +@all -@admin`";
    Error::new(ErrorKind::Unavailable, message).because(refusal)
}

/// What every call after `close` gets.
pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the redis backend was closed; connect again to use it")
}

/// A script's answer that is not what it answers.
pub(super) fn strange() -> Error {
    Error::new(ErrorKind::Corrupt, "redis answered a script with something else than the script answers")
}
