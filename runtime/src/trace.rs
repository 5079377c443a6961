//! Where a job comes from: W3C trace context, carried in its headers from dispatch to run, and the names of span fields.
//!
//! A dispatch made inside a trace writes `traceparent` and `tracestate` headers; the worker that runs the job goes on
//! with that trace, and what the task dispatches belongs to it too.
//!
//! # Span fields
//!
//! Every span and event about a job uses these names, and they stay what they are:
//!
//! | field | what it is |
//! |---|---|
//! | `job.id` | the job's id |
//! | `job.task` | the task's wire name |
//! | `job.queue` | the queue the job came from |
//! | `job.attempt` | which attempt this is, from 1 |
//! | `trace_id` | the W3C trace that the attempt belongs to |
//! | `span_id` | the attempt's own place in that trace |
//! | `worker.id` | the worker that runs it |
//! | `backend` | the store's name, on spans of its operations |

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::sync::{Arc, PoisonError, RwLock};

use tracing::Span;

use crate::chance;
use crate::error::{Error, Result};
use crate::job::JobSpec;

/// The header that says which trace a job belongs to.
pub const TRACEPARENT: &str = "traceparent";
/// The header in which tracing systems carry what is their own.
pub const TRACESTATE: &str = "tracestate";

/// A place in a distributed trace, as the [W3C recommendation](https://www.w3.org/TR/trace-context/) writes it.
///
/// ```
/// use taskwright::trace::TraceContext;
///
/// let caller = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")?;
/// assert!(caller.is_sampled());
/// let child = caller.child();
/// assert_eq!(child.trace_id(), caller.trace_id());
/// assert_ne!(child.span_id(), caller.span_id());
/// assert_eq!(TraceContext::parse(&child.to_string())?, child);
/// # Ok::<(), taskwright::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: NonZeroU128,
    span_id: NonZeroU64,
    flags: u8,
    state: Option<Arc<str>>,
}

tokio::task_local! {
    static CURRENT: TraceContext;
}

const SAMPLED: u8 = 0b01;
const RANDOM: u8 = 0b10;

impl TraceContext {
    /// The start of a new trace, sampled.
    #[must_use]
    pub fn root() -> Self {
        Self { trace_id: random_trace_id(), span_id: random_span_id(), flags: SAMPLED | RANDOM, state: None }
    }

    /// Another place in the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span_id: random_span_id(), ..self.clone() }
    }

    /// Reads the text of a `traceparent` header, of this version of the recommendation or a later one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when it is not one.
    pub fn parse(traceparent: &str) -> Result<Self> {
        parse(traceparent).ok_or_else(|| {
            let shown: String = traceparent.chars().take(80).collect();
            Error::invalid(format!(
                "`{}` is not a traceparent; it looks like `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`",
                shown.escape_debug()
            ))
        })
    }

    /// Adds the text of a `tracestate` header; one that is malformed or too long to pass on is left out.
    #[must_use]
    pub fn with_state(mut self, tracestate: &str) -> Self {
        self.state = is_tracestate(tracestate).then(|| tracestate.into());
        self
    }

    /// The trace's id: 32 hexadecimal digits when displayed with `{:032x}`.
    #[must_use]
    pub fn trace_id(&self) -> u128 {
        self.trace_id.get()
    }

    /// The id of this place in the trace: 16 hexadecimal digits when displayed with `{:016x}`.
    #[must_use]
    pub fn span_id(&self) -> u64 {
        self.span_id.get()
    }

    /// Whether the caller may have recorded this trace.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// What tracing systems carry along.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The trace that a dispatch made here would join: what the [source](set_source) says, else the scope's.
    #[must_use]
    pub fn current() -> Option<Self> {
        let source = SOURCE.read().unwrap_or_else(PoisonError::into_inner).clone();
        source.and_then(|source| source()).or_else(|| CURRENT.try_with(Self::clone).ok())
    }

    /// Runs `future` in this place of the trace, where there is no [source](set_source) that says otherwise.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(self.clone(), future)
    }

    /// Runs `work`, which may not await, in this place of the trace.
    pub fn scope_sync<R>(&self, work: impl FnOnce() -> R) -> R {
        CURRENT.sync_scope(self.clone(), work)
    }

    /// What a job's headers say; `None` when they say nothing, or nothing that can be read.
    #[must_use]
    pub fn from_headers(headers: &BTreeMap<String, String>) -> Option<Self> {
        let context = parse(headers.get(TRACEPARENT)?)?;
        Some(match headers.get(TRACESTATE) {
            Some(state) => context.with_state(state),
            None => context,
        })
    }

    /// The place in which an attempt runs: below whoever dispatched the job, else at the start of a trace.
    #[must_use]
    pub fn of_attempt(headers: &BTreeMap<String, String>) -> Self {
        Self::from_headers(headers).map_or_else(Self::root, |dispatched| dispatched.child())
    }

    /// Writes it to a job's headers, unless they name a trace already.
    pub fn write_headers(&self, headers: &mut BTreeMap<String, String>) {
        if headers.contains_key(TRACEPARENT) {
            return;
        }
        headers.insert(TRACEPARENT.to_owned(), self.to_string());
        if let Some(state) = &self.state {
            headers.insert(TRACESTATE.to_owned(), state.to_string());
        }
    }
}

