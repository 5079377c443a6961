//! What is emitted when something is wrong: the mistakes, the item as it was written, and a stub of what it would have
//! become, so that its callers see no second wave of errors.

use proc_macro2::TokenStream;
use quote::quote;
use syn::FnArg;

use crate::ast::{Kind, Program, Task};
use crate::expand;
use crate::options::Options;

/// The item does not parse: its own tokens and the mistake.
pub(crate) fn verbatim(item: &TokenStream, error: &syn::Error) -> TokenStream {
    let error = error.to_compile_error();
    quote!(#item #error)
}

/// Only options are wrong: the task as it is without them.
pub(crate) fn without_options(task: Task<'_>, error: &syn::Error) -> TokenStream {
    let Options { struct_name, krate, .. } = task.options;
    let options = Options { struct_name, krate, ..Options::default() };
    let task = expand::task(&Task { options, ..task });
    let error = error.to_compile_error();
    quote!(#task #error)
}

/// The function can't be a task: a struct of the same name whose `new` takes anything.
pub(crate) fn stub(task: &Task<'_>, error: &syn::Error) -> TokenStream {
    let function = expand::function(task.function);
    let error = error.to_compile_error();
    if task.function.sig.receiver().is_some() {
        // A method stands in an `impl`, where no struct can stand beside it.
        return quote!(#function #error);
    }
    let hidden = task.runtime.hidden();
    let serde = task.runtime.serde();
    let vis = &task.function.vis;
    let name = &task.payload;
    let given = task.parameters.iter().filter(|parameter| parameter.kind != Kind::Payload).count();
    let typed = task.function.sig.inputs.iter().filter(|input| matches!(input, FnArg::Typed(_))).count();
    let arguments = std::iter::repeat_n(quote!(_: impl Sized), typed.saturating_sub(given));
    quote! {
        #function
        #error

        #[derive(#hidden::serde::Serialize, #hidden::serde::Deserialize)]
        #[serde(crate = #serde)]
        #vis struct #name {}

        impl #name {
            #vis fn new(#(#arguments),*) -> Self {
                Self {}
            }
        }

        impl #hidden::Task for #name {
            type Output = ();

            const DEFINITION: &'static #hidden::Definition = &#hidden::BROKEN;

            fn run(self, _: #hidden::Context) -> #hidden::TaskFuture<()> {
                #hidden::Box::pin(async { #hidden::finish(()) })
            }
        }
    }
}

/// The wiring function is wrong: it stays, with a `main`, so that nobody misses one.
pub(crate) fn program(program: &Program<'_>, error: &syn::Error) -> TokenStream {
    let function = expand::function(program.function);
    let error = error.to_compile_error();
    let main = (!program.is_called_main()).then(|| {
        quote!(
            fn main() {}
        )
    });
    quote!(#function #main #error)
}
