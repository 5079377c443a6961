//! Reading what scripts answer.

use redis::Value;

use super::error::strange;
use crate::error::Result;
use crate::job::{JobId, Name};
use crate::time::Timestamp;

/// The parts of an answer that is a list of so many.
pub(super) fn parts<const COUNT: usize>(answer: Value) -> Result<[Value; COUNT]> {
    list(answer)?.try_into().map_err(|_| strange())
}

pub(super) fn list(answer: Value) -> Result<Vec<Value>> {
    match answer {
        Value::Array(parts) => Ok(parts),
        _ => Err(strange()),
    }
}

pub(super) fn bytes(answer: Value) -> Result<Vec<u8>> {
    match answer {
        Value::BulkString(bytes) => Ok(bytes),
        _ => Err(strange()),
    }
}

/// Bytes that a script leaves out as false, or as nothing.
pub(super) fn given(answer: Value) -> Result<Option<Vec<u8>>> {
    match answer {
        Value::Nil => Ok(None),
        answer => bytes(answer).map(|bytes| (!bytes.is_empty()).then_some(bytes)),
    }
}

pub(super) fn text(answer: Value) -> Result<String> {
    String::from_utf8(bytes(answer)?).map_err(|error| strange().because(error))
}

pub(super) fn integer(answer: &Value) -> Result<i64> {
    match answer {
        Value::Int(number) => Ok(*number),
        _ => Err(strange()),
    }
}

pub(super) fn count<T: TryFrom<i64>>(answer: &Value) -> Result<T> {
    integer(answer)?.try_into().map_err(|_| strange())
}

pub(super) fn moment(answer: &Value) -> Result<Timestamp> {
    integer(answer).map(Timestamp::from_micros)
}

pub(super) fn job_id(answer: Value) -> Result<JobId> {
    id(&bytes(answer)?)
}

pub(super) fn id(bytes: &[u8]) -> Result<JobId> {
    bytes.try_into().map(JobId::from_bytes).map_err(|_| strange())
}

pub(super) fn name(answer: Value) -> Result<Name> {
    Name::new(text(answer)?).map_err(|error| strange().because(error))
}
