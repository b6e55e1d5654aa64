//! The imports between the modules of a crate.

use std::collections::{BTreeMap, BTreeSet};

use super::crate_sources::{CrateSources, Module};

/// An import of one module's item by another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Import {
    pub(super) from: Module,
    /// The module that defines the item: a re-export is followed to its source.
    pub(super) to: Module,
    /// The path as it is written.
    pub(super) path: String,
}

/// A path of a `use` tree or of the code, and the name that it binds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Used {
    path: Vec<String>,
    /// None where the code uses the path without binding it.
    name: Option<String>,
    /// Declared with `pub` of any kind: a re-export, by which the module does not use the item itself.
    is_public: bool,
}

/// The target of a path: a module, or an item that it defines.
struct Target {
    module: Module,
    is_item: bool,
}

/// Returns all imports between different modules.
pub(super) fn imports(sources: &CrateSources) -> Vec<Import> {
    let paths = sources.files.iter().map(|(module, tokens)| (module.clone(), used(sources, module, tokens)));
    let paths: BTreeMap<_, _> = paths.collect();
    let mut imports = BTreeSet::new();
    for (module, used) in &paths {
        for Used { path, is_public, .. } in used {
            let Some(Target { module: to, is_item }) = resolve(&paths, module, path, 0) else { continue };
            let is_own_part = to.starts_with(module);
            // `use crate::backend;` alone imports nothing: what is named by way of it does, and is found in the code.
            let is_outer = module.starts_with(&to) && !is_item;
            if to != *module && !(*is_public && is_own_part) && !is_outer {
                imports.insert(Import { from: module.clone(), to, path: path.join("::") });
            }
        }
    }
    imports.into_iter().collect()
}

/// Reads the paths of a file.
fn used(sources: &CrateSources, module: &Module, tokens: &[String]) -> Vec<Used> {
    let children = sources.children(module);
    let mut used: Vec<Used> = Vec::new();
    let mut at = 0;
    let mut is_public = false;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "use" => {
                let end = at + tokens[at..].iter().position(|token| token == ";").unwrap_or(tokens.len() - at);
                let mut tree = &tokens[at + 1..end];
                read_tree(&mut tree, &[], is_public, &mut used);
                at = end;
            }
            // `pub`, and what may stand between it and `use`.
            "pub" => is_public = true,
            "(" | ")" | "in" | "crate" | "super" | "self" if is_public && tokens[at + 1] != "::" => {}
            name => {
                is_public = false;
                let begins = at == 0 || (tokens[at - 1] != "::" && tokens[at - 1] != ".");
                let is_path = tokens.get(at + 1).is_some_and(|next| next == "::");
                // A module that was imported; of a type the import itself is enough.
                let is_module = name.starts_with(|c: char| c.is_lowercase());
                let is_bound = || is_module && used.iter().any(|used| used.name.as_deref() == Some(name));
                let is_root = matches!(name, "crate" | "super" | "self") || children.contains(name) || is_bound();
                if begins && is_path && is_root {
                    let path = read_path(&tokens[at..]);
                    at += 2 * path.len() - 2;
                    used.push(Used { path, name: None, is_public: false });
                }
            }
        }
        if tokens.get(at).is_some_and(|token| token == ";") {
            is_public = false;
        }
        at += 1;
    }
    used
}

fn read_path(tokens: &[String]) -> Vec<String> {
    let mut path = vec![tokens[0].clone()];
    let mut rest = &tokens[1..];
    while let [separator, name, ..] = rest {
        if separator != "::" || !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            break;
        }
        path.push(name.clone());
        rest = &rest[2..];
    }
    path
}

/// Reads one branch of a `use` tree, up to its comma or its closing brace.
fn read_tree(tokens: &mut &[String], prefix: &[String], is_public: bool, used: &mut Vec<Used>) {
    let mut path = prefix.to_vec();
    let mut name = None;
    while let [token, rest @ ..] = *tokens {
        match token.as_str() {
            "," | "}" => break,
            "{" => {
                *tokens = rest;
                read_branches(tokens, &path, is_public, used);
                return;
            }
            "::" => {}
            "as" => name = rest.first().cloned(),
            _ if name.is_some() => {}
            // `a::{self}` is `a`.
            "self" if !path.is_empty() => {}
            _ => path.push(token.clone()),
        }
        *tokens = rest;
    }
    let name = name.or_else(|| path.last().cloned());
    used.push(Used { path, name, is_public });
}

fn read_branches(tokens: &mut &[String], path: &[String], is_public: bool, used: &mut Vec<Used>) {
    while let [token, rest @ ..] = *tokens {
        match token.as_str() {
            "}" => {
                *tokens = rest;
                return;
            }
            "," => *tokens = rest,
            _ => read_tree(tokens, path, is_public, used),
        }
    }
}

/// The largest number of re-exports that are followed, a guard against a ring of them.
const MAX_RE_EXPORTS: usize = 16;

/// Returns what `path` names in `module`, or None where it is of another crate.
fn resolve(paths: &BTreeMap<Module, Vec<Used>>, module: &Module, path: &[String], depth: usize) -> Option<Target> {
    let (first, rest) = path.split_first()?;
    let (mut at, rest) = match first.as_str() {
        "crate" => (Module::new(), rest),
        "super" => (module.split_last()?.1.to_vec(), rest),
        "self" => (module.clone(), rest),
        name => {
            let child = [module.clone(), vec![name.to_owned()]].concat();
            let is_bound = || paths[module].iter().any(|used| used.name.as_deref() == Some(name));
            (paths.contains_key(&child) || (depth < MAX_RE_EXPORTS && is_bound())).then(|| (module.clone(), path))?
        }
    };
    for (position, name) in rest.iter().enumerate() {
        let child = [at.clone(), vec![name.clone()]].concat();
        if name == "super" {
            at.pop();
        } else if paths.contains_key(&child) {
            at = child;
        } else {
            let bound = paths.get(&at)?.iter().find(|used| used.name.as_ref() == Some(name));
            let item = Some(Target { module: at.clone(), is_item: true });
            let Some(Used { path, .. }) = bound.filter(|_| depth < MAX_RE_EXPORTS) else { return item };
            let further = [path, &rest[position + 1..]].concat();
            // A name of another crate is imported here by this module, not by the one that reaches for it.
            return resolve(paths, &at, &further, depth + 1).or(if at == *module { None } else { item });
        }
    }
    Some(Target { module: at, is_item: false })
}
