//! What the options mean: each value with its type and its place.

use std::fmt::Display;
use std::time::Duration;

use quote::ToTokens;
use syn::spanned::Spanned as _;
use syn::{Ident, Lit, Path};

use crate::errors::Errors;
use crate::parse::{Argument, Call, Entries, Entry, Literal, Spanned, Value};
use crate::unique::{self, Key, Unique};

/// Which macro the options belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Function,
    Struct,
    Main,
}

impl Place {
    /// The options that may stand here, in the order of the documentation.
    pub(crate) fn keys(self) -> &'static [&'static str] {
        const KEYS: [&str; 18] = [
            "name",
            "aliases",
            "queue",
            "priority",
            "max_attempts",
            "backoff",
            "timeout",
            "expires",
            "keep_result",
            "unique",
            "limit",
            "rate",
            "isolate",
            "tags",
            "crate",
            "struct",
            "retry_if",
            "",
        ];
        match self {
            Self::Function => &KEYS[..17],
            Self::Struct => &KEYS[..15],
            Self::Main => &KEYS[14..15],
        }
    }
}

/// The options of an attribute, as far as they are of the right type.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) aliases: Vec<Spanned<String>>,
    pub(crate) struct_name: Option<Ident>,
    pub(crate) krate: Option<Path>,
    pub(crate) queue: Option<Spanned<String>>,
    pub(crate) priority: Option<Spanned<i128>>,
    pub(crate) max_attempts: Option<Spanned<i128>>,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) timeout: Option<Spanned<Duration>>,
    pub(crate) expires: Option<Spanned<Duration>>,
    pub(crate) keep_result: Option<Spanned<Duration>>,
    pub(crate) unique: Option<Unique>,
    pub(crate) limit: Option<Limit>,
    pub(crate) rate: Option<Rate>,
    pub(crate) isolate: Option<Spanned<Isolation>>,
    pub(crate) tags: Vec<Spanned<String>>,
    pub(crate) retry_if: Option<Path>,
}

#[derive(Clone, Copy)]
pub(crate) enum Backoff {
    Fixed { delay: Spanned<Duration> },
    Linear { step: Spanned<Duration>, max: Spanned<Duration> },
    Exponential { base: Spanned<Duration>, max: Spanned<Duration> },
}

/// Without a key it is the task's own, by its name.
pub(crate) struct Limit {
    pub(crate) key: Option<Template>,
    pub(crate) max: Spanned<i128>,
    pub(crate) weight: Option<Spanned<i128>>,
}

/// Without a key it is the task's own, by its name.
pub(crate) struct Rate {
    pub(crate) key: Option<Template>,
    pub(crate) count: Spanned<i128>,
    pub(crate) per: Spanned<Duration>,
    pub(crate) weight: Option<Spanned<i128>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    Process,
    Thread,
}

/// A key with `{parameter}` in it.
#[derive(Clone)]
pub(crate) struct Template {
    pub(crate) text: Spanned<String>,
    pub(crate) pieces: Vec<Piece>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Parameter(String),
}

impl Options {
    /// Reads the entries; every value that is of the wrong type is a mistake of its own.
    pub(crate) fn new(entries: &Entries, place: Place, errors: &Errors) -> Self {
        let mut options = Self::default();
        let mut seen: Vec<&Ident> = Vec::new();
        for entry in &entries.0 {
            let key = &entry.key;
            if let Err(error) = known(key, place) {
                errors.push(error);
            } else if seen.contains(&key) {
                errors.at(key, format!("option `{key}` is given twice"));
            } else {
                seen.push(key);
                errors.take(options.set(entry));
            }
        }
        options
    }

    fn set(&mut self, Entry { key, value }: &Entry) -> syn::Result<()> {
        match key.to_string().as_str() {
            "name" => self.name = Some(text(value)?),
            "aliases" => self.aliases = texts(value)?,
            "struct" => self.struct_name = Some(ident(value)?),
            "crate" => self.krate = Some(crate_path(value)?),
            "queue" => self.queue = Some(text(value)?),
            "priority" => self.priority = Some(integer(value)?),
            "max_attempts" => self.max_attempts = Some(integer(value)?),
            "backoff" => self.backoff = Some(backoff(value)?),
            "timeout" => self.timeout = Some(duration(value)?),
            "expires" => self.expires = Some(duration(value)?),
            "keep_result" => self.keep_result = Some(duration_or_false(value)?),
            "unique" => self.unique = Some(unique::read(value)?),
            "limit" => self.limit = Some(limit(value)?),
            "rate" => self.rate = Some(rate(value)?),
            "isolate" => self.isolate = Some(isolation(value)?),
            "tags" => self.tags = texts(value)?,
            "retry_if" => self.retry_if = Some(path(value)?),
            // `known` has refused every other key.
            _ => {}
        }
        Ok(())
    }

