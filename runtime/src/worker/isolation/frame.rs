//! What a worker and a child say to each other: MessagePack behind its length.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::codec::Payload;
use crate::job::{FailureKind, JobSpec, Progress};
use crate::task::Reaction;

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Run this attempt.
    Run(Call),
    /// The attempt should stop.
    Cancel,
}

/// One attempt.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) spec: Arc<JobSpec>,
    pub(super) attempt: u32,
    pub(super) attempt_limit: u32,
    /// How long it may take from now on.
    pub(super) time_left: Option<Duration>,
    /// Its place in the trace, as W3C headers: `traceparent`, `tracestate`.
    pub(super) trace: Option<(String, Option<String>)>,
}

/// What a child says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// It is wired and waits for a job.
    Ready,
    /// How far the task is.
    Progress(Progress),
    /// The attempt has ended.
    Ended(Ended),
}

/// How an attempt ended in a child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Ended {
    Returned(Option<Payload>),
    /// The task, its payload or its result was at fault.
    Failed {
        kind: FailureKind,
        reaction: Reaction,
        message: String,
        causes: Vec<String>,
    },
    /// It panicked, with this message.
    Panicked(String),
}

/// A length that nothing honest reaches: the stream is out of step.
const MOST: usize = 1 << 30;

fn pack<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    rmp_serde::encode::write_named(&mut bytes, message).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len() - 4).ok().filter(|length| *length as usize <= MOST);
    let Some(length) = length else { return Err(io::Error::other("a message is too large for its process")) };
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(bytes)
}

/// Room for a message whose length was read.
fn room(length: [u8; 4]) -> io::Result<Vec<u8>> {
    let length = u32::from_be_bytes(length) as usize;
    if length > MOST { Err(io::Error::other("a message is longer than any can be")) } else { Ok(vec![0; length]) }
}

fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    rmp_serde::from_slice(bytes).map_err(io::Error::other)
}

pub(super) async fn send<T: Serialize>(stream: &mut (impl AsyncWrite + Unpin), message: &T) -> io::Result<()> {
    stream.write_all(&pack(message)?).await
}

/// Not cancel safe: what was read of a message is lost with the future.
pub(super) async fn receive<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let mut bytes = room(length)?;
    stream.read_exact(&mut bytes).await?;
    unpack(&bytes)
}

/// As [`send`], on a thread.
pub(super) fn send_now<T: Serialize>(mut stream: impl Write, message: &T) -> io::Result<()> {
    stream.write_all(&pack(message)?)
}

/// As [`receive`], on a thread.
pub(super) fn receive_now<T: DeserializeOwned>(mut stream: impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut bytes = room(length)?;
    stream.read_exact(&mut bytes)?;
    unpack(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_they_were_sent_and_nothing_else_is_taken_for_one() {
        let mut stream = Vec::new();
        send_now(&mut stream, &Order::Cancel).unwrap();
        send_now(&mut stream, &Report::Ended(Ended::Panicked("oh".to_owned()))).unwrap();
        let mut rest = &*stream;
        assert!(matches!(receive_now(&mut rest).unwrap(), Order::Cancel));
        let Report::Ended(Ended::Panicked(message)) = receive_now(&mut rest).unwrap() else { panic!() };
        assert_eq!((message.as_str(), rest.len()), ("oh", 0));
        for broken in [&stream[..3], &stream[..5], &[0xff; 8][..], &[0, 0, 0, 1, 0xc1][..]] {
            assert!(receive_now::<Order>(broken).is_err(), "{broken:?}");
        }
    }
}
