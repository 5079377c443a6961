//! Is it allowed? One small function for each rule, its message beside it.

use std::fmt::Display;

use syn::ext::IdentExt;
use syn::visit::{self, Visit};
use syn::{Attribute, GenericParam, Generics, Ident, Lifetime, Meta, ReturnType, Safety, Signature, Type};

use crate::ast::{Derived, Kind, Parameter, Program, Task};
use crate::errors::Errors;
use crate::options::{Backoff, Isolation, Options, Template};
use crate::parse::Spanned;
use crate::unique::{Conflict, Key, Unique, Until};

/// The rules for a task's function.
pub(crate) fn function(task: &Task<'_>, errors: &Errors) {
    let sig = &task.function.sig;
    one_transaction(task, errors);
    no_qualifiers(sig, errors);
    no_generics(&sig.generics, errors);
    owned_return(sig, errors);
    for parameter in &task.parameters {
        known_attributes(parameter, errors);
        one_kind(parameter, errors);
        serde_on_payload_only(parameter, errors);
        plain_reference(parameter, &sig.generics, errors);
        sized_state(parameter, errors);
        lent_transaction(parameter, errors);
        Types { kind: parameter.kind, generics: &sig.generics, errors }.visit_type(parameter.ty);
    }
}

/// The rules for the options of a task's function.
pub(crate) fn function_options(task: &Task<'_>, errors: &Errors) {
    let fields: Vec<String> = task.fields().map(Parameter::name).collect();
    options(&task.options, &task.function.sig.ident, &fields, errors);
    thread_is_for_plain_functions(&task.options, task.is_async(), errors);
}

/// The rules for a struct that is a task.
pub(crate) fn derived(task: &Derived<'_>, errors: &Errors) {
    no_generics(&task.input.generics, errors);
    let fields: Vec<String> = task.fields().map(|(ident, _)| ident.unraw().to_string()).collect();
    options(&task.options, &task.input.ident, &fields, errors);
    thread_is_for_plain_functions(&task.options, true, errors);
}

/// The rules for a program's wiring function.
pub(crate) fn program(program: &Program<'_>, errors: &Errors) {
    let sig = &program.function.sig;
    if sig.asyncness.is_none() {
        errors.at(sig.fn_token, "the wiring function is async: write `async fn`");
    }
    if sig.inputs.len() != 1 {
        errors.push(syn::Error::new(
            sig.paren_token.span.join(),
            "the wiring function takes one parameter, the program to be wired: `app: App`",
        ));
    }
    if let ReturnType::Default = sig.output {
        errors.at(&sig.ident, "the wiring function returns the wired program: `-> anyhow::Result<App>`");
    }
    if !sig.generics.params.is_empty() {
        errors.at(&sig.generics, "the wiring function can't be generic; nothing says for which type it would run");
    }
}

fn options(options: &Options, item: &Ident, fields: &[String], errors: &Errors) {
    usable_default_name(options, item, errors);
    for name in options.name.iter().chain(&options.aliases).chain(&options.queue) {
        usable_name(name, errors);
    }
    distinct_names(options, errors);
    for tag in &options.tags {
        not_empty(tag, errors);
    }
    if let Some(priority) = &options.priority {
        in_range(priority, "a priority", i16::MIN.into(), i16::MAX.into(), errors);
    }
    let limit = options.limit.as_ref().map(|limit| &limit.max);
    let rate = options.rate.as_ref().map(|rate| &rate.count);
    let limit_weight = options.limit.as_ref().and_then(|limit| limit.weight.as_ref());
    let rate_weight = options.rate.as_ref().and_then(|rate| rate.weight.as_ref());
    for count in options.max_attempts.iter().chain(limit).chain(rate).chain(limit_weight).chain(rate_weight) {
        in_range(count, "a count", 1, u32::MAX.into(), errors);
    }
    let per = options.rate.as_ref().map(|rate| &rate.per);
    for duration in options.timeout.iter().chain(&options.expires).chain(per) {
        not_zero(duration, errors);
    }
    if let Some(backoff) = &options.backoff {
        growing(backoff, errors);
    }
    if let Some(unique) = &options.unique {
        usable_unique(unique, fields, errors);
    }
    for template in options.templates() {
        not_empty(&template.text, errors);
        known_parameters(template, fields, errors);
    }
}