    /// The keys with parameters in them, each with the option's name.
    pub(crate) fn templates(&self) -> impl Iterator<Item = &Template> {
        let limit = self.limit.as_ref().and_then(|limit| limit.key.as_ref());
        let rate = self.rate.as_ref().and_then(|rate| rate.key.as_ref());
        let unique = self.unique.as_ref().and_then(|unique| match &unique.key {
            Key::Template(template) => Some(template),
            Key::By(_) | Key::Task => None,
        });
        unique.into_iter().chain(limit).chain(rate)
    }
}

/// The path given as `crate = ..`, if it is one.
pub(crate) fn krate(entries: &Entries) -> Option<Path> {
    entries.0.iter().find(|entry| entry.key == "crate").and_then(|entry| crate_path(&entry.value).ok())
}

fn known(key: &Ident, place: Place) -> syn::Result<()> {
    let name = key.to_string();
    if place.keys().contains(&name.as_str()) {
        return Ok(());
    }
    if place == Place::Struct && name == "struct" {
        return refuse(key, "`struct` names what `#[task]` makes of a function; a derived task has its name already");
    }
    if place == Place::Struct && name == "retry_if" {
        return refuse(key, "`retry_if` is for functions; `impl Run` can return `TaskError::discard(..)`");
    }
    let valid = place.keys().iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
    refuse(key, format!("unknown option `{name}`; the options are {valid}"))
}

pub(crate) fn refuse<T>(tokens: impl ToTokens, message: impl Display) -> syn::Result<T> {
    Err(syn::Error::new_spanned(tokens, message))
}

pub(crate) fn spanned<T>(value: T, tokens: impl ToTokens) -> Spanned<T> {
    Spanned { value, span: tokens.span() }
}

pub(crate) fn text(value: &Value) -> syn::Result<Spanned<String>> {
    match value {
        Value::Literal(Literal { minus: None, lit: Lit::Str(lit) }) => Ok(spanned(lit.value(), lit)),
        _ => refuse(value, "expected a text in quotes"),
    }
}

fn texts(value: &Value) -> syn::Result<Vec<Spanned<String>>> {
    match value {
        Value::List(_, items) => items.iter().map(text).collect(),
        _ => refuse(value, "expected a list of texts: `[\"one\", \"two\"]`"),
    }
}

fn integer(value: &Value) -> syn::Result<Spanned<i128>> {
    if let Value::Literal(Literal { minus, lit: Lit::Int(lit) }) = value
        && let (Ok(number), "") = (lit.base10_parse::<i128>(), lit.suffix())
    {
        return Ok(spanned(if minus.is_some() { -number } else { number }, value));
    }
    refuse(value, "expected a whole number")
}

fn path(value: &Value) -> syn::Result<Path> {
    match value {
        Value::Path(path) => Ok(path.clone()),
        _ => refuse(value, "expected the path of a function: `retry_if = is_transient`"),
    }
}

fn ident(value: &Value) -> syn::Result<Ident> {
    match value {
        Value::Path(path) if let Some(ident) = path.get_ident() => Ok(ident.clone()),
        _ => refuse(value, "expected a name for the struct: `struct = SendReceipt`"),
    }
}

fn crate_path(value: &Value) -> syn::Result<Path> {
    match value {
        Value::Path(path) if path.leading_colon.is_some() => Ok(path.clone()),
        Value::Path(path) if path.segments.first().is_some_and(|first| first.ident == "crate") => Ok(path.clone()),
        _ => refuse(
            value,
            "expected a path that holds everywhere: `crate = ::taskwright` or `crate = crate::queue::taskwright`",
        ),
    }
}

fn isolation(value: &Value) -> syn::Result<Spanned<Isolation>> {
    let word = text(value).ok();
    match word.as_ref().map(|word| word.value.as_str()) {
        Some("process") => Ok(spanned(Isolation::Process, value)),
        Some("thread") => Ok(spanned(Isolation::Thread, value)),
        _ => refuse(value, "expected `\"process\"` or `\"thread\"`"),
    }
}

pub(crate) fn duration(value: &Value) -> syn::Result<Spanned<Duration>> {
    let written = match value {
        Value::Literal(Literal { minus: None, lit: Lit::Str(lit) }) => lit.value(),
        _ => {
            return refuse(
                value,
                "expected a duration in quotes: `\"250ms\"`, `\"30s\"`, `\"10m\"`, `\"2h\"`, `\"7d\"`",
            );
        }
    };
    match crate::duration::parse(&written) {
        Some(duration) => Ok(spanned(duration, value)),
        None => refuse(
            value,
            format!(
                "`{written}` is not a duration; write a number and a unit: `250ms`, `30s`, `10m`, `2h`, `7d`, or a sum like `1h30m`"
            ),
        ),
    }
}

fn duration_or_false(value: &Value) -> syn::Result<Spanned<Duration>> {
    match value {
        Value::Literal(Literal { lit: Lit::Bool(lit), .. }) if !lit.value => Ok(spanned(Duration::ZERO, lit)),
        Value::Literal(Literal { lit: Lit::Str(_), .. }) => duration(value),
        _ => refuse(value, "expected how long to keep the result, such as `\"1h\"`, or `false`"),
    }
}

