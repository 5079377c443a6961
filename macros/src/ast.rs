//! What was meant: a task with its parameters, each of one kind.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::{
    Attribute, Data, DataStruct, DeriveInput, Expr, ExprLit, Field, Fields, FnArg, Ident, Lit, Meta, MetaNameValue,
    Pat, PatType, ReturnType, Token, Type, TypeReference,
};

use crate::errors::Errors;
use crate::options::{Isolation, Options, Piece, Template};
use crate::parse::Function;
use crate::path::Runtime;

/// A function that is a task.
pub(crate) struct Task<'a> {
    pub(crate) runtime: Runtime,
    pub(crate) options: Options,
    pub(crate) function: &'a Function,
    /// The name of the struct beside the function.
    pub(crate) payload: Ident,
    pub(crate) parameters: Vec<Parameter<'a>>,
}

/// A parameter of a task's function.
pub(crate) struct Parameter<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) kind: Kind,
    /// The type without the `&` that lends it.
    pub(crate) ty: &'a Type,
    /// The parameter is `&T`, if it is.
    pub(crate) reference: Option<&'a TypeReference>,
    /// All that stands before it.
    pub(crate) attrs: &'a [Attribute],
}

/// Where a parameter's value comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Payload,
    State,
    Context,
    Transaction,
}

impl<'a> Task<'a> {
    pub(crate) fn new(function: &'a Function, options: Options, errors: &Errors) -> Self {
        let payload = options.struct_name.clone().unwrap_or_else(|| struct_name(&function.sig.ident, errors));
        Self {
            runtime: Runtime::new(options.krate.as_ref()),
            function,
            payload,
            parameters: function.sig.inputs.iter().filter_map(|input| Parameter::new(input, errors)).collect(),
            options,
        }
    }

    pub(crate) fn is_async(&self) -> bool {
        self.function.sig.asyncness.is_some()
    }

    /// Whether calling the function, as its task does, brings a warning.
    pub(crate) fn is_deprecated(&self) -> bool {
        self.function.attrs.iter().any(|attr| attr.path().is_ident("deprecated"))
    }

    /// What the function returns.
    pub(crate) fn output(&self) -> TokenStream {
        match &self.function.sig.output {
            ReturnType::Default => quote!(()),
            ReturnType::Type(_, ty) => quote!(#ty),
        }
    }

    /// The place to blame when the return type does not fit.
    pub(crate) fn output_span(&self) -> Span {
        match &self.function.sig.output {
            ReturnType::Default => self.function.sig.ident.span(),
            ReturnType::Type(_, ty) => ty.span(),
        }
    }

    /// The parameters that travel.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &Parameter<'a>> {
        self.parameters.iter().filter(|parameter| parameter.kind == Kind::Payload)
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = &Parameter<'a>> {
        self.parameters.iter().filter(|parameter| parameter.kind == Kind::State)
    }

    /// The transaction that the task completes in.
    pub(crate) fn transaction(&self) -> Option<&Parameter<'a>> {
        self.parameters.iter().find(|parameter| parameter.kind == Kind::Transaction)
    }

    /// Whether serde is told how to treat a parameter.
    pub(crate) fn has_serde_attr(&self) -> bool {
        self.fields().any(Parameter::has_serde_attr)
    }

    pub(crate) fn execution(&self) -> Execution {
        match &self.options.isolate {
            Some(isolate) if isolate.value == Isolation::Process => Execution::Process,
            _ if self.is_async() => Execution::Async,
            _ => Execution::Blocking,
        }
    }
}

/// How a task runs.
#[derive(Clone, Copy)]
pub(crate) enum Execution {
    Async,
    Blocking,
    Process,
}

impl Execution {
    /// The runtime's name for it.
    pub(crate) fn variant(self) -> &'static str {
        match self {
            Self::Async => "Async",
            Self::Blocking => "Blocking",
            Self::Process => "Process",
        }
    }
}

