//! The order of the modules: every import of the crate is held to the order in the crate doc of `src/lib.rs`.
//!
//! The sources are read as text. A `use` tree and a path in the code both count as an import; comments, strings and
//! code that is compiled for tests only do not.

mod crate_sources;
mod imports;
mod order;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use crate_sources::{CrateSources, Module, display, repository};
use imports::{Import, imports};
use order::Order;

/// Returns a line for each import that the order forbids.
fn upward_arrows(imports: &[Import], order: &Order) -> Vec<String> {
    imports.iter().filter_map(|import| order.violation(import)).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Returns a line for each ring of imports between the modules of one folder. A module is its file and its folder, so
/// that an import from anywhere in one to anywhere in the other is an arrow between the two.
fn rings(imports: &[Import]) -> Vec<String> {
    let mut folders: BTreeMap<&[String], BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for Import { from, to, .. } in imports {
        let shared = from.iter().zip(to).take_while(|(left, right)| left == right).count();
        // One is the other, or lies within it: a module and its own parts are one.
        let (Some(left), Some(right)) = (from.get(shared), to.get(shared)) else { continue };
        folders.entry(&from[..shared]).or_default().entry(left).or_default().insert(right);
    }
    let ring_of = |(folder, arrows): (_, BTreeMap<_, _>)| {
        let ring = ring(&arrows)?;
        Some(format!("{}: {}", display(folder), ring.join(" -> ")))
    };
    folders.into_iter().filter_map(ring_of).collect()
}

/// Returns the shortest way from a module back to itself, if there is one.
fn ring<'a>(arrows: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Option<Vec<&'a str>> {
    arrows.keys().filter_map(|start| way_back(arrows, start)).min_by_key(Vec::len)
}

/// Returns the shortest way from `start` back to it, found breadth first.
fn way_back<'a>(arrows: &BTreeMap<&'a str, BTreeSet<&'a str>>, start: &'a str) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![start]];
    let mut visited = BTreeSet::new();
    let mut next = 0;
    while let Some(way) = ways.get(next).cloned() {
        next += 1;
        for target in arrows.get(way.last()?).into_iter().flatten().copied() {
            let longer = [way.clone(), vec![target]].concat();
            if target == start {
                return Some(longer);
            }
            if visited.insert(target) {
                ways.push(longer);
            }
        }
    }
    None
}

#[test]
fn imports_follow_the_order_of_the_crate_doc() {
    let sources = repository();
    let order = Order::of_crate_doc(&sources);
    let violations = upward_arrows(&imports(&sources), &order);
    assert!(violations.is_empty(), "against the order in src/lib.rs:\n{}", violations.join("\n"));
}

#[test]
fn no_modules_of_one_folder_import_each_other_in_a_ring() {
    let rings = rings(&imports(&repository()));
    assert!(rings.is_empty(), "rings:\n{}", rings.join("\n"));
}

#[test]
fn the_order_names_every_module_of_the_crate_the_agent_and_the_backend() {
    let sources = repository();
    let order = Order::of_crate_doc(&sources);
    for (folder, named) in order.folders() {
        assert_eq!(named, sources.children(folder), "{}: named in src/lib.rs, and in src/", display(folder));
    }
}

/// Sources of a made-up crate, by the path below `src/` without `.rs`.
fn made_up(files: &[(&str, &str)]) -> CrateSources {
    CrateSources::of(files.iter().map(|(path, text)| {
        let path: Module = path.split('/').filter(|part| *part != "lib").map(str::to_owned).collect();
        (path, (*text).to_owned())
    }))
}

const MADE_UP_DOC: &str = "//! A crate.\n//!\n//! ```text\n//! a picture\n//! ```\n//!\n//! ```text\n//! cli\n\
    //! agent | backend\n//! catalog, process\n//!\n//! agent\n//!   leader\n//!   term, status\n//! ```\n";

fn violations(files: &[(&str, &str)]) -> Vec<String> {
    let lib = [("lib", MADE_UP_DOC)];
    let sources = made_up(&[&lib, files].concat());
    upward_arrows(&imports(&sources), &Order::of_crate_doc(&sources))
}