/// Writes the text of a `traceparent` header.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

/// Where the current trace context comes from.
type Source = Arc<dyn Fn() -> Option<TraceContext> + Send + Sync>;

static SOURCE: RwLock<Option<Source>> = RwLock::new(None);

/// Takes the trace context of dispatches from a tracing system, for the whole process; a later source replaces it.
///
/// With OpenTelemetry, the source reads the current span's context:
///
/// ```
/// use taskwright::trace::{self, TraceContext};
/// # struct Propagated { traceparent: String, tracestate: String }
/// # fn inject_current_span() -> Option<Propagated> { None }
///
/// trace::set_source(|| {
///     let carrier = inject_current_span()?; // what the propagator wrote
///     Some(TraceContext::parse(&carrier.traceparent).ok()?.with_state(&carrier.tracestate))
/// });
/// ```
pub fn set_source(source: impl Fn() -> Option<TraceContext> + Send + Sync + 'static) {
    *SOURCE.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(source));
}

/// The span around one attempt, with the fields that this module promises.
pub(crate) fn attempt_span(spec: &JobSpec, attempt: u32, trace: &TraceContext) -> Span {
    tracing::info_span!(
        "job",
        otel.name = %spec.task,
        otel.kind = "consumer",
        job.id = %spec.id,
        job.task = %spec.task,
        job.queue = %spec.queue,
        job.attempt = attempt,
        trace_id = format_args!("{:032x}", trace.trace_id),
        span_id = format_args!("{:016x}", trace.span_id),
    )
}

/// `version-trace_id-span_id-flags`, all in lower-case hexadecimal; a later version may have more after that.
fn parse(text: &str) -> Option<TraceContext> {
    const LENGTH: usize = 55;
    let known = text.get(..LENGTH)?;
    let [version, trace_id, span_id, flags] = known.split('-').collect::<Vec<_>>().try_into().ok()?;
    let lengths = [version.len(), trace_id.len(), span_id.len(), flags.len()];
    let version = hex(version)?;
    let may_end_here = text.len() == LENGTH || (version > 0 && text.as_bytes()[LENGTH] == b'-');
    if lengths != [2, 32, 16, 2] || version == 0xff || !may_end_here {
        return None;
    }
    // Flags that this version does not know are not passed on.
    let flags = u8::try_from(hex(flags)?).ok()? & (SAMPLED | RANDOM);
    Some(TraceContext {
        trace_id: NonZeroU128::new(hex(trace_id)?)?,
        span_id: NonZeroU64::new(u64::try_from(hex(span_id)?).ok()?)?,
        flags,
        state: None,
    })
}

