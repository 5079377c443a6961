//! What is emitted. It cannot fail and decides nothing: what there is to decide, the tree or the runtime has decided.
//!
//! Inside of `const _` the runtime's hidden module goes by the name `__taskwright`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned as _;
use syn::{Attribute, FnArg, Type};

use crate::ast::{self, Derived, Kind, Parameter, Program, Task};
use crate::definition;
use crate::options::{Options, Template};
use crate::parse::Function;
use crate::unique::{Key, Unique};

/// The function as written, the struct of its payload, and what makes that a task.
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

/// The function without the attributes on its parameters that the compiler would not understand.
pub(crate) fn function(function: &Function) -> TokenStream {
    let mut function = function.clone();
    for input in &mut function.sig.inputs {
        if let FnArg::Typed(parameter) = input {
            parameter.attrs.retain(|attr| !ast::is_mark(attr) && !ast::is_for_field(attr));
        }
    }
    function.into_token_stream()
}

fn payload(task: &Task<'_>) -> TokenStream {
    let Function { attrs, vis, sig, .. } = task.function;
    let function = here(sig.ident.span());
    let hidden = task.runtime.hidden_at(function);
    let cfgs = cfgs(attrs);
    let derive = derive(task);
    let docs = docs_or(attrs, function, || format!(" The task that runs [`{}()`].", sig.ident));
    let name = &task.payload;
    let fields = task.fields().map(|field| {
        // Serde's errors about a field point at its first token.
        let place = here(field.ty.span());
        let docs = docs_or(field.attrs, place, || format!(" The parameter `{}` of [`{}()`].", field.name(), sig.ident));
        let attrs = field.field_attrs();
        let ident = field.ident;
        let ty = owned(field, &hidden);
        quote!(#docs #(#attrs)* #vis #ident: #ty)
    });
    // Errors about the struct as a whole point at the function's name.
    quote_spanned! {function=>
        #docs
        #(#cfgs)*
        #derive
        #vis struct #name {
            #(#fields,)*
        }
    }
}

/// Serde's derive where serde is told how to treat a parameter; it takes the compiler several times as long as what
/// [`serde`] emits.
fn derive(task: &Task<'_>) -> Option<TokenStream> {
    let function = here(task.function.sig.ident.span());
    let hidden = task.runtime.hidden_at(function);
    let serde = task.runtime.serde();
    task.has_serde_attr().then(|| {
        quote_spanned! {function=>
            #[derive(#hidden::serde::Serialize, #hidden::serde::Deserialize)]
            #[serde(crate = #serde)]
        }
    })
}

