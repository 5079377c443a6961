//! The macros of Taskwright.

mod ast;
mod cases;
mod check;
mod definition;
mod duration;
mod errors;
mod expand;
mod fallback;
mod options;
mod parse;
mod path;
mod stages;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

/// Makes a function a task.
#[proc_macro_attribute]
pub fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    stages::task(options.into(), &item.into()).into()
}

/// Makes a struct a task.
#[proc_macro_derive(Task, attributes(task))]
pub fn derive_task(item: TokenStream) -> TokenStream {
    stages::derive(&item.into()).into()
}

/// Makes a wiring function a program.
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    stages::main(options.into(), &item.into()).into()
}
