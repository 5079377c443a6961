//! What is emitted. It cannot fail and decides nothing.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned as _;
use syn::{Attribute, FnArg, Type};

use crate::ast::{self, Derived, Execution, Kind, Parameter, Program, Task};
use crate::options::{Backoff, Options, Template};
use crate::parse::Function;

/// The function as written, and its task beside it.
pub(crate) fn task(task: &Task<'_>) -> TokenStream {
    let function = function(task.function);
    let payload = payload(task);
    let implementation = implementation(task);
    quote! {
        #function
        #payload
        #implementation
    }
}

/// The function without the marks on its parameters, which only the macro understands.
pub(crate) fn function(function: &Function) -> TokenStream {
    let Function { attrs, vis, sig, body } = function;
    let mut sig = sig.clone();
    for input in &mut sig.inputs {
        if let FnArg::Typed(parameter) = input {
            parameter.attrs.retain(|attr| !is_ours(attr));
        }
    }
    quote!(#(#attrs)* #vis #sig #body)
}

/// Attributes that mean nothing to the compiler on a parameter.
fn is_ours(attr: &Attribute) -> bool {
    ast::is_mark(attr) || ["serde", "doc"].iter().any(|name| attr.path().is_ident(name))
}

fn payload(task: &Task<'_>) -> TokenStream {
    let hidden = task.runtime.hidden();
    let serde = task.runtime.serde();
    let Function { attrs, vis, sig, .. } = task.function;
    let name = &task.payload;
    let cfgs = cfgs(attrs);
    let docs = docs(attrs, &sig.ident);
    let fields = task.fields().map(|field| field_of(field, task));
    let arguments = task.fields().map(|field| argument(field, task));
    let values = task.fields().map(|field| value(field, task));
    quote! {
        #docs
        #(#cfgs)*
        #[derive(#hidden::serde::Serialize, #hidden::serde::Deserialize)]
        #[serde(crate = #serde)]
        #vis struct #name {
            #(#fields)*
        }

        #(#cfgs)*
        impl #name {
            /// The task with these parameters, to be dispatched.
            #[must_use = "a task is put on its queue by `.dispatch()`"]
            #vis fn new(#(#arguments),*) -> Self {
                Self { #(#values),* }
            }
        }
    }
}

