//! A job as a message: the whole job in MessagePack, and what the broker must know in properties.

use std::time::Duration;

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};

use super::topology::{Place, Rung, Topology};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{Job, JobId, JobSpec};
use crate::time::Timestamp;

/// Milliseconds that a message has still to wait once it reaches the queue of its jobs.
const LEFT: &str = "taskwright-left";

/// A message on its way to the broker.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// Where it goes next.
    pub(super) place: Place,
    /// By which it is routed: the name of the queue where it can be claimed.
    pub(super) key: String,
    pub(super) body: Vec<u8>,
    pub(super) properties: BasicProperties,
}

impl Message {
    /// A job that can be claimed once `wait` has passed.
    pub(super) fn waiting(topology: &Topology, job: &Job, wait: Duration) -> Result<Self> {
        let jobs = Place::Jobs(job.spec.queue.clone());
        let key = topology.queue(&jobs);
        let (place, left) = match wait {
            Duration::ZERO => (jobs, Duration::ZERO),
            wait => {
                let (rung, left) = Rung::of(wait);
                (Place::Wait(rung), left)
            }
        };
        let mut properties = properties(job);
        if !left.is_zero() {
            let mut headers = FieldTable::default();
            let left = i64::try_from(left.as_millis().max(1)).unwrap_or(i64::MAX);
            headers.insert(LEFT.into(), AMQPValue::LongLongInt(left));
            properties = properties.with_headers(headers);
        }
        Ok(Self { place, key, body: encode(job)?, properties })
    }

    /// The id of a job that a store knows.
    pub(super) fn id(topology: &Topology, spec: &JobSpec) -> Self {
        let place = Place::Ids(spec.queue.clone());
        let priority = Topology::level(spec.priority);
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT).with_priority(priority);
        Self { key: topology.queue(&place), place, body: spec.id.as_bytes().to_vec(), properties }
    }

    /// A job that was discarded.
    pub(super) fn dead(topology: &Topology, job: &Job) -> Result<Self> {
        let body = encode(job)?;
        Ok(Self { place: Place::Dead, key: topology.queue(&Place::Dead), body, properties: properties(job) })
    }

    /// What came as a message and can't be read, as it came.
    pub(super) fn unreadable(topology: &Topology, delivery: &Delivery) -> Self {
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        Self {
            place: Place::Dead,
            key: topology.queue(&Place::Dead),
            body: delivery.data.clone(),
            properties: properties.with_type("unreadable".into()),
        }
    }
}

const PERSISTENT: u8 = 2;

fn properties(job: &Job) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type("application/vnd.msgpack".into())
        .with_message_id(job.id().to_string().into())
        .with_type(job.spec.task.as_str().into())
        .with_priority(Topology::level(job.spec.priority))
}

fn encode(job: &Job) -> Result<Vec<u8>> {
    rmp_serde::to_vec_named(job).map_err(|error| Error::new(ErrorKind::Codec, "a job can't be written").because(error))
}

/// The id in a message, if it is one.
pub(super) fn id_in(delivery: &Delivery) -> Option<JobId> {
    <[u8; 16]>::try_from(&delivery.data[..]).ok().map(JobId::from_bytes)
}

/// The job in a message.
pub(super) fn read(delivery: &Delivery) -> Result<Job> {
    rmp_serde::from_slice(&delivery.data).map_err(|error| {
        let message = "a message holds no job that this version can read; did something else than taskwright send it?";
        Error::new(ErrorKind::Corrupt, message).because(error)
    })
}

/// How long a job that has arrived must still wait.
///
/// The broker counts, not this machine's clock, which only may find that it is time already.
pub(super) fn left_to_wait(delivery: &Delivery, job: &Job, now: Timestamp) -> Duration {
    let headers = delivery.properties.headers().as_ref();
    let left = match headers.and_then(|headers| headers.inner().get(LEFT)) {
        Some(AMQPValue::LongLongInt(left)) => u64::try_from(*left).unwrap_or(0),
        _ => 0,
    };
    if job.due <= now { Duration::ZERO } else { Duration::from_millis(left) }
}