/// A message at the place of a value.
fn refuse<T>(value: &Spanned<T>, message: impl Display, errors: &Errors) {
    errors.push(syn::Error::new(value.span, message));
}

fn no_qualifiers(sig: &Signature, errors: &Errors) {
    if let Some(token) = &sig.constness {
        errors.at(token, "a task runs on a worker and can't be `const`; remove it");
    }
    if let Safety::Unsafe(token) = &sig.safety {
        errors.at(
            token,
            "a worker can't keep the promises that an unsafe function asks for; keep `unsafe` inside the body",
        );
    }
    if let Some(abi) = &sig.abi {
        errors.at(abi, "a task is called by a worker, not from C; remove `extern`");
    }
    if let Some(variadic) = &sig.variadic {
        errors.at(variadic, "a task's parameters are its payload and each needs a name; take a `Vec` instead");
    }
}

/// A name on a queue leads to one function, so that there is nobody to choose a type.
fn no_generics(generics: &Generics, errors: &Errors) {
    for param in &generics.params {
        match param {
            GenericParam::Lifetime(param) => errors.at(
                param,
                "a task can't have a named lifetime, as its payload travels and outlives every borrow; write `&T`, or an owned type",
            ),
            param => errors.at(
                param,
                "a task can't be generic, as its name on the queue stands for one type; write one task for each type",
            ),
        }
    }
    if let Some(clause) = &generics.where_clause {
        errors.at(clause.where_token, "a task has no `where` clause, as it has nothing generic; remove it");
    }
}

fn owned_return(sig: &Signature, errors: &Errors) {
    let ReturnType::Type(_, ty) = &sig.output else { return };
    if let Type::Never(never) = &**ty {
        errors.at(never, "a task that never ends never completes; return `()` or a `Result`");
        return;
    }
    Returned { generics: &sig.generics, errors }.visit_type(ty);
}

fn known_attributes(parameter: &Parameter<'_>, errors: &Errors) {
    const KNOWN: [&str; 11] =
        ["state", "ctx", "tx", "serde", "cfg", "cfg_attr", "doc", "allow", "expect", "warn", "deny"];
    for attr in parameter.attrs {
        if !KNOWN.iter().any(|name| attr.path().is_ident(name)) {
            errors.at(
                attr,
                "unknown attribute on a task's parameter; there are `#[state]`, `#[ctx]`, `#[tx]`, `#[serde(..)]` and `#[cfg(..)]`",
            );
        }
    }
}

fn one_kind(parameter: &Parameter<'_>, errors: &Errors) {
    let marks: Vec<&Attribute> = parameter.attrs.iter().filter(|attr| crate::ast::is_mark(attr)).collect();
    if let [_, second, ..] = marks[..] {
        errors.at(
            second,
            "a parameter has one source: `#[state]` from the worker, `#[ctx]` for the context, `#[tx]` for the transaction, none for the payload",
        );
    }
    for mark in marks {
        if !matches!(mark.meta, Meta::Path(_)) {
            errors.at(mark, "this attribute takes no arguments; the parameter's type says what is meant");
        }
    }
}

fn serde_on_payload_only(parameter: &Parameter<'_>, errors: &Errors) {
    if parameter.kind == Kind::Payload {
        return;
    }
    for attr in parameter.attrs.iter().filter(|attr| attr.path().is_ident("serde")) {
        errors.at(attr, "`#[serde(..)]` is for payload parameters; the worker provides this one");
    }
}

fn plain_reference(parameter: &Parameter<'_>, generics: &Generics, errors: &Errors) {
    let Some(reference) = parameter.reference else { return };
    if let Some(mutability) = &reference.mutability {
        match parameter.kind {
            Kind::Payload => errors.at(mutability, "a task owns its payload and lends no `&mut`; write `mut name: T`"),
            Kind::State => {
                errors.at(
                    mutability,
                    "state is shared by all running tasks; take `&T` and keep what changes behind a lock",
                );
            }
            Kind::Context => errors.at(mutability, "a context is lent as `&Context`; remove `mut`"),
            Kind::Transaction => {}
        }
    }
    if let Some(lifetime) = &reference.lifetime
        && !declares(generics, lifetime)
    {
        errors.at(lifetime, "a task lends its parameters for one attempt; write `&T` without a lifetime");
    }
}

