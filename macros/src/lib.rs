//! The macros of Taskwright.

use proc_macro::TokenStream;

/// Makes a function a task.
#[proc_macro_attribute]
pub fn task(_options: TokenStream, item: TokenStream) -> TokenStream {
    item
}

/// Makes a struct a task.
#[proc_macro_derive(Task, attributes(task))]
pub fn derive_task(_item: TokenStream) -> TokenStream {
    TokenStream::new()
}

/// Makes a wiring function a program.
#[proc_macro_attribute]
pub fn main(_options: TokenStream, item: TokenStream) -> TokenStream {
    item
}