fn hex(digits: &str) -> Option<u128> {
    let lower_case = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if lower_case { u128::from_str_radix(digits, 16).ok() } else { None }
}

/// At most 32 members `key=value` in at most 512 printable characters; empty members are allowed between commas.
fn is_tracestate(text: &str) -> bool {
    let members: Vec<_> = text.split(',').map(str::trim).filter(|member| !member.is_empty()).collect();
    text.len() <= 512 && (1..=32).contains(&members.len()) && members.into_iter().all(is_tracestate_member)
}

fn is_tracestate_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let key_fits =
        key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte));
    let value_fits = value.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=');
    key_fits && (1..=256).contains(&key.len()) && value_fits && (1..=256).contains(&value.len())
}

fn random_trace_id() -> NonZeroU128 {
    NonZeroU128::new((u128::from(chance::bits()) << 64) | u128::from(chance::bits())).unwrap_or(NonZeroU128::MIN)
}

fn random_span_id() -> NonZeroU64 {
    NonZeroU64::new(chance::bits()).unwrap_or(NonZeroU64::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_survives_reading_and_writing() {
        assert_eq!(TraceContext::parse(GOOD).unwrap().to_string(), GOOD);
        let root = TraceContext::root();
        assert_eq!(TraceContext::parse(&root.to_string()).unwrap(), root);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = GOOD.replacen("00-", "01-", 1);
        for text in [later.clone(), format!("{later}-what-comes-next")] {
            assert_eq!(TraceContext::parse(&text).unwrap().to_string(), GOOD, "{text}");
        }
    }

    #[test]
    fn malformed_traceparents_are_refused() {
        let cases = [
            String::new(),
            "hello".to_owned(),
            GOOD.to_uppercase(),
            GOOD[1..].to_owned(),
            format!("{GOOD}-more"),
            format!("{GOOD}1"),
            GOOD.replacen("00-", "ff-", 1),
            GOOD.replacen("00-", "01-", 1) + "x",
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace("-01", "-+1"),
            GOOD.replace('-', "_"),
            "é".repeat(28),
        ];
        for text in cases {
            assert!(TraceContext::parse(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn unknown_flags_are_not_passed_on() {
        let context = TraceContext::parse(&GOOD.replace("-01", "-ff")).unwrap();
        assert!(context.is_sampled());
        assert!(context.to_string().ends_with("-03"));
    }

    #[test]
    fn a_malformed_tracestate_is_left_out() {
        let with = |state: &str| TraceContext::root().with_state(state).state().map(str::to_owned);
        let good = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";
        assert_eq!(with(good).as_deref(), Some(good));
        let too_many = (0..33).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        for bad in
            ["", "novalue", "UPPER=1", "a=b=c", "a=", "=b", "a=\u{e9}", &too_many, &format!("a={}", "x".repeat(600))]
        {
            assert_eq!(with(bad), None, "{bad}");
        }
    }

    #[test]
    fn headers_carry_it_and_an_explicit_one_stands() {
        let context = TraceContext::parse(GOOD).unwrap().with_state("rojo=1");
        let mut headers = BTreeMap::new();
        context.write_headers(&mut headers);
        TraceContext::root().write_headers(&mut headers);
        assert_eq!(TraceContext::from_headers(&headers), Some(context.clone()));
        let attempt = TraceContext::of_attempt(&headers);
        assert_eq!((attempt.trace_id(), attempt.state()), (context.trace_id(), Some("rojo=1")));
        assert_ne!(attempt.span_id(), context.span_id());
    }

    #[tokio::test]
    async fn the_scope_says_which_trace_is_current() {
        let context = TraceContext::root();
        let inside = context.scope(async { TraceContext::current() }).await;
        assert_eq!(inside, Some(context.clone()));
        assert_eq!(context.scope_sync(TraceContext::current), Some(context));
    }
}