/// The worker commits what it lends.
fn lent_transaction(parameter: &Parameter<'_>, errors: &Errors) {
    let is_lent = parameter.reference.is_some_and(|reference| reference.mutability.is_some());
    if parameter.kind == Kind::Transaction && !is_lent {
        errors.at(
            parameter.ty,
            "a transaction is lent, as the worker commits it with the job; write `&mut` before its type",
        );
    }
}

fn one_transaction(task: &Task<'_>, errors: &Errors) {
    let mut transactions = task.parameters.iter().filter(|parameter| parameter.kind == Kind::Transaction);
    let first = transactions.next();
    for second in transactions {
        errors.at(second.ident, "a task completes in one transaction; remove this one");
    }
    if first.is_some()
        && let None = task.function.sig.asyncness
    {
        errors.at(task.function.sig.fn_token, "a task that writes in a transaction awaits it; write `async fn`");
    }
    if first.is_some()
        && let Some(isolate) = &task.options.isolate
        && isolate.value == Isolation::Process
    {
        refuse(
            isolate,
            "a process of its own can't write in a transaction of its worker; remove this, or the `#[tx]` parameter",
            errors,
        );
    }
}

fn sized_state(parameter: &Parameter<'_>, errors: &Errors) {
    let unsized_type = matches!(parameter.ty, Type::TraitObject(_) | Type::Slice(_));
    if parameter.kind == Kind::State && unsized_type {
        errors.at(parameter.ty, "state is found by a type of known size; write `&Box<..>` or `&Arc<..>` around it");
    }
}

/// What a parameter's type may not have in it.
struct Types<'a> {
    kind: Kind,
    generics: &'a Generics,
    errors: &'a Errors,
}

impl<'ast> Visit<'ast> for Types<'_> {
    fn visit_type(&mut self, ty: &'ast Type) {
        match ty {
            Type::ImplTrait(ty) => {
                let message = "a task's parameter needs a type that a worker can decode; name one instead of `impl`";
                self.errors.at(ty.impl_token, message);
            }
            Type::Reference(ty) if self.kind == Kind::Payload => self.errors.at(
                ty.and_token,
                "a borrow inside a type can't travel in a payload; write the owned type, such as `String` for `&str`",
            ),
            Type::Infer(ty) => self.errors.at(ty, "a task's parameter needs a type that is written out"),
            ty => visit::visit_type(self, ty),
        }
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if self.kind == Kind::Payload && lifetime.ident != "static" && !declares(self.generics, lifetime) {
            self.errors.at(lifetime, "a payload outlives every borrow; write an owned type, or `'static`");
        }
    }
}

/// What a return type may not have in it.
struct Returned<'a> {
    generics: &'a Generics,
    errors: &'a Errors,
}

impl<'ast> Visit<'ast> for Returned<'_> {
    fn visit_type(&mut self, ty: &'ast Type) {
        match ty {
            Type::ImplTrait(ty) => {
                self.errors.at(
                    ty.impl_token,
                    "a task's result is stored, which needs a type with a name; write it instead of `impl`",
                );
            }
            Type::Reference(ty) if ty.lifetime.is_none() => {
                self.errors.at(
                    ty.and_token,
                    "a task's result outlives its parameters; return an owned type, such as `String` for `&str`",
                );
            }
            ty => visit::visit_type(self, ty),
        }
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if lifetime.ident != "static" && !declares(self.generics, lifetime) {
            self.errors.at(lifetime, "a task's result outlives its parameters; return an owned type, or `'static`");
        }
    }
}

/// A lifetime that the function declares has been refused there.
fn declares(generics: &Generics, lifetime: &Lifetime) -> bool {
    generics.lifetimes().any(|param| param.lifetime == *lifetime)
}

fn thread_is_for_plain_functions(options: &Options, is_async: bool, errors: &Errors) {
    if let Some(isolate) = &options.isolate
        && isolate.value == Isolation::Thread
        && is_async
    {
        refuse(
            isolate,
            "an async task runs on the executor; for a thread write a plain `fn`, for a process `isolate = \"process\"`",
            errors,
        );
    }
}

