//! How it is written: the grammar of the options, and a function whose body is never looked into.
//!
//! A mistake here ends the reading, since what follows it would be guesswork.

use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Ident, Lit, Path, Signature, Token, Visibility, bracketed, parenthesized};

/// A function with its body as raw tokens, so that editors can complete in a body that does not parse yet.
#[derive(Clone)]
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Group,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        if input.peek(Token![struct]) || input.peek(Token![enum]) || input.peek(Token![union]) {
            return Err(input.error("this attribute goes on a function; a struct becomes a task by `#[derive(Task)]`"));
        }
        let sig = input.parse()?;
        match input.parse::<Group>() {
            Ok(body) if body.delimiter() == Delimiter::Brace => Ok(Self { attrs, vis, sig, body }),
            _ => Err(input.error("a task has a body: `{ .. }`")),
        }
    }
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { attrs, vis, sig, body } = self;
        tokens.extend(quote!(#(#attrs)* #vis #sig #body));
    }
}

/// One option of an attribute: `key = value` or `key(argument, ..)`.
pub(crate) struct Entry {
    pub(crate) key: Ident,
    pub(crate) value: Value,
}

/// What an option is given.
pub(crate) enum Value {
    /// `"text"`, `7`, `-7`, `true`
    Literal(Literal),
    /// `[value, ..]`
    List(Group, Vec<Value>),
    /// `some::path`
    Path(Path),
    /// `name(argument, ..)`
    Call(Call),
}

/// A literal with its sign.
pub(crate) struct Literal {
    pub(crate) minus: Option<Token![-]>,
    pub(crate) lit: Lit,
}

/// A name with arguments.
pub(crate) struct Call {
    pub(crate) name: Ident,
    pub(crate) arguments: Vec<Argument>,
}

/// `value` or `name = value`
pub(crate) struct Argument {
    pub(crate) name: Option<Ident>,
    pub(crate) value: Value,
}

/// The options of one attribute, in the order written.
pub(crate) struct Entries(pub(crate) Vec<Entry>);

impl Parse for Entries {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Self(Punctuated::<Entry, Token![,]>::parse_terminated(input)?.into_iter().collect()))
    }
}

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let key = input.call(Ident::parse_any)?;
        let value = if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            input.parse()?
        } else if input.peek(syn::token::Paren) {
            Value::Call(Call { name: key.clone(), arguments: arguments(input)? })
        } else {
            return Err(syn::Error::new(key.span(), format!("option `{key}` needs a value: `{key} = ..`")));
        };
        Ok(Self { key, value })
    }
}

impl Parse for Value {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.peek(syn::token::Bracket) {
            let group: Group = input.fork().parse()?;
            let content;
            bracketed!(content in input);
            let items = Punctuated::<Self, Token![,]>::parse_terminated(&content)?;
            return Ok(Self::List(group, items.into_iter().collect()));
        }
        if input.peek(Lit) || input.peek(Token![-]) {
            return Ok(Self::Literal(Literal { minus: input.parse()?, lit: input.parse()? }));
        }
        let Ok(path) = input.call(Path::parse_mod_style) else {
            return Err(input.error("expected a literal, a list `[..]`, a path, or a call such as `fixed(\"10s\")`"));
        };
        match path.get_ident() {
            Some(name) if input.peek(syn::token::Paren) => {
                Ok(Self::Call(Call { name: name.clone(), arguments: arguments(input)? }))
            }
            _ => Ok(Self::Path(path)),
        }
    }
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut name = None;
        if input.peek(Ident::peek_any) && input.peek2(Token![=]) {
            name = Some(input.call(Ident::parse_any)?);
            input.parse::<Token![=]>()?;
        }
        Ok(Self { name, value: input.parse()? })
    }
}

fn arguments(input: ParseStream<'_>) -> syn::Result<Vec<Argument>> {
    let content;
    parenthesized!(content in input);
    Ok(Punctuated::<Argument, Token![,]>::parse_terminated(&content)?.into_iter().collect())
}

impl ToTokens for Value {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Literal(literal) => literal.to_tokens(tokens),
            Self::List(group, _) => group.to_tokens(tokens),
            Self::Path(path) => path.to_tokens(tokens),
            Self::Call(call) => call.name.to_tokens(tokens),
        }
    }
}

impl ToTokens for Literal {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.minus.to_tokens(tokens);
        self.lit.to_tokens(tokens);
    }
}

/// A value together with where it is written.
#[derive(Clone, Copy)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}
