//! Imports point one way: data and policy, the contract, what a task is, client and worker, the program around them.

use std::collections::BTreeSet;
use std::path::Path;

use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};

use crate::tree::{files_in, read};

/// Parts of the library that may use each other, and what they may use besides.
struct Tier {
    /// Modules, each with all below it that has no tier of its own.
    parts: &'static [&'static str],
    /// Parts of earlier tiers, separated by blanks.
    uses: &'static [&'static str],
}

const DATA: &str = "chance error time fields codec job policy";
const TASKS: &str = "trace transaction task context registry blocking";
const CLIENT: &str = "batch client dispatch handle outcomes";
const STORES: &str = "backend backend::memory backend::sql backend::rabbitmq backend::redis backend::connect";

/// From the plain to the whole: no tier knows a later one.
/// The root re-exports everything, and a module may name its own children.
const TIERS: &[Tier] = &[
    // Plain data and pure decisions. A job carries its backoff, and what happens to a job is decided in `policy`.
    Tier { parts: &["error"], uses: &[] },
    Tier { parts: &["chance"], uses: &[] },
    Tier { parts: &["time"], uses: &["error"] },
    Tier { parts: &["fields"], uses: &[] },
    Tier { parts: &["codec"], uses: &["error fields"] },
    Tier { parts: &["job", "policy"], uses: &["chance error time codec"] },
    // The contract, and stores that know it, their driver, and neither each other nor a worker.
    Tier { parts: &["backend"], uses: &[DATA] },
    Tier { parts: &["backend::memory"], uses: &[DATA, "backend"] },
    Tier { parts: &["backend::sql"], uses: &[DATA, "backend"] },
    Tier { parts: &["backend::rabbitmq"], uses: &[DATA, "backend"] },
    Tier { parts: &["backend::redis"], uses: &[DATA, "backend"] },
    Tier {
        parts: &["backend::connect"],
        uses: &[DATA, "backend backend::memory backend::sql backend::rabbitmq backend::redis"],
    },
    // What a task is and sees. It can't tell where it came from, or who runs it.
    Tier { parts: &["trace"], uses: &[DATA] },
    Tier { parts: &["transaction"], uses: &[DATA, "backend"] },
    Tier { parts: &["task", "context", "registry", "blocking"], uses: &[DATA, "transaction"] },
    // Putting tasks on queues, and awaiting them.
    Tier { parts: &["batch"], uses: &[DATA] },
    Tier { parts: &["pushes"], uses: &[DATA, "backend batch"] },
    Tier {
        parts: &["client", "dispatch", "handle", "outcomes"],
        uses: &[DATA, "backend backend::connect pushes trace task context"],
    },
    // Running them. Maintenance is what one elected worker does besides, so the two know each other.
    Tier { parts: &["worker", "maintenance"], uses: &[DATA, TASKS, "backend batch client"] },
    // The program around them, and its tests; here everything comes together.
    Tier { parts: &["testing"], uses: &[DATA, STORES, TASKS, CLIENT, "maintenance worker"] },
    Tier { parts: &["app", "settings", "cli", "private"], uses: &[DATA, STORES, TASKS, CLIENT, "maintenance worker"] },
];

impl Tier {
    fn may_use(&self) -> impl Iterator<Item = &'static str> {
        self.uses.iter().flat_map(|parts| parts.split(' '))
    }
}

/// Single imports that point the other way, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "registry",
    "dispatch",
    "a registration holds every function that needs its task's type, also the one that dispatches it from bytes",
)];

#[test]
fn imports_point_one_way() {
    let edges = edges();
    assert!(edges.len() > 40, "the scanner finds no imports any more");
    let wrong: Vec<String> = edges.iter().filter_map(|(from, to)| complaint(from, to)).collect();
    assert!(wrong.is_empty(), "imports that point the wrong way:\n{}", wrong.join("\n"));
}

#[test]
fn no_tier_uses_a_later_one() {
    let mut earlier = BTreeSet::<&str>::new();
    for tier in TIERS {
        let later: Vec<_> = tier.may_use().filter(|part| !earlier.contains(part)).collect();
        assert!(later.is_empty(), "{:?} may use {later:?}, which come later or nowhere", tier.parts);
        earlier.extend(tier.parts);
    }
}

#[test]
fn a_store_that_knows_a_worker_or_another_store_is_named() {
    assert!(complaint("backend::memory::store", "worker::lease").is_some());
    assert!(complaint("backend::memory::store", "backend::sql").is_some());
    assert!(complaint("backend::memory::store", "policy::state").is_none());
    assert!(complaint("a_module_without_tier", "error").is_some());
}

#[test]
fn every_exception_is_needed() {
    let edges = edges();
    for (user, used, why) in EXCEPTIONS {
        let is_there = edges.iter().any(|(from, to)| (from.as_str(), to.as_str()) == (*user, *used));
        assert!(is_there, "{user} does not use {used} any more; this is no reason now: {why}");
    }
}

/// What is wrong with an import, if anything is.
fn complaint(from: &str, to: &str) -> Option<String> {
    let excused = EXCEPTIONS.iter().any(|(user, used, _)| (*user, *used) == (from, to));
    if from.is_empty() || excused {
        return None;
    }
    let (Some((tier, own)), Some((_, used))) = (tier_of(from), tier_of(to)) else {
        return Some(format!("{from} uses {to}, and one of them has no tier; give it one"));
    };
    let allowed = used == own || tier.parts.contains(&used) || tier.may_use().any(|part| part == used);
    (!allowed).then(|| format!("{from} uses {to}; {own} may use {}", tier.may_use().collect::<Vec<_>>().join(", ")))
}