fn usable_default_name(options: &Options, item: &Ident, errors: &Errors) {
    if options.name.is_none() && !item.unraw().to_string().is_ascii() {
        errors.at(item, "a task's name on the queue is of A-Z a-z 0-9 . _ : -; add `name = \"..\"`");
    }
}

fn usable_name(name: &Spanned<String>, errors: &Errors) {
    let text = &name.value;
    let fits = (1..=128).contains(&text.len());
    if !fits || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte)) {
        refuse(
            name,
            format!("`{text}` is not a name for a queue or task; use 1 to 128 characters of A-Z a-z 0-9 . _ : -"),
            errors,
        );
    }
}

fn distinct_names(options: &Options, errors: &Errors) {
    let mut seen: Vec<&str> = options.name.iter().map(|name| name.value.as_str()).collect();
    for alias in &options.aliases {
        if seen.contains(&alias.value.as_str()) {
            refuse(alias, format!("the task is called `{}` already; remove this alias", alias.value), errors);
        }
        seen.push(&alias.value);
    }
}

fn not_empty(text: &Spanned<String>, errors: &Errors) {
    if text.value.is_empty() {
        refuse(text, "this text is empty; remove it, or write something", errors);
    }
}

fn in_range(number: &Spanned<i128>, what: &str, least: i128, most: i128, errors: &Errors) {
    if !(least..=most).contains(&number.value) {
        refuse(number, format!("{what} is from {least} to {most}"), errors);
    }
}

fn not_zero(duration: &Spanned<std::time::Duration>, errors: &Errors) {
    if duration.value.is_zero() {
        refuse(duration, "a time of zero would let nothing run; remove the option for no bound", errors);
    }
}

fn growing(backoff: &Backoff, errors: &Errors) {
    let (first, max) = match backoff {
        Backoff::Fixed { .. } => return,
        Backoff::Linear { step: first, max } | Backoff::Exponential { base: first, max } => (first, max),
    };
    if first.value.is_zero() {
        refuse(first, "a wait of zero never grows; write `fixed(\"0s\")` to retry at once", errors);
    }
    if max.value < first.value {
        refuse(max, "the longest wait is shorter than the first", errors);
    }
}

fn usable_unique(unique: &Unique, fields: &[String], errors: &Errors) {
    match &unique.key {
        Key::Template(_) => {}
        Key::By(parameters) => {
            for (place, parameter) in parameters.iter().enumerate() {
                known_parameter(&parameter.value, parameter, fields, errors);
                if parameters[..place].iter().any(|earlier| earlier.value == parameter.value) {
                    refuse(parameter, format!("`{}` is named twice", parameter.value), errors);
                }
            }
        }
        Key::Task if fields.is_empty() => {}
        Key::Task => {
            let message =
                "which jobs are equal? write `key = \"..{parameter}..\"`, or `by(..)` with the parameters that count";
            errors.push(syn::Error::new(unique.span, message));
        }
    }
    let window = match unique.until {
        Until::Elapsed(window) => Some(window),
        Until::Done | Until::Started => None,
    };
    let longest = match unique.conflict {
        Conflict::Replace { longest } => longest,
        Conflict::Skip | Conflict::Refuse => None,
    };
    for time in window.iter().chain(&unique.wait) {
        if time.value.is_zero() {
            refuse(time, "a time of zero keeps nothing apart", errors);
        }
    }
    if let (Some(wait), Some(longest)) = (unique.wait, longest)
        && longest.value < wait.value
    {
        refuse(&longest, "the longest wait is shorter than the usual one", errors);
    }
}

fn known_parameters(template: &Template, fields: &[String], errors: &Errors) {
    for name in template.parameters() {
        known_parameter(name, &template.text, fields, errors);
    }
}

fn known_parameter(name: &str, place: &Spanned<String>, fields: &[String], errors: &Errors) {
    if fields.iter().any(|field| field == name) {
        return;
    }
    let known = match fields {
        [] => "the task has none".to_owned(),
        fields => {
            format!("there are {}", fields.iter().map(|field| format!("`{field}`")).collect::<Vec<_>>().join(", "))
        }
    };
    refuse(place, format!("`{name}` is not a payload parameter; {known}"), errors);
}