fn docs(attrs: &[Attribute], function: &Ident) -> TokenStream {
    let docs: Vec<_> = attrs.iter().filter(|attr| attr.path().is_ident("doc")).collect();
    if docs.is_empty() {
        let text = format!("The task that runs [`{function}`].");
        return quote!(#[doc = #text]);
    }
    quote!(#(#docs)*)
}

fn cfgs(attrs: &[Attribute]) -> Vec<&Attribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect()
}

fn field_of(field: &Parameter<'_>, task: &Task<'_>) -> TokenStream {
    let Parameter { ident, attrs, .. } = field;
    let vis = &task.function.vis;
    let ty = field_type(field, task);
    let docs = (!field.is_documented()).then(|| {
        let text = format!("The parameter `{}` of [`{}`].", field.name(), task.function.sig.ident);
        quote!(#[doc = #text])
    });
    quote!(#docs #(#attrs)* #vis #ident: #ty,)
}

fn argument(field: &Parameter<'_>, task: &Task<'_>) -> TokenStream {
    let hidden = task.runtime.hidden();
    let ident = field.ident;
    let ty = field_type(field, task);
    if field.is_primitive() { quote!(#ident: #ty) } else { quote!(#ident: impl #hidden::Into<#ty>) }
}

fn value(field: &Parameter<'_>, task: &Task<'_>) -> TokenStream {
    let hidden = task.runtime.hidden();
    let ident = field.ident;
    if field.is_primitive() { quote!(#ident) } else { quote!(#ident: #hidden::Into::into(#ident)) }
}

/// The owned type of a payload parameter.
fn field_type(field: &Parameter<'_>, task: &Task<'_>) -> TokenStream {
    let hidden = task.runtime.hidden();
    let ty = field.ty;
    if field.lent && !field.is_primitive() {
        quote_spanned!(here(ty)=> <#ty as #hidden::ToOwned>::Owned)
    } else {
        quote!(#ty)
    }
}

/// The place of these tokens, with the names of the macro.
fn here(tokens: impl ToTokens) -> Span {
    Span::call_site().located_at(tokens.span())
}

fn implementation(task: &Task<'_>) -> TokenStream {
    let hidden = task.runtime.hidden();
    let name = &task.payload;
    let cfgs = cfgs(&task.function.attrs);
    let definition = definition(task);
    let unique_key = task.options.unique.as_ref().map(|template| unique_key(template, task));
    let output = task.output();
    let output_span = here_at(task.output_span());
    let output = quote_spanned!(output_span=> <#output as #hidden::TaskReturn>::Output);
    let run = run(task);
    let registration = registration(name, &hidden);
    quote! {
        #(#cfgs)*
        const _: () = {
            impl #hidden::Task for #name {
                type Output = #output;

                const DEFINITION: &'static #hidden::Definition = &#definition;

                #unique_key

                #run
            }

            #registration
        };
    }
}

fn registration(name: &Ident, hidden: &TokenStream) -> TokenStream {
    quote!(#hidden::inventory::submit! { #hidden::Registration::of::<#name>() })
}

fn here_at(span: Span) -> Span {
    Span::call_site().located_at(span)
}

fn run(task: &Task<'_>) -> TokenStream {
    let hidden = task.runtime.hidden();
    let ctx = Ident::new("ctx", Span::mixed_site());
    let function = &task.function.sig.ident;
    let lend_ctx = if task.is_async() { quote!(&#ctx) } else { quote!(#ctx) };
    let arguments = task.parameters.iter().map(|parameter| passed(parameter, task, &lend_ctx));
    let call = quote!(#function(#(#arguments),*));
    let body = if task.is_async() {
        finish(task, &quote!(#call.await))
    } else {
        let finished = finish(task, &call);
        quote!(#hidden::blocking(#ctx, move |#ctx| #finished).await)
    };
    let signature = quote_spanned! {here(function)=>
        async fn run(self, #ctx: #hidden::Context) -> #hidden::Result<Self::Output, #hidden::TaskError>
    };
    quote!(#signature { #body })
}

fn finish(task: &Task<'_>, returned: &TokenStream) -> TokenStream {
    let hidden = task.runtime.hidden();
    let span = here_at(task.output_span());
    match &task.options.retry_if {
        None => quote_spanned!(span=> #hidden::finish(#returned)),
        Some(path) => quote_spanned!(span=> #hidden::finish_if(#returned, #path)),
    }
}

/// What the function is given for a parameter.
fn passed(parameter: &Parameter<'_>, task: &Task<'_>, ctx: &TokenStream) -> TokenStream {
    let hidden = task.runtime.hidden();
    let Parameter { ident, ty, .. } = parameter;
    let name = parameter.name();
    let span = here(ty);
    match (parameter.kind, parameter.lent) {
        (Kind::Payload, false) => quote!(self.#ident),
        (Kind::Payload, true) if parameter.is_primitive() => quote!(&self.#ident),
        (Kind::Payload, true) => quote_spanned!(span=> #hidden::lend::<#ty>(&self.#ident)),
        (Kind::State, false) => quote_spanned!(span=> #hidden::state_clone::<#ty>(#ctx, #name)?),
        (Kind::State, true) => quote_spanned!(span=> #hidden::state::<#ty>(#ctx, #name)?),
        (Kind::Context, false) => quote!(#hidden::Clone::clone(#ctx)),
        (Kind::Context, true) => quote!(#ctx),
    }
}

fn unique_key(template: &Template, task: &Task<'_>) -> TokenStream {
    let fields: Vec<_> = task.fields().map(|field| (field.ident, field.ty)).collect();
    unique_key_of(template, &fields, &task.runtime.hidden())
}

/// Renders the key from the fields that it names.
fn unique_key_of(template: &Template, fields: &[(&Ident, &Type)], hidden: &TokenStream) -> TokenStream {
    let format = template.format();
    let named = template.parameters().filter_map(|name| fields.iter().find(|(ident, _)| ident.unraw() == name));
    let values = named.map(|(ident, ty)| quote_spanned!(here(ty)=> #hidden::key_part(&self.#ident)));
    quote! {
        fn unique_key(&self) -> #hidden::Option<#hidden::String> {
            #hidden::Some(#hidden::format!(#format, #(#values),*))
        }
    }
}

fn definition(task: &Task<'_>) -> TokenStream {
    let hidden = task.runtime.hidden();
    let parameters = task.fields().map(|field| {
        let (name, written) = (field.name(), field.ty);
        if field.has_serde_attr() {
            return described(&name, written, &hidden);
        }
        let ty = field_type(field, task);
        quote_spanned!(here(written)=> #hidden::Parameter::of::<#ty>(#name, #hidden::stringify!(#written)))
    });
    let state = task.states().map(|state| {
        let (name, ty) = (state.name(), state.ty);
        quote_spanned!(here(ty)=> #hidden::StateNeed::of::<#ty>(#name))
    });
    let function = task.function;
    definition_of(&function.sig.ident, &function.attrs, &task.options, task.execution(), parameters, state, &hidden)
}

/// A payload's part for people and tools; serde decides whether its type is fit for travel.
fn described(name: &str, ty: &Type, hidden: &TokenStream) -> TokenStream {
    quote!(#hidden::Parameter { name: #name, type_name: #hidden::stringify!(#ty) })
}

fn definition_of(
    item: &Ident,
    attrs: &[Attribute],
    options: &Options,
    execution: Execution,
    parameters: impl Iterator<Item = TokenStream>,
    state: impl Iterator<Item = TokenStream>,
    hidden: &TokenStream,
) -> TokenStream {
    let name = wire_name(options, item, hidden);
    let aliases = options.aliases.iter().map(|alias| &alias.value);
    let asked = asked(options, hidden);
    let execution = format_ident!("{execution:?}");
    let docs = ast::docs(attrs);
    quote! {
        #hidden::Definition {
            name: #name,
            aliases: &[#(#aliases),*],
            options: #asked,
            parameters: &[#(#parameters),*],
            state: &[#(#state),*],
            execution: #hidden::Execution::#execution,
            docs: #docs,
            file: #hidden::file!(),
            line: #hidden::line!(),
        }
    }
}

/// The implementation of a task that is written as a struct.
pub(crate) fn derived(task: &Derived<'_>) -> TokenStream {
    let hidden = task.runtime.hidden();
    let name = &task.input.ident;
    let parameters = task.fields.iter().map(|(ident, ty)| described(&ident.unraw().to_string(), ty, &hidden));
    let execution = task.execution();
    let none = std::iter::empty();
    let definition = definition_of(name, &task.input.attrs, &task.options, execution, parameters, none, &hidden);
    let unique_key = task.options.unique.as_ref().map(|template| unique_key_of(template, &task.fields, &hidden));
    let registration = registration(name, &hidden);
    let output = quote_spanned!(here(name)=> <Self as #hidden::Run>::Output);
    quote! {
        const _: () = {
            impl #hidden::Task for #name {
                type Output = #output;

                const DEFINITION: &'static #hidden::Definition = &#definition;

                #unique_key

                async fn run(self, ctx: #hidden::Context) -> #hidden::Result<Self::Output, #hidden::TaskError> {
                    #hidden::run_hooked(self, ctx).await
                }
            }

            #registration
        };
    }
}

/// The wiring function as written, and the `main` that runs the program with it.
pub(crate) fn program(program: &Program<'_>) -> TokenStream {
    let hidden = program.runtime.hidden();
    let Function { sig, .. } = program.function;
    let function = program.function;
    let wiring = &sig.ident;
    let run = quote! {
        #hidden::main(
            #hidden::Program { name: #hidden::env!("CARGO_PKG_NAME"), version: #hidden::env!("CARGO_PKG_VERSION") },
            #wiring,
        )
    };
    if program.is_called_main() {
        return quote! {
            fn main() -> #hidden::ExitCode {
                #function
                #run
            }
        };
    }
    quote! {
        #function

        fn main() -> #hidden::ExitCode {
            #run
        }
    }
}

fn wire_name(options: &Options, item: &Ident, hidden: &TokenStream) -> TokenStream {
    match &options.name {
        Some(name) => name.value.to_token_stream(),
        None => {
            let rest = format!("::{}", item.unraw());
            quote!(#hidden::concat!(#hidden::env!("CARGO_PKG_NAME"), #rest))
        }
    }
}

/// The options that were written, over none.
fn asked(options: &Options, hidden: &TokenStream) -> TokenStream {
    let mut set = Vec::new();
    let mut add = |field: &str, value: TokenStream| {
        let field = format_ident!("{field}");
        set.push(quote!(#field: #hidden::Some(#value),));
    };
    if let Some(queue) = &options.queue {
        add("queue", queue.value.to_token_stream());
    }
    if let Some(priority) = &options.priority {
        add("priority", number(priority.value));
    }
    if let Some(max_attempts) = &options.max_attempts {
        add("max_attempts", number(max_attempts.value));
    }
    if let Some(backoff) = &options.backoff {
        add("backoff", backoff_value(*backoff, hidden));
    }
    for (field, given) in
        [("timeout", &options.timeout), ("expires", &options.expires), ("keep_result", &options.keep_result)]
    {
        if let Some(given) = given {
            add(field, duration(given.value, hidden));
        }
    }
    if let Some(unique) = &options.unique {
        add("unique", unique.text.value.to_token_stream());
    }
    if let Some(limit) = &options.limit {
        let (key, max) = (&limit.key.text.value, number(limit.max.value));
        add("limit", quote!(#hidden::LimitRule { key: #key, max: #max }));
    }
    if let Some(rate) = &options.rate {
        let (key, count, per) = (&rate.key.text.value, number(rate.count.value), duration(rate.per.value, hidden));
        add("rate", quote!(#hidden::RateRule { key: #key, count: #count, per: #per }));
    }
    if !options.tags.is_empty() {
        let tags = options.tags.iter().map(|tag| &tag.value);
        set.push(quote!(tags: &[#(#tags),*],));
    }
    if set.is_empty() {
        return quote!(#hidden::Options::NONE);
    }
    quote!(#hidden::Options { #(#set)* ..#hidden::Options::NONE })
}

fn number(value: i128) -> TokenStream {
    // A negative literal is one token to the compiler's parser, and two to everybody else.
    let literal = Literal::u128_unsuffixed(value.unsigned_abs());
    if value < 0 { quote!(-#literal) } else { quote!(#literal) }
}

fn duration(value: std::time::Duration, hidden: &TokenStream) -> TokenStream {
    let (seconds, micros) = (value.as_secs(), value.subsec_micros());
    if micros == 0 {
        let seconds = Literal::u64_unsuffixed(seconds);
        return quote!(#hidden::Duration::from_secs(#seconds));
    }
    let nanos = Literal::u32_unsuffixed(value.subsec_nanos());
    let seconds = Literal::u64_unsuffixed(seconds);
    quote!(#hidden::Duration::new(#seconds, #nanos))
}

fn backoff_value(backoff: Backoff, hidden: &TokenStream) -> TokenStream {
    match backoff {
        Backoff::Fixed { delay } => {
            let delay = duration(delay.value, hidden);
            quote!(#hidden::Backoff::fixed(#delay))
        }
        Backoff::Linear { step, max } => {
            let (step, max) = (duration(step.value, hidden), duration(max.value, hidden));
            quote!(#hidden::Backoff::linear(#step, #max))
        }
        Backoff::Exponential { base, max } => {
            let (base, max) = (duration(base.value, hidden), duration(max.value, hidden));
            quote!(#hidden::Backoff::exponential(#base, #max))
        }
    }
}
