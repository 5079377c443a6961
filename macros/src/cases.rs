//! `#[cfg]` on parameters: the compiler knows which of them are there, the macro does not.
//!
//! A call can't have `#[cfg]` on its arguments.
//! So a function whose parameter has one is emitted twice, each time with the attribute: once for where the parameter is
//! there and once for where it is not. The compiler drops one of them before it looks at it, and the macro is called
//! again for the other.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{Parse, Parser};
use syn::{Attribute, FnArg, Meta};

use crate::options;
use crate::parse::{Entries, Function};
use crate::path::Runtime;

/// The function for either case of its first `#[cfg]`, if a parameter has one.
pub(crate) fn of(function: &Function, options: &TokenStream) -> Option<TokenStream> {
    let inputs = || function.sig.inputs.iter();
    let (index, condition) = inputs().enumerate().find_map(|(index, input)| Some((index, condition(input)?)))?;
    let without =
        with_inputs(function, inputs().enumerate().filter(|(at, _)| *at != index).map(|(_, input)| input.clone()));
    let with = with_inputs(
        function,
        inputs().enumerate().map(|(at, input)| if at == index { settled(input) } else { input.clone() }),
    );
    let root = runtime(options);
    Some(quote! {
        #[cfg(#condition)]
        #[#root::task(#options)]
        #with

        #[cfg(not(#condition))]
        #[#root::task(#options)]
        #without
    })
}

/// The condition of a parameter's first `#[cfg]`.
fn condition(input: &FnArg) -> Option<TokenStream> {
    match &attrs(input).iter().find(|attr| is_cfg(attr))?.meta {
        Meta::List(list) => Some(list.tokens.clone()),
        _ => None,
    }
}

/// The parameter without its first `#[cfg]`.
fn settled(input: &FnArg) -> FnArg {
    let mut input = input.clone();
    let attrs = match &mut input {
        FnArg::Receiver(receiver) => &mut receiver.attrs,
        FnArg::Typed(parameter) => &mut parameter.attrs,
    };
    if let Some(index) = attrs.iter().position(is_cfg) {
        attrs.remove(index);
    }
    input
}

fn attrs(input: &FnArg) -> &[Attribute] {
    match input {
        FnArg::Receiver(receiver) => &receiver.attrs,
        FnArg::Typed(parameter) => &parameter.attrs,
    }
}

fn is_cfg(attr: &Attribute) -> bool {
    attr.path().is_ident("cfg")
}

fn with_inputs(function: &Function, inputs: impl Iterator<Item = FnArg>) -> Function {
    let mut function = function.clone();
    function.sig.inputs = inputs.collect();
    function
}

/// Where the attribute is found again; options that do not parse are reported when it is called again.
fn runtime(options: &TokenStream) -> TokenStream {
    let entries = Entries::parse.parse2(options.clone()).unwrap_or(Entries(Vec::new()));
    Runtime::new(options::krate(&entries).as_ref()).root().clone()
}
