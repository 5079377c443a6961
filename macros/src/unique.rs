//! What `unique` means: which jobs of a task are equal, and what becomes of the second one.

use std::time::Duration;

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::spanned::Spanned as _;

use crate::options::{Template, arguments, duration, refuse, spanned, template, text};
use crate::parse::{Argument, Call, Spanned, Value};

/// The rule that keeps equal jobs apart.
pub(crate) struct Unique {
    pub(crate) key: Key,
    pub(crate) until: Until,
    pub(crate) conflict: Conflict,
    /// How long a debounced job waits.
    pub(crate) wait: Option<Spanned<Duration>>,
    /// Where it is written.
    pub(crate) span: Span,
}

/// Which jobs are equal.
pub(crate) enum Key {
    Template(Template),
    /// Those with the same values of these parameters.
    By(Vec<Spanned<String>>),
    /// All of the task.
    Task,
}

/// How long a job has its unique key.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    Done,
    Started,
    Elapsed(Spanned<Duration>),
}

/// What happens when another job has the unique key.
#[derive(Clone, Copy)]
pub(crate) enum Conflict {
    Skip,
    Refuse,
    Replace { longest: Option<Spanned<Duration>> },
}

/// `unique = "key"`, or what is said in `unique(..)`: which jobs are equal, and what that means.
pub(crate) fn read(value: &Value) -> syn::Result<Unique> {
    const FORM: &str = "expected a key and what it means: `unique(key = \"receipt-{order}\")` or `unique(by(order))`, with \
        `within = \"10m\"` or `until = \"started\"`, `on_conflict = \"replace\"`, `debounce(\"5s\")`, `throttle(\"1m\")`";
    let Value::Call(call) = value else {
        let key = Key::Template(template(value)?);
        return Ok(Unique { key, until: Until::Done, conflict: Conflict::Skip, wait: None, span: value.span() });
    };
    let said = Said::new(call, FORM)?;
    let key = match (said.get("key"), said.get("by")) {
        (Some(_), Some(by)) => return refuse(by, "`key` and `by` both say which jobs are equal; keep one of them"),
        (Some(key), None) => Key::Template(template(key)?),
        (None, Some(by)) => Key::By(parameters(by)?),
        (None, None) => Key::Task,
    };
    let mut unique = Unique { key, until: Until::Done, conflict: Conflict::Skip, wait: None, span: call.name.span() };
    let named = [said.get("debounce"), said.get("throttle")].into_iter().flatten().next();
    let mut others = ["within", "until", "on_conflict", "throttle"].into_iter().filter_map(|name| said.get(name));
    if let Some(named) = named
        && let Some(other) = others.find(|other| !std::ptr::eq(*other, named))
    {
        return refuse(other, "`debounce` and `throttle` each say all of this; keep one of them alone");
    }
    if let (Some(_), Some(until)) = (said.get("within"), said.get("until")) {
        return refuse(until, "`within` and `until` both say how long the key is taken; keep one of them");
    }
    if let Some(within) = said.get("within") {
        unique.until = Until::Elapsed(duration(within)?);
    }
    if let Some(until) = said.get("until") {
        unique.until = until_of(until)?;
    }
    if let Some(conflict) = said.get("on_conflict") {
        unique.conflict = conflict_of(conflict)?;
    }
    if let Some(Value::Call(debounce)) = said.get("debounce") {
        const FORM: &str = "expected `debounce(\"5s\")` or `debounce(\"5s\", longest = \"1m\")`";
        let (wait, longest) = if let Ok([wait]) = arguments(debounce, ["0"], FORM) {
            (wait, None)
        } else {
            let [wait, longest] = arguments(debounce, ["0", "longest"], FORM)?;
            (wait, Some(duration(longest)?))
        };
        unique.wait = Some(duration(wait)?);
        unique.until = Until::Started;
        unique.conflict = Conflict::Replace { longest };
    }
    if let Some(Value::Call(throttle)) = said.get("throttle") {
        let [window] = arguments(throttle, ["0"], "expected `throttle(\"1m\")`")?;
        unique.until = Until::Elapsed(duration(window)?);
    }
    Ok(unique)
}

/// What stands in `unique(..)`, by name, each at most once.
struct Said<'a>(Vec<(String, &'a Value)>);

impl<'a> Said<'a> {
    fn new(call: &'a Call, form: &str) -> syn::Result<Self> {
        let mut said = Self(Vec::new());
        for Argument { name, value } in &call.arguments {
            let word = match (name, value) {
                (Some(name), _) => name,
                (None, Value::Call(call)) => &call.name,
                (None, value) => return refuse(value, form),
            };
            let is_call = name.is_none();
            let text = word.to_string();
            let known = if is_call {
                matches!(text.as_str(), "by" | "debounce" | "throttle")
            } else {
                matches!(text.as_str(), "key" | "within" | "until" | "on_conflict")
            };
            if !known {
                return refuse(word, form);
            }
            if said.get(&text).is_some() {
                return refuse(word, format!("`{text}` is given twice"));
            }
            said.0.push((text, value));
        }
        Ok(said)
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.iter().find(|(said, _)| said == name).map(|(_, value)| *value)
    }
}

/// The parameters named in `by(..)`.
fn parameters(value: &Value) -> syn::Result<Vec<Spanned<String>>> {
    const FORM: &str = "expected the names of parameters: `by(order, customer)`";
    let Value::Call(call) = value else { return refuse(value, FORM) };
    let parameter = |argument: &Argument| match argument {
        Argument { name: None, value: Value::Path(path) } if let Some(ident) = path.get_ident() => {
            Ok(spanned(ident.unraw().to_string(), ident))
        }
        Argument { value, .. } => refuse(value, FORM),
    };
    let parameters = call.arguments.iter().map(parameter).collect::<syn::Result<Vec<_>>>()?;
    if parameters.is_empty() { refuse(&call.name, FORM) } else { Ok(parameters) }
}

fn until_of(value: &Value) -> syn::Result<Until> {
    match text(value).ok().as_ref().map(|word| word.value.as_str()) {
        Some("done") => Ok(Until::Done),
        Some("started") => Ok(Until::Started),
        _ => refuse(value, "expected `\"done\"` or `\"started\"`; for a time write `within = \"10m\"`"),
    }
}

fn conflict_of(value: &Value) -> syn::Result<Conflict> {
    match text(value).ok().as_ref().map(|word| word.value.as_str()) {
        Some("skip") => Ok(Conflict::Skip),
        Some("replace") => Ok(Conflict::Replace { longest: None }),
        Some("refuse") => Ok(Conflict::Refuse),
        _ => refuse(value, "expected `\"skip\"`, `\"replace\"` or `\"refuse\"`"),
    }
}