/// The tier of a module, and which of its parts the module belongs to: the one with the longest name.
fn tier_of(module: &str) -> Option<(&'static Tier, &'static str)> {
    let parts = TIERS.iter().flat_map(|tier| tier.parts.iter().map(move |part| (tier, *part)));
    let holding = parts
        .filter(|(_, part)| module.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")));
    holding.max_by_key(|(_, part)| part.len())
}

/// Every import of one module of the library by another.
fn edges() -> BTreeSet<(String, String)> {
    let files: Vec<_> = files_in("runtime/src")
        .into_iter()
        .filter(|file| Path::new(&file.path).extension().is_some_and(|kind| kind == "rs"))
        .collect();
    let modules: BTreeSet<String> = files.iter().map(|file| module_of(&file.path)).collect();
    let names = names_at_the_root();
    let mut edges = BTreeSet::new();
    for file in &files {
        let module = module_of(&file.path);
        let source = syn::parse_file(&file.text).unwrap_or_else(|error| panic!("{}: {error}", file.path));
        for path in Paths::of(&module, &source) {
            edges.extend(meant(path, &modules, &names).map(|target| (module.clone(), target)));
        }
    }
    edges.retain(|(module, target)| module != target);
    edges
}

/// The module that a file holds: `backend/memory/mod.rs` is `backend::memory`, `lib.rs` is the root.
fn module_of(path: &str) -> String {
    let path = path.strip_prefix("runtime/src/").unwrap().strip_suffix(".rs").unwrap();
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { String::new() } else { path.replace('/', "::") }
}

/// What `lib.rs` re-exports, as the full path of each name.
fn names_at_the_root() -> Vec<Vec<String>> {
    let source = syn::parse_file(&read("runtime/src/lib.rs")).unwrap();
    let mut paths = Paths { at: Vec::new(), found: Vec::new() };
    for item in &source.items {
        if let syn::Item::Use(item) = item {
            paths.tree(Vec::new(), &item.tree);
        }
    }
    paths.found
}

/// The module that a path from the root leads into.
fn meant(mut path: Vec<String>, modules: &BTreeSet<String>, names: &[Vec<String>]) -> Option<String> {
    let module_in = |path: &[String]| {
        (1..=path.len()).rev().map(|length| path[..length].join("::")).find(|module| modules.contains(module))
    };
    module_in(&path).or_else(|| {
        let name = path.drain(..).next()?;
        let full = names.iter().find(|full| full.last() == Some(&name))?;
        module_in(full)
    })
}

/// Collects the paths into this crate that a file's code names; tests and documentation may name anything.
struct Paths {
    /// The module that is being read.
    at: Vec<String>,
    /// From the root.
    found: Vec<Vec<String>>,
}

impl Paths {
    fn of(module: &str, source: &syn::File) -> Vec<Vec<String>> {
        let at = module.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let mut paths = Self { at, found: Vec::new() };
        paths.visit_file(source);
        paths.found
    }

    /// Takes a path that begins with `crate`, `self` or `super`; any other leads elsewhere.
    fn take(&mut self, segments: Vec<String>) {
        let mut base = match segments.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self" | "super") => self.at.clone(),
            _ => return,
        };
        for segment in segments {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => drop(base.pop()),
                _ => base.push(segment),
            }
        }
        self.found.push(base);
    }

    fn tree(&mut self, mut prefix: Vec<String>, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.tree(prefix, &path.tree);
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(prefix.clone(), tree)),
            syn::UseTree::Name(name) => {
                prefix.push(name.ident.to_string());
                self.found.push(prefix);
            }
            syn::UseTree::Rename(rename) => {
                prefix.push(rename.ident.to_string());
                self.found.push(prefix);
            }
            syn::UseTree::Glob(_) => self.found.push(prefix),
        }
    }
}

impl Visit<'_> for Paths {
    fn visit_item(&mut self, item: &syn::Item) {
        let attributes = match item {
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !attributes.iter().any(is_for_tests_or_docs) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &syn::ItemMod) {
        self.at.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.at.pop();
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        let mut tree = Self { at: Vec::new(), found: Vec::new() };
        tree.tree(Vec::new(), &item.tree);
        tree.found.into_iter().for_each(|path| self.take(path));
    }

    fn visit_path(&mut self, path: &syn::Path) {
        self.take(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &syn::Macro) {
        let text = call.tokens.to_string().replace(" :: ", "::");
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
        words
            .filter(|word| word.contains("::"))
            .for_each(|word| self.take(word.split("::").map(str::to_owned).collect()));
        visit::visit_macro(self, call);
    }
}

fn is_for_tests_or_docs(attribute: &syn::Attribute) -> bool {
    let condition = attribute.path().is_ident("cfg").then(|| attribute.parse_args::<syn::Meta>().ok()).flatten();
    let is_one = |condition: &syn::Meta| condition.path().is_ident("test") || condition.path().is_ident("doc");
    let all_of = |list: syn::MetaList| list.parse_args_with(Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated);
    match condition {
        Some(syn::Meta::List(list)) if list.path.is_ident("all") => {
            all_of(list).is_ok_and(|all| all.iter().any(is_one))
        }
        condition => condition.as_ref().is_some_and(is_one),
    }
}