#[test]
fn an_upward_arrow_is_found() {
    let found = violations(&[("catalog", "use crate::cli::Flags;"), ("cli", "pub struct Flags;")]);
    assert_eq!(found, ["catalog imports cli (crate::cli::Flags), which stands above it"]);
    let found = violations(&[("agent/term", "fn f() { super::leader::g() }"), ("agent/leader", ""), ("agent", "")]);
    assert_eq!(found, ["agent::term imports agent::leader (super::leader::g), which stands above it"]);
    assert!(violations(&[("cli", "use crate::catalog::Status;"), ("catalog", "pub struct Status;")]).is_empty());
}

#[test]
fn an_arrow_between_the_two_of_a_pair_is_found() {
    let found = violations(&[("agent/term", "use crate::{backend::Config};"), ("agent", ""), ("backend", "")]);
    assert_eq!(found, ["agent::term imports backend (crate::backend::Config), which it may not know"]);
    assert!(violations(&[("catalog", "use crate::process::x;"), ("process", "")]).is_empty());
}

#[test]
fn an_import_of_what_an_ordered_parent_defines_is_an_upward_arrow() {
    let found = violations(&[("agent", "pub mod term;\npub struct Config;"), ("agent/term", "use super::Config;")]);
    assert_eq!(found, ["agent::term imports agent (super::Config), whose own file stands above its modules"]);
}

#[test]
fn a_re_export_counts_as_the_module_that_defines_the_item() {
    let agent = ("agent", "mod status;\nmod term;\npub use status::{inner::Report as Shown};");
    let status = [("agent/status", "mod inner;"), ("agent/status/inner", "pub struct Report;"), ("agent/leader", "")];
    let files = |term| [&[agent, ("agent/term", term)], &status[..]].concat();
    let sources = made_up(&files("use crate::agent::Shown;"));
    let import = &imports(&sources)[0];
    assert_eq!((display(&import.from), display(&import.to)), ("agent::term".into(), "agent::status::inner".into()));
}

#[test]
fn a_path_that_begins_with_an_imported_module_is_an_import() {
    let files = [
        ("cli", "pub fn run() {}"),
        ("catalog", "use crate::process;\nuse crate::cli as flags;\nfn f() { flags::run() }"),
    ];
    let found = violations(&[&files[..], &[("process", "")]].concat());
    assert_eq!(found.len(), 2, "the import of the module and the path in the code: {found:?}");
    let files =
        [("agent/term", "use crate::agent;\nfn f() { agent::leader::g() }"), ("agent/leader", ""), ("agent", "")];
    assert_eq!(violations(&files), ["agent::term imports agent::leader (agent::leader::g), which stands above it"]);
}

#[test]
fn a_ring_is_found() {
    let ring = [
        ("store", "mod read;\nmod write;\nmod rows;"),
        ("store/read", "use super::rows::Row;"),
        ("store/rows", "use crate::store::write::Batch;"),
        ("store/write", "mod queue;"),
        ("store/write/queue", "fn f() -> super::super::read::Reader { todo!() }"),
    ];
    assert_eq!(rings(&imports(&made_up(&ring))), ["store: read -> rows -> write -> read"]);
    assert!(rings(&imports(&made_up(&ring[..4]))).is_empty());
}

#[test]
fn a_module_and_its_own_parts_are_no_ring() {
    let files = [("a", "mod b;\npub struct A;\nfn f() { b::g() }"), ("a/b", "use super::A;\npub fn g() {}")];
    assert!(rings(&imports(&made_up(&files))).is_empty());
}

#[test]
fn comments_strings_and_tests_import_nothing() {
    let text = r##"
        //! crate::b::X
        /* use crate::b::X; /* nested */ crate::b::Y */
        const A: &str = "crate::b::X \" crate::b::Y";
        const B: &str = r#"crate::b::X " crate::b::Y"#;
        const C: [char; 2] = ['"', '\''];
        fn f<'a>(text: &'a str) {}
        #[cfg(test)]
        use crate::b::X;
        #[cfg(test)]
        mod helpers;
        #[cfg(test)]
        mod tests {
            use crate::b::X;
        }
    "##;
    let files = [("a", text), ("a/helpers", "use crate::b::X;"), ("b", "pub struct X;")];
    assert!(imports(&made_up(&files)).is_empty());
}