fn backoff(value: &Value) -> syn::Result<Backoff> {
    const FORMS: &str =
        "expected `fixed(\"10s\")`, `linear(\"10s\", max = \"5m\")` or `exponential(\"2s\", max = \"1h\")`";
    let Value::Call(call) = value else { return refuse(value, FORMS) };
    match call.name.to_string().as_str() {
        "fixed" => {
            let [delay] = arguments(call, ["0"], FORMS)?;
            Ok(Backoff::Fixed { delay: duration(delay)? })
        }
        "linear" => {
            let [step, max] = arguments(call, ["0", "max"], FORMS)?;
            Ok(Backoff::Linear { step: duration(step)?, max: duration(max)? })
        }
        "exponential" => {
            let [base, max] = arguments(call, ["0", "max"], FORMS)?;
            Ok(Backoff::Exponential { base: duration(base)?, max: duration(max)? })
        }
        _ => refuse(&call.name, FORMS),
    }
}

fn limit(value: &Value) -> syn::Result<Limit> {
    const FORM: &str = "expected `limit(max = 5, key = \"customer-{customer}\")`; `key` and `weight` may be left out";
    let Value::Call(call) = value else { return refuse(value, FORM) };
    let ([max], [key, weight]) = arguments_and(call, ["max"], ["key", "weight"], FORM)?;
    Ok(Limit { key: key.map(template).transpose()?, max: integer(max)?, weight: weight.map(integer).transpose()? })
}

fn rate(value: &Value) -> syn::Result<Rate> {
    const FORM: &str =
        "expected `rate(100, per = \"1m\", key = \"customer-{customer}\")`; `key` and `weight` may be left out";
    let Value::Call(call) = value else { return refuse(value, FORM) };
    let ([count, per], [key, weight]) = arguments_and(call, ["0", "per"], ["key", "weight"], FORM)?;
    Ok(Rate {
        key: key.map(template).transpose()?,
        count: integer(count)?,
        per: duration(per)?,
        weight: weight.map(integer).transpose()?,
    })
}

/// The arguments of a call by these names, where `0` is the one without a name; each once, no others.
pub(crate) fn arguments<'a, const N: usize>(
    call: &'a Call,
    names: [&str; N],
    form: &str,
) -> syn::Result<[&'a Value; N]> {
    Ok(arguments_and(call, names, [], form)?.0)
}

/// The same, and those of further names that may be left out.
fn arguments_and<'a, const N: usize, const M: usize>(
    call: &'a Call,
    names: [&str; N],
    optional: [&str; M],
    form: &str,
) -> syn::Result<([&'a Value; N], [Option<&'a Value>; M])> {
    let known = |name: &str| names.contains(&name) || optional.contains(&name);
    let name_of = |argument: &Argument| argument.name.as_ref().map_or_else(|| "0".to_owned(), Ident::to_string);
    if let Some(stray) = call.arguments.iter().find(|argument| !known(&name_of(argument))) {
        return match &stray.name {
            Some(name) => refuse(name, form),
            None => refuse(&stray.value, form),
        };
    }
    let given_once = |name: &str| {
        let mut given = call.arguments.iter().filter(|argument| name_of(argument) == name);
        match (given.next(), given.next()) {
            (Some(argument), None) => Some(&argument.value),
            _ => None,
        }
    };
    let found: Vec<&Value> = names.iter().filter_map(|name| given_once(name)).collect();
    let count = |name: &str| call.arguments.iter().filter(|argument| name_of(argument) == name).count();
    if optional.iter().any(|name| count(name) > 1) {
        return refuse(&call.name, form);
    }
    let found = found.try_into().or_else(|_| refuse(&call.name, form))?;
    Ok((found, optional.map(given_once)))
}

/// A key with `{parameter}` in it; `{{` and `}}` stand for themselves.
pub(crate) fn template(value: &Value) -> syn::Result<Template> {
    const FORM: &str = "expected a key with parameters in it: `\"receipt-{order}\"`";
    let Ok(written) = text(value) else { return refuse(value, FORM) };
    match pieces(&written.value) {
        Some(pieces) => Ok(Template { text: written, pieces }),
        None => refuse(
            value,
            "a key may have `{parameter}` in it and nothing else in braces; a brace itself is doubled: `{{`",
        ),
    }
}

fn pieces(text: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let doubled = rest.starts_with("{{") || rest.starts_with("}}");
        if c != '{' && c != '}' || doubled {
            plain.push(c);
            rest = &rest[c.len_utf8() + usize::from(doubled)..];
            continue;
        }
        let (name, after) = rest.strip_prefix('{')?.split_once('}')?;
        syn::parse_str::<ParameterName>(name).ok()?;
        pieces.extend([Piece::Text(std::mem::take(&mut plain)), Piece::Parameter(name.to_owned())]);
        rest = after;
    }
    pieces.push(Piece::Text(plain));
    Some(pieces)
}

/// Any identifier, keywords too, since a parameter may be raw.
struct ParameterName;

impl syn::parse::Parse for ParameterName {
    fn parse(input: syn::parse::ParseStream<'_>) -> syn::Result<Self> {
        use syn::ext::IdentExt;
        input.call(Ident::parse_any).map(|_| Self)
    }
}
