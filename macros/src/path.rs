//! Where generated code finds the runtime.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Ident, Path};

/// The path of the runtime crate, as generated code has to write it.
pub(crate) struct Runtime(TokenStream);

impl Runtime {
    /// The crate that `crate = path` names, else the one that the manifest calls `taskwright`.
    pub(crate) fn new(given: Option<&Path>) -> Self {
        Self(given.map_or_else(found, |path| quote!(#path)))
    }

    /// The crate's root.
    pub(crate) fn root(&self) -> &TokenStream {
        &self.0
    }

    /// The hidden module: all that generated code names.
    pub(crate) fn hidden(&self) -> TokenStream {
        let root = &self.0;
        quote!(#root::private)
    }

    /// The hidden module, for what is reported at this place.
    pub(crate) fn hidden_at(&self, place: Span) -> TokenStream {
        let relocated = self.hidden().into_iter().map(|mut token| {
            token.set_span(place);
            token
        });
        relocated.collect()
    }

    /// The hidden serde, as the text that serde's own attribute wants.
    pub(crate) fn serde(&self) -> String {
        format!("{}::serde", self.hidden()).replace(' ', "")
    }
}

fn found() -> TokenStream {
    let name = match crate_name("taskwright") {
        Ok(FoundCrate::Name(name)) => name,
        // The runtime names itself with `extern crate self as taskwright`.
        // Without a manifest the usual name is the best guess, and the compiler says so if it is wrong.
        Ok(FoundCrate::Itself) | Err(_) => "taskwright".to_owned(),
    };
    let ident = Ident::new(&name, Span::call_site());
    quote!(::#ident)
}
