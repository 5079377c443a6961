//! What is emitted when something is wrong: the item as it was written, and the mistakes.

use proc_macro2::TokenStream;
use quote::quote;

use crate::ast::{Program, Task};
use crate::expand;

/// The item's own tokens and the mistakes in them.
pub(crate) fn verbatim(item: &TokenStream, error: &syn::Error) -> TokenStream {
    let error = error.to_compile_error();
    quote!(#item #error)
}

pub(crate) fn task(task: &Task<'_>, error: &syn::Error) -> TokenStream {
    let function = expand::function(task.function);
    let error = error.to_compile_error();
    quote!(#function #error)
}

pub(crate) fn program(program: &Program<'_>, error: &syn::Error) -> TokenStream {
    let function = expand::function(program.function);
    let error = error.to_compile_error();
    quote!(#function #error)
}