/// How the payload is written and read: a list of its fields, which the runtime goes through.
fn serde(task: &Task<'_>) -> Option<TokenStream> {
    if task.has_serde_attr() {
        return None;
    }
    let payload = &task.payload;
    let name = payload.unraw().to_string();
    let fields: Vec<_> = task.fields().map(|field| field.ident).collect();
    let names: Vec<_> = task.fields().map(Parameter::name).collect();
    let slots: Vec<_> = fields.iter().map(|ident| slot(ident)).collect();
    let written = task.fields().map(|field| {
        let ident = field.ident;
        quote_spanned!(here(field.ty.span())=> &self.#ident)
    });
    let read = task.fields().zip(&slots).map(|(field, slot)| quote_spanned!(here(field.ty.span())=> &mut #slot));
    Some(quote! {
        impl __taskwright::serde::Serialize for #payload {
            fn serialize<S: __taskwright::serde::Serializer>(
                &self,
                serializer: S,
            ) -> __taskwright::Result<S::Ok, S::Error> {
                __taskwright::write_fields(serializer, #name, &[#((#names, #written)),*])
            }
        }

        impl<'de> __taskwright::serde::Deserialize<'de> for #payload {
            fn deserialize<D: __taskwright::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> __taskwright::Result<Self, D::Error> {
                #(let mut #slots = __taskwright::None;)*
                __taskwright::read_fields(deserializer, #name, &[#(#names),*], &mut [#(#read),*])?;
                __taskwright::Result::Ok(Self { #(#fields: __taskwright::filled_field(#slots)?),* })
            }
        }
    })
}

/// The variable that a field's value is read into. Hygienic, and no lint's business.
fn slot(field: &Ident) -> Ident {
    let mut slot = field.clone();
    slot.set_span(Span::mixed_site());
    slot
}

fn implementation(task: &Task<'_>) -> TokenStream {
    let hidden = task.runtime.hidden();
    let cfgs = cfgs(&task.function.attrs);
    let name = &task.payload;
    let new = new(task);
    let output = task.output();
    let output = quote_spanned!(here(task.output_span())=> <#output as __taskwright::TaskReturn>::Output);
    let definition = definition::of_function(task);
    let fields: Vec<_> = task.fields().map(|field| (field.ident, field.ty)).collect();
    let keys = keys(&task.options, &fields);
    let serde = serde(task);
    let run = run(task);
    let allow = task.is_deprecated().then(|| quote!(#[allow(deprecated)]));
    quote! {
        #(#cfgs)*
        #allow
        const _: () = {
            use #hidden as __taskwright;

            impl #name {
                #new
            }

            #serde

            impl __taskwright::Task for #name {
                type Output = #output;

                const DEFINITION: &'static __taskwright::Definition = &#definition;

                #keys

                #run
            }

            __taskwright::inventory::submit! { __taskwright::Registration::of::<#name>() }
        };
    }
}

/// A constructor that converts, except from literals to numbers, where `Into` leaves the type of the literal open.
fn new(task: &Task<'_>) -> TokenStream {
    let vis = &task.function.vis;
    let hidden = quote!(__taskwright);
    let arguments = task.fields().map(|field| {
        let (ident, ty) = (field.ident, owned(field, &hidden));
        if field.is_primitive() { quote!(#ident: #ty) } else { quote!(#ident: impl __taskwright::Into<#ty>) }
    });
    let values = task.fields().map(|field| {
        let ident = field.ident;
        if field.is_primitive() { quote!(#ident) } else { quote!(#ident: __taskwright::Into::into(#ident)) }
    });
    quote! {
        /// The task with these parameters, to be dispatched.
        #[must_use = "a task does nothing before it is dispatched"]
        #vis fn new(#(#arguments),*) -> Self {
            Self { #(#values),* }
        }
    }
}

fn run(task: &Task<'_>) -> TokenStream {
    // Hygienic, so that a function of that name is not shadowed.
    let ctx = Ident::new("ctx", Span::mixed_site());
    let place = here(task.function.sig.ident.span());
    let returned = here(task.output_span());
    let output = quote_spanned!(returned=> Self::Output);
    let body = if task.is_async() {
        let called = call(task, &quote!(&#ctx));
        let finished = finish(task, &quote_spanned!(returned=> #called.await));
        let begun = task.transaction().map(|_| {
            let transaction = transaction();
            quote!(let mut #transaction = __taskwright::begin(&#ctx).await?;)
        });
        quote_spanned!(place=> __taskwright::Box::pin(async move { #begun #finished }))
    } else {
        let finished = finish(task, &call(task, &quote!(#ctx)));
        quote_spanned!(place=> __taskwright::blocking(#ctx, move |#ctx| #finished))
    };
    quote_spanned! {place=>
        fn run(self, #ctx: __taskwright::Context) -> __taskwright::TaskFuture<#output> {
            #body
        }
    }
}

/// The call of the function. What is wrong with what it returns is reported at the return type.
fn call(task: &Task<'_>, ctx: &TokenStream) -> TokenStream {
    let mut function = task.function.sig.ident.clone();
    function.set_span(function.span().located_at(task.output_span()));
    let arguments = task.parameters.iter().map(|parameter| passed(parameter, ctx));
    quote_spanned!(here(task.output_span())=> #function(#(#arguments),*))
}

/// What the function is given for a parameter.
fn passed(parameter: &Parameter<'_>, ctx: &TokenStream) -> TokenStream {
    let Parameter { ident, ty, .. } = parameter;
    let name = parameter.name();
    let span = here(ty.span());
    match (parameter.kind, parameter.is_lent()) {
        (Kind::Payload, false) => quote!(self.#ident),
        (Kind::Payload, true) if parameter.is_primitive() => quote!(&self.#ident),
        (Kind::Payload, true) => quote_spanned!(span=> __taskwright::lend::<#ty>(&self.#ident)),
        (Kind::State, false) => quote_spanned!(span=> __taskwright::state_clone::<#ty>(#ctx, #name)?),
        (Kind::State, true) => quote_spanned!(span=> __taskwright::state::<#ty>(#ctx, #name)?),
        (Kind::Context, false) => quote!(__taskwright::Clone::clone(#ctx)),
        (Kind::Context, true) => ctx.clone(),
        (Kind::Transaction, _) => {
            let transaction = transaction();
            quote_spanned!(span=> __taskwright::transaction::<#ty>(&mut #transaction, #name)?)
        }
    }
}

/// The variable that holds the transaction. Hygienic, as `ctx` is.
fn transaction() -> Ident {
    Ident::new("transaction", Span::mixed_site())
}

fn finish(task: &Task<'_>, returned: &TokenStream) -> TokenStream {
    let span = here(task.output_span());
    match &task.options.retry_if {
        None => quote_spanned!(span=> __taskwright::finish(#returned)),
        Some(path) => quote_spanned!(span=> __taskwright::finish_if(#returned, #path)),
    }
}

/// The methods that render the keys of options.
fn keys(options: &Options, fields: &[(&Ident, &Type)]) -> TokenStream {
    let unique = options.unique.as_ref().map(|unique| unique_key(unique, fields));
    let limit = options.limit.as_ref().and_then(|limit| limit.key.as_ref()).map(|key| rendered(key, fields));
    let rate = options.rate.as_ref().and_then(|rate| rate.key.as_ref()).map(|key| rendered(key, fields));
    let method = |(name, key): (&str, Option<TokenStream>)| {
        let (name, key) = (format_ident!("{name}"), key?);
        Some(quote! {
            fn #name(&self) -> __taskwright::Option<__taskwright::String> {
                __taskwright::Some(#key)
            }
        })
    };
    [("unique_key", unique), ("limit_key", limit), ("rate_key", rate)].into_iter().filter_map(method).collect()
}

fn unique_key(unique: &Unique, fields: &[(&Ident, &Type)]) -> TokenStream {
    let field = |name: &str| fields.iter().find(|(ident, _)| ident.unraw() == name);
    match &unique.key {
        Key::Template(template) => rendered(template, fields),
        Key::By(parameters) => {
            let named = parameters.iter().filter_map(|parameter| field(&parameter.value));
            let values = named.map(|(ident, ty)| quote_spanned!(here(ty.span())=> &self.#ident));
            quote!(__taskwright::key_by(<Self as __taskwright::Task>::DEFINITION.name, &[#(#values),*]))
        }
        Key::Task => quote!(__taskwright::key_by(<Self as __taskwright::Task>::DEFINITION.name, &[])),
    }
}

/// Renders a key from the fields that it names.
fn rendered(template: &Template, fields: &[(&Ident, &Type)]) -> TokenStream {
    let format = template.format();
    let named = template.parameters().filter_map(|name| fields.iter().find(|(ident, _)| ident.unraw() == name));
    let values = named.map(|(ident, ty)| quote_spanned!(here(ty.span())=> __taskwright::key_part(&self.#ident)));
    quote!(__taskwright::format!(#format #(, #values)*))
}

/// What makes a struct with an `impl Run` a task.
pub(crate) fn derived(task: &Derived<'_>) -> TokenStream {
    let hidden = task.runtime.hidden();
    let name = &task.input.ident;
    let output = quote_spanned!(here(name.span())=> <Self as __taskwright::Run>::Output);
    let definition = definition::of_struct(task);
    let fields: Vec<_> = task.fields().map(|(ident, field)| (ident, &field.ty)).collect();
    let keys = keys(&task.options, &fields);
    quote! {
        const _: () = {
            use #hidden as __taskwright;

            impl __taskwright::Task for #name {
                type Output = #output;

                const DEFINITION: &'static __taskwright::Definition = &#definition;

                #keys

                fn run(self, ctx: __taskwright::Context) -> __taskwright::TaskFuture<Self::Output> {
                    __taskwright::run_hooked(self, ctx)
                }
            }

            __taskwright::inventory::submit! { __taskwright::Registration::of::<#name>() }
        };
    }
}

/// The wiring function as written, and the `main` that runs the program with it.
///
/// A wiring function that is called `main` itself moves into that one.
pub(crate) fn program(program: &Program<'_>) -> TokenStream {
    let hidden = program.runtime.hidden();
    let function = program.function;
    let wiring = &function.sig.ident;
    // What is wrong with what the function returns is reported there.
    let run = program.runtime.hidden_at(here(function.sig.output.span()));
    let (outside, inside) = if program.is_called_main() { (None, Some(function)) } else { (Some(function), None) };
    quote! {
        #outside

        fn main() -> #hidden::ExitCode {
            #inside
            #run::main(
                #hidden::Program { name: #hidden::env!("CARGO_PKG_NAME"), version: #hidden::env!("CARGO_PKG_VERSION") },
                #wiring,
            )
        }
    }
}

/// The type of the field for a payload parameter.
pub(crate) fn owned(field: &Parameter<'_>, hidden: &TokenStream) -> TokenStream {
    let ty = field.ty;
    if field.is_lent() && !field.is_primitive() {
        quote_spanned!(here(ty.span())=> <#ty as #hidden::ToOwned>::Owned)
    } else {
        ty.into_token_stream()
    }
}

/// A place in the user's code with the names of the macro, so that lints leave what stands there alone.
pub(crate) fn here(span: Span) -> Span {
    Span::call_site().located_at(span)
}

/// The doc comments, or a sentence for those who deny missing ones.
fn docs_or(attrs: &[Attribute], place: Span, otherwise: impl FnOnce() -> String) -> TokenStream {
    let docs: Vec<_> = attrs.iter().filter(|attr| attr.path().is_ident("doc")).collect();
    if docs.is_empty() {
        let otherwise = otherwise();
        return quote_spanned!(place=> #[doc = #otherwise]);
    }
    quote!(#(#docs)*)
}

fn cfgs(attrs: &[Attribute]) -> Vec<&Attribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect()
}
