//! The `Definition` of a task, as a constant expression.

use std::time::Duration;

use proc_macro2::{Ident, Literal, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::Attribute;
use syn::ext::IdentExt;
use syn::spanned::Spanned as _;

use crate::ast::{self, Derived, Execution, Task};
use crate::expand::{here, owned};
use crate::options::{Backoff, Options, Template};
use crate::parse::Spanned;
use crate::unique::{Conflict, Key, Unique, Until};

/// The definition of a function's task.
pub(crate) fn of_function(task: &Task<'_>) -> TokenStream {
    let hidden = quote!(__taskwright);
    let parameters = task.fields().map(|field| {
        let (name, written) = (field.payload_name(), field.written());
        if field.has_serde_attr() {
            return described(&name, &written);
        }
        let ty = owned(field, &hidden);
        quote_spanned!(here(field.ty.span())=> __taskwright::Parameter::of::<#ty>(#name, #written))
    });
    let state = task.states().map(|state| {
        let (name, ty) = (state.name(), state.ty);
        quote_spanned!(here(ty.span())=> __taskwright::StateNeed::of::<#ty>(#name))
    });
    let transaction = task.transaction().map(|transaction| {
        let (name, ty) = (transaction.name(), transaction.ty);
        quote_spanned!(here(ty.span())=> __taskwright::Some(__taskwright::TransactionNeed::of::<#ty>(#name)))
    });
    Definition {
        item: &task.function.sig.ident,
        attrs: &task.function.attrs,
        options: &task.options,
        execution: task.execution(),
        parameters: parameters.collect(),
        state: state.collect(),
        transaction,
    }
    .into_token_stream()
}

/// The definition of a struct that is a task.
pub(crate) fn of_struct(task: &Derived<'_>) -> TokenStream {
    let parameters = task
        .fields()
        .map(|(ident, field)| described(&ast::payload_name(&field.attrs, ident), &ast::type_text(&field.ty)));
    Definition {
        item: &task.input.ident,
        attrs: &task.input.attrs,
        options: &task.options,
        execution: task.execution(),
        parameters: parameters.collect(),
        state: Vec::new(),
        transaction: None,
    }
    .into_token_stream()
}

/// A parameter whose type is left to serde's judgement.
fn described(name: &str, type_name: &str) -> TokenStream {
    quote!(__taskwright::Parameter { name: #name, type_name: #type_name })
}

/// What goes into a definition.
struct Definition<'a> {
    item: &'a Ident,
    attrs: &'a [Attribute],
    options: &'a Options,
    execution: Execution,
    parameters: Vec<TokenStream>,
    state: Vec<TokenStream>,
    transaction: Option<TokenStream>,
}

impl ToTokens for Definition<'_> {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { parameters, state, .. } = self;
        let name = self.name();
        let aliases = self.options.aliases.iter().map(|alias| &alias.value);
        let options = asked(self.options, &name);
        let transaction = self.transaction.clone().unwrap_or_else(|| quote!(__taskwright::None));
        let execution = format_ident!("{}", self.execution.variant());
        let docs = ast::docs(self.attrs);
        tokens.extend(quote! {
            __taskwright::Definition {
                name: #name,
                aliases: &[#(#aliases),*],
                options: #options,
                parameters: &[#(#parameters),*],
                state: &[#(#state),*],
                transaction: #transaction,
                execution: __taskwright::Execution::#execution,
                docs: #docs,
                file: __taskwright::file!(),
                line: __taskwright::line!(),
            }
        });
    }
}

impl Definition<'_> {
    fn name(&self) -> TokenStream {
        if let Some(name) = &self.options.name {
            return name.value.to_token_stream();
        }
        let rest = format!("::{}", self.item.unraw());
        quote!(__taskwright::concat!(__taskwright::env!("CARGO_PKG_NAME"), #rest))
    }
}

/// The options that were written, over none.
fn asked(options: &Options, name: &TokenStream) -> TokenStream {
    let limit = options.limit.as_ref().map(|limit| {
        let (key, max, weight) = (key(limit.key.as_ref()), number(&limit.max), weight(limit.weight.as_ref()));
        quote!(__taskwright::LimitRule { key: #key, max: #max, weight: #weight })
    });
    let rate = options.rate.as_ref().map(|rate| {
        let (key, weight) = (key(rate.key.as_ref()), weight(rate.weight.as_ref()));
        let (count, per) = (number(&rate.count), duration(&rate.per));
        quote!(__taskwright::RateRule { key: #key, count: #count, per: #per, weight: #weight })
    });
    let fields = [
        ("queue", options.queue.as_ref().map(text)),
        ("priority", options.priority.as_ref().map(number)),
        ("max_attempts", options.max_attempts.as_ref().map(number)),
        ("backoff", options.backoff.as_ref().map(backoff)),
        ("timeout", options.timeout.as_ref().map(duration)),
        ("expires", options.expires.as_ref().map(duration)),
        ("keep_result", options.keep_result.as_ref().map(duration)),
        ("unique", options.unique.as_ref().map(|rule| unique(rule, name))),
        ("limit", limit),
        ("rate", rate),
    ];
    let mut written: Vec<TokenStream> = fields
        .into_iter()
        .filter_map(|(field, value)| {
            let (field, value) = (format_ident!("{field}"), value?);
            Some(quote!(#field: __taskwright::Some(#value)))
        })
        .collect();
    if !options.tags.is_empty() {
        let tags = options.tags.iter().map(text);
        written.push(quote!(tags: &[#(#tags),*]));
    }
    if written.is_empty() {
        return quote!(__taskwright::Options::NONE);
    }
    quote!(__taskwright::Options { #(#written,)* ..__taskwright::Options::NONE })
}

fn unique(rule: &Unique, name: &TokenStream) -> TokenStream {
    let key = match &rule.key {
        Key::Template(template) => text(&template.text),
        Key::By(parameters) => {
            let values: Vec<_> = parameters.iter().map(|parameter| format!("{{{}}}", parameter.value)).collect();
            let values = format!("({})", values.join(","));
            quote!(__taskwright::concat!(#name, #values))
        }
        Key::Task => quote!(__taskwright::concat!(#name, "()")),
    };
    if let (Until::Done, Conflict::Skip) = (rule.until, rule.conflict) {
        return quote!(__taskwright::UniqueRule::of(#key));
    }
    let until = match rule.until {
        Until::Done => quote!(Done),
        Until::Started => quote!(Started),
        Until::Elapsed(window) => {
            let window = duration(&window);
            quote!(Elapsed(#window))
        }
    };
    let conflict = match rule.conflict {
        Conflict::Skip => quote!(Skip),
        Conflict::Refuse => quote!(Refuse),
        Conflict::Replace { longest: None } => quote!(Replace(__taskwright::Replace::ALL)),
        Conflict::Replace { longest: Some(longest) } => {
            let longest = duration(&longest);
            quote! {
                Replace(__taskwright::Replace {
                    longest: __taskwright::Some(#longest),
                    ..__taskwright::Replace::ALL
                })
            }
        }
    };
    let wait = match &rule.wait {
        None => quote!(__taskwright::None),
        Some(wait) => {
            let wait = duration(wait);
            quote!(__taskwright::Some(#wait))
        }
    };
    quote! {
        __taskwright::UniqueRule {
            key: #key,
            until: __taskwright::Until::#until,
            conflict: __taskwright::OnConflict::#conflict,
            wait: #wait,
        }
    }
}

fn key(template: Option<&Template>) -> TokenStream {
    let text = template.map(|template| &template.text.value);
    text.map_or_else(|| quote!(__taskwright::None), |text| quote!(__taskwright::Some(#text)))
}

fn weight(weight: Option<&Spanned<i128>>) -> TokenStream {
    weight.map_or_else(|| quote!(1), number)
}

fn text(text: &Spanned<String>) -> TokenStream {
    text.value.to_token_stream()
}

fn number(number: &Spanned<i128>) -> TokenStream {
    let literal = Literal::u128_unsuffixed(number.value.unsigned_abs());
    if number.value < 0 { quote!(-#literal) } else { quote!(#literal) }
}

fn duration(duration: &Spanned<Duration>) -> TokenStream {
    let (seconds, nanos) = (duration.value.as_secs(), duration.value.subsec_nanos());
    let (seconds, nanos) = (Literal::u64_unsuffixed(seconds), Literal::u32_unsuffixed(nanos));
    quote!(__taskwright::Duration::new(#seconds, #nanos))
}

fn backoff(backoff: &Backoff) -> TokenStream {
    match backoff {
        Backoff::Fixed { delay } => {
            let delay = duration(delay);
            quote!(__taskwright::Backoff::fixed(#delay))
        }
        Backoff::Linear { step, max } => {
            let (step, max) = (duration(step), duration(max));
            quote!(__taskwright::Backoff::linear(#step, #max))
        }
        Backoff::Exponential { base, max } => {
            let (base, max) = (duration(base), duration(max));
            quote!(__taskwright::Backoff::exponential(#base, #max))
        }
    }
}
