//! What the broker's errors mean to a caller.

use lapin::protocol::AMQPError;

use crate::error::{Error, ErrorKind};

/// AMQP's codes, where they mean something to a user.
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
pub(super) const RESOURCE_LOCKED: u16 = 405;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// The error of a call on an open connection.
pub(super) fn fault(error: lapin::Error) -> Error {
    let meaning = match error.kind() {
        lapin::ErrorKind::ProtocolError(answer) => of_answer(answer),
        lapin::ErrorKind::ChannelsLimitReached => lasting(
            "the broker allows no more channels on this connection; a worker needs one for each of its queues and two more",
        ),
        lapin::ErrorKind::InvalidProtocolVersion(_) | lapin::ErrorKind::AuthProviderError(_) => {
            lasting("the broker speaks another protocol than AMQP 0-9-1; check the port of the URL")
        }
        lapin::ErrorKind::SerialisationError(_) => lasting("a message can't be written as AMQP"),
        _ => Error::unavailable("the connection to the broker broke off"),
    };
    meaning.because(error)
}

/// The error of opening a connection.
pub(super) fn refused(error: lapin::Error) -> Error {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(answer) => match answer.get_id() {
            ACCESS_REFUSED => lasting("the broker refuses this user or password; check the setting `url`"),
            NOT_ALLOWED => lasting(
                "the broker has no such virtual host, or this user may not use it; check the path of the URL (`/` is written %2f) and `rabbitmqctl list_permissions`",
            ),
            _ => of_answer(answer),
        }
        .because(error),
        lapin::ErrorKind::IOError(_) | lapin::ErrorKind::MissingHeartbeatError => {
            Error::unavailable("the broker can't be reached; is it running, and are host and port of the URL right?")
                .because(error)
        }
        _ => fault(error),
    }
}

fn of_answer(answer: &AMQPError) -> Error {
    let text = answer.get_message();
    match answer.get_id() {
        ACCESS_REFUSED => lasting(&format!(
            "the broker refuses what this user may not do ({text}); it needs to configure, write and read the queues and exchanges of its prefix and amq.gen-*"
        )),
        PRECONDITION_FAILED if text.as_str().contains("timed out") => Error::unavailable(
            "the broker took back jobs that were held for longer than its consumer_timeout; raise it in rabbitmq.conf, or split the task",
        ),
        PRECONDITION_FAILED if text.as_str().contains("inequivalent") => lasting(&format!(
            "a queue or exchange exists that was declared otherwise ({text}); delete it when it is empty, or choose another prefix in the URL (`?prefix=`)"
        )),
        NOT_FOUND => Error::unavailable(format!("a queue or exchange is gone ({text}); it is declared again")),
        RESOURCE_LOCKED => {
            lasting(&format!("a queue belongs to another connection alone ({text}); choose another prefix"))
        }
        _ if answer.kind().get_id() >= 500 => lasting(&format!("the broker refuses a command ({text})")),
        _ => Error::unavailable(format!("the broker ended the connection ({text})")),
    }
}

fn lasting(message: &str) -> Error {
    Error::new(ErrorKind::Unavailable, message)
}

/// What every call after `close` gets.
pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the rabbitmq backend was closed; connect again to use it")
}

/// What asks for more than messages alone can do.
pub(super) fn needs_a_store(what: &str) -> Error {
    let message =
        format!("rabbitmq {what}; name a second backend that keeps a record of its jobs in the setting `store_url`");
    Error::new(ErrorKind::Unsupported, message)
}