impl<'a> Parameter<'a> {
    /// What a parameter is; what has no name or is `self` is no parameter of a task, and a mistake.
    fn new(input: &'a FnArg, errors: &Errors) -> Option<Self> {
        let FnArg::Typed(PatType { attrs, pat, ty, .. }) = input else {
            errors.at(input, "a task is a free function; make what it needs of `self` a parameter, marked `#[state]` if the worker provides it");
            return None;
        };
        let Pat::Ident(pattern) = &**pat else {
            errors.at(
                pat,
                "a task's parameter needs a name, which is its name in the payload; take the pattern apart in the body",
            );
            return None;
        };
        if let Some((at, _)) = &pattern.subpat {
            errors.at(at, "a parameter of a task has a name and no pattern; take it apart in the body");
        }
        if let Some(by_ref) = &pattern.by_ref {
            errors.at(by_ref, "a parameter of a task is taken by value; borrow it in the body");
        }
        let (ty, reference) = match &**ty {
            Type::Reference(reference) => (&*reference.elem, Some(reference)),
            ty => (ty, None),
        };
        Some(Self { ident: &pattern.ident, kind: Kind::new(attrs, ty), ty, reference, attrs })
    }

    /// The type as it is written.
    pub(crate) fn written(&self) -> String {
        let ty = type_text(self.ty);
        if self.is_lent() { format!("&{ty}") } else { ty }
    }

    /// It lends what its type names: the parameter is `&T`.
    pub(crate) fn is_lent(&self) -> bool {
        self.reference.is_some()
    }

    /// What belongs on the payload's field beside its docs.
    pub(crate) fn field_attrs(&self) -> impl Iterator<Item = &'a Attribute> {
        self.attrs.iter().filter(|attr| is_for_field(attr) && !attr.path().is_ident("doc"))
    }

    /// The name by which options and messages speak of it.
    pub(crate) fn name(&self) -> String {
        self.ident.unraw().to_string()
    }

    /// The name in the payload, which serde may have been told to change.
    pub(crate) fn payload_name(&self) -> String {
        payload_name(self.attrs, self.ident)
    }

    /// A number, a `char` or a `bool`: a type for which a literal would be ambiguous behind `impl Into`.
    pub(crate) fn is_primitive(&self) -> bool {
        const PRIMITIVES: [&str; 16] = [
            "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f32", "f64",
            "bool", "char",
        ];
        matches!(self.ty, Type::Path(path) if path.path.get_ident().is_some_and(|ident| PRIMITIVES.iter().any(|name| ident == name)))
    }

    /// Whether serde is told how to treat it, so that its type need not be serializable by itself.
    pub(crate) fn has_serde_attr(&self) -> bool {
        self.attrs.iter().any(|attr| attr.path().is_ident("serde") || attr.path().is_ident("cfg_attr"))
    }
}

impl Kind {
    fn new(attrs: &[Attribute], ty: &Type) -> Self {
        let marked = |mark: &str| attrs.iter().any(|attr| attr.path().is_ident(mark));
        let looks_like_context =
            matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Context"));
        match () {
            () if marked("state") => Self::State,
            () if marked("tx") => Self::Transaction,
            () if marked("ctx") || looks_like_context => Self::Context,
            () => Self::Payload,
        }
    }
}

/// The name under which serde writes a field: its own, unless `#[serde(rename = "..")]` says otherwise.
pub(crate) fn payload_name(attrs: &[Attribute], ident: &Ident) -> String {
    attrs.iter().find_map(renamed).unwrap_or_else(|| ident.unraw().to_string())
}

