//! Each macro from its tokens to what is emitted: parse, ast, check, expand, or fallback when something is wrong.

use proc_macro2::TokenStream;
use syn::DeriveInput;
use syn::parse::{Parse, Parser};

use crate::ast::{Derived, Program, Task};
use crate::errors::Errors;
use crate::options::{Options, Place};
use crate::parse::{Entries, Function};
use crate::{cases, check, expand, fallback};

/// `#[task]`
pub(crate) fn task(options: TokenStream, item: &TokenStream) -> TokenStream {
    let function = match syn::parse2::<Function>(item.clone()) {
        Ok(function) => function,
        Err(error) => return fallback::verbatim(item, &error),
    };
    if let Some(cases) = cases::of(&function, &options) {
        return cases;
    }
    let (wrong_options, wrong_function) = (Errors::new(), Errors::new());
    let options = read(options, Place::Function, &wrong_options);
    let task = Task::new(&function, options, &wrong_function);
    check::function(&task, &wrong_function);
    check::function_options(&task, &wrong_options);
    match (wrong_options.finish(), wrong_function.finish()) {
        (Ok(()), Ok(())) => expand::task(&task),
        (Err(error), Ok(())) => fallback::without_options(task, &error),
        (Ok(()), Err(error)) => fallback::stub(&task, &error),
        (Err(mut all), Err(error)) => {
            all.combine(error);
            fallback::stub(&task, &all)
        }
    }
}

/// `#[derive(Task)]`
pub(crate) fn derive(item: &TokenStream) -> TokenStream {
    let input = match syn::parse2::<DeriveInput>(item.clone()) {
        Ok(input) => input,
        Err(error) => return error.to_compile_error(),
    };
    let errors = Errors::new();
    let mut entries = Entries(Vec::new());
    for attr in input.attrs.iter().filter(|attr| attr.path().is_ident("task")) {
        entries.0.extend(errors.take(attr.parse_args::<Entries>()).into_iter().flat_map(|entries| entries.0));
    }
    let options = Options::new(&entries, Place::Struct, &errors);
    let task = Derived::new(&input, options, &errors);
    check::derived(&task, &errors);
    match errors.finish() {
        Ok(()) => expand::derived(&task),
        Err(error) => error.to_compile_error(),
    }
}

/// `#[taskwright::main]`
pub(crate) fn main(options: TokenStream, item: &TokenStream) -> TokenStream {
    let function = match syn::parse2::<Function>(item.clone()) {
        Ok(function) => function,
        Err(error) => return fallback::verbatim(item, &error),
    };
    let errors = Errors::new();
    let options = read(options, Place::Main, &errors);
    let program = Program::new(&function, &options);
    check::program(&program, &errors);
    match errors.finish() {
        Ok(()) => expand::program(&program),
        Err(error) => fallback::program(&program, &error),
    }
}

fn read(options: TokenStream, place: Place, errors: &Errors) -> Options {
    let entries = errors.take(Entries::parse.parse2(options)).unwrap_or(Entries(Vec::new()));
    Options::new(&entries, place, errors)
}
