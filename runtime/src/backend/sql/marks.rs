//! Values as marks, one each, for dialects without arrays: `?` for a value, `IN (?, ?)` for a list of two.

use std::borrow::Cow;

use super::record::{FinishedRecord, Record};
use super::tables::{Value, marks};

/// A statement that takes its values one after the other.
pub(super) trait Marked: Sized {
    fn integer(self, value: Option<i64>) -> Self;
    fn real(self, value: f64) -> Self;
    fn text(self, value: &str) -> Self;
    fn bytes(self, value: Option<&[u8]>) -> Self;
}

/// Writes as many marks into `?..` as its list has values, up to the next power of two: few different lengths, so that
/// each statement is compiled once.
pub(super) fn with_lists(sql: Cow<'static, str>, values: &[Value<'_>]) -> Cow<'static, str> {
    let lengths = values.iter().filter_map(|value| match value {
        Value::Ids(ids) => Some(ids.len()),
        Value::Integers(numbers) => Some(numbers.len()),
        Value::Texts(texts) => Some(texts.len()),
        _ => None,
    });
    lengths.fold(sql, |sql, length| sql.replacen("?..", &marks(length.next_power_of_two()), 1).into())
}

/// Binds a value, or all of a list.
pub(super) fn bind<Statement: Marked>(statement: Statement, value: &Value<'_>) -> Statement {
    match *value {
        Value::Integer(integer) => statement.integer(Some(integer)),
        Value::MaybeInteger(integer) => statement.integer(integer),
        Value::Real(real) => statement.real(real),
        Value::Text(text) | Value::MaybeText(Some(text)) => statement.text(text),
        Value::MaybeText(None) => statement.bytes(None),
        Value::Bytes(bytes) => statement.bytes(Some(bytes)),
        Value::MaybeBytes(bytes) => statement.bytes(bytes),
        Value::Id(id) => statement.bytes(Some(id)),
        Value::Ids(ids) => bind_list(statement, ids, |statement, id| statement.bytes(Some(id.as_bytes()))),
        Value::Integers(integers) => {
            bind_list(statement, integers, |statement, integer| statement.integer(Some(*integer)))
        }
        Value::Texts(texts) => bind_list(statement, texts, |statement, text| statement.text(text)),
    }
}

/// Binds the values of a list; the last one fills the room that is left.
fn bind_list<Statement, T>(
    mut statement: Statement,
    values: &[T],
    bind: impl Fn(Statement, &T) -> Statement,
) -> Statement {
    let room = values.len().next_power_of_two();
    let last = values.last();
    for value in values.iter().chain(std::iter::repeat_n(last, room - values.len()).flatten()) {
        statement = bind(statement, value);
    }
    statement
}

/// Binds the columns of a waiting job.
pub(super) fn bind_record<Statement: Marked>(statement: Statement, record: &Record) -> Statement {
    bind_columns(statement, &record.id, &record.payload, record)
}

/// Binds the columns of a waiting job with this in place of its id and its payload.
pub(super) fn bind_columns<Statement: Marked>(
    statement: Statement,
    id: &[u8],
    payload: &[u8],
    record: &Record,
) -> Statement {
    statement
        .bytes(Some(id))
        .text(&record.queue)
        .integer(Some(record.priority))
        .integer(Some(record.due))
        .integer(record.expires)
        .text(&record.task)
        .integer(Some(record.attempt))
        .integer(Some(record.attempt_limit))
        .integer(Some(record.crashes))
        .integer(Some(record.retry))
        .integer(Some(record.pushed))
        .integer(Some(record.codec))
        .bytes(Some(payload))
        .bytes(record.extras.as_deref())
}

/// Binds the columns of a waiting job where it waits.
pub(super) fn bind_waiting<Statement: Marked>(statement: Statement, record: &Record) -> Statement {
    let statement = bind_record(statement, record);
    match &record.limited {
        None => statement,
        Some(limited) => statement.text(&limited.lane).bytes(limited.weights.as_deref()),
    }
}

/// Binds the columns of a finished job.
pub(super) fn bind_finished<Statement: Marked>(statement: Statement, record: &FinishedRecord) -> Statement {
    bind_record(statement, &record.job).text(&record.state).integer(Some(record.finished)).integer(Some(record.ends))
}