/// A type as people write it; tokens alone are printed with spaces between all of them.
pub(crate) fn type_text(ty: &Type) -> String {
    let spaced = quote!(#ty).to_string();
    let mut text = String::with_capacity(spaced.len());
    let mut chars = spaced.chars().peekable();
    while let Some(c) = chars.next() {
        let (before, after) = (text.chars().next_back().unwrap_or(' '), chars.peek().copied().unwrap_or(' '));
        let between_words = is_word(before) && (is_word(after) || after == '\'');
        let around_operator = ",;+=".contains(before) || "+=".contains(after);
        if c != ' ' || between_words || around_operator {
            text.push(c);
        }
    }
    text
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn renamed(attr: &Attribute) -> Option<String> {
    if !attr.path().is_ident("serde") {
        return None;
    }
    let metas = attr.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()?;
    metas.iter().find(|meta| meta.path().is_ident("rename")).and_then(text_of)
}

/// The text of `name = "text"`.
fn text_of(meta: &Meta) -> Option<String> {
    match meta {
        Meta::NameValue(MetaNameValue { value: Expr::Lit(ExprLit { lit: Lit::Str(text), .. }), .. }) => {
            Some(text.value())
        }
        _ => None,
    }
}

/// `#[state]`, `#[ctx]` and `#[tx]`, which say where a value comes from and go no further.
pub(crate) fn is_mark(attr: &Attribute) -> bool {
    ["state", "ctx", "tx"].iter().any(|mark| attr.path().is_ident(mark))
}

/// What belongs on the payload's field and not on the function's parameter.
pub(crate) fn is_for_field(attr: &Attribute) -> bool {
    ["serde", "cfg_attr", "doc"].iter().any(|name| attr.path().is_ident(name))
}

/// The function's name in `UpperCamelCase`.
fn struct_name(function: &Ident, errors: &Errors) -> Ident {
    let name: String = function.unraw().to_string().split('_').map(capitalized).collect();
    if syn::parse_str::<Ident>(&name).is_ok() {
        return Ident::new(&name, Span::call_site().located_at(function.span()));
    }
    errors.at(function, "no struct can be named after this function; add `struct = Name`");
    Ident::new("Unnamed", Span::call_site())
}

fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// The text of the doc comments among `attrs`.
pub(crate) fn docs(attrs: &[Attribute]) -> String {
    let lines = attrs.iter().filter(|attr| attr.path().is_ident("doc")).filter_map(|attr| text_of(&attr.meta));
    let lines: Vec<String> = lines.map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect();
    lines.join("\n").trim().to_owned()
}

impl Template {
    /// The names of the parameters in it.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Parameter(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The template as a format string with numbered places.
    pub(crate) fn format(&self) -> String {
        let mut place = 0..;
        self.pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.replace('{', "{{").replace('}', "}}"),
                Piece::Parameter(_) => format!("{{{}}}", place.next().unwrap_or_default()),
            })
            .collect()
    }
}

/// A struct that is a task.
pub(crate) struct Derived<'a> {
    pub(crate) runtime: Runtime,
    pub(crate) options: Options,
    pub(crate) input: &'a DeriveInput,
    pub(crate) fields: Vec<&'a Field>,
}

impl<'a> Derived<'a> {
    pub(crate) fn new(input: &'a DeriveInput, options: Options, errors: &Errors) -> Self {
        let fields = match &input.data {
            Data::Struct(data) => named_fields(data, errors),
            Data::Enum(data) => {
                errors.at(
                    data.enum_token,
                    "a task is a struct; put the enum into a field of one, or make each variant a task",
                );
                Vec::new()
            }
            Data::Union(data) => {
                errors.at(data.union_token, "a task is a struct; a union can't travel in a payload");
                Vec::new()
            }
        };
        Self { runtime: Runtime::new(options.krate.as_ref()), options, input, fields }
    }

    /// The fields that have a name, which all of them have where nothing is wrong.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'a Ident, &'a Field)> {
        self.fields.iter().filter_map(|field| Some((field.ident.as_ref()?, *field)))
    }

    pub(crate) fn execution(&self) -> Execution {
        match &self.options.isolate {
            Some(isolate) if isolate.value == Isolation::Process => Execution::Process,
            _ => Execution::Async,
        }
    }
}

fn named_fields<'a>(data: &'a DataStruct, errors: &Errors) -> Vec<&'a Field> {
    if let Fields::Unnamed(fields) = &data.fields {
        errors.at(fields, "a task's fields need names, by which the payload is encoded: `struct Name { field: Type }`");
    }
    data.fields.iter().collect()
}

/// The wiring function of a program.
pub(crate) struct Program<'a> {
    pub(crate) runtime: Runtime,
    pub(crate) function: &'a Function,
}

impl<'a> Program<'a> {
    pub(crate) fn new(function: &'a Function, options: &Options) -> Self {
        Self { runtime: Runtime::new(options.krate.as_ref()), function }
    }

    /// Whether the function has the name that the generated one needs.
    pub(crate) fn is_called_main(&self) -> bool {
        self.function.sig.ident == "main"
    }
}
