//! The modules of a crate and their code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::tokens::{tokens, without_tests};
use crate::servers::checkout;

/// The path of a module below the crate; the crate's own is empty.
pub(super) type Module = Vec<String>;

/// The modules of a crate that are not for tests only.
pub(super) struct CrateSources {
    /// The text of `src/lib.rs`.
    pub(super) lib: String,
    /// The tokens of each module's file.
    pub(super) files: BTreeMap<Module, Vec<String>>,
}

/// Returns a module's path as code writes it.
pub(super) fn display(module: &[String]) -> String {
    if module.is_empty() { "the crate".to_owned() } else { module.join("::") }
}

/// Reads the sources of this repository.
pub(super) fn repository() -> CrateSources {
    let mut files = Vec::new();
    read_folder(&checkout("src"), &mut Vec::new(), &mut files);
    CrateSources::of(files.into_iter())
}

impl CrateSources {
    /// Leaves out the modules that only tests declare.
    pub(super) fn of(files: impl Iterator<Item = (Module, String)>) -> Self {
        let (mut sources, mut test_modules) = (Self { lib: String::new(), files: BTreeMap::new() }, Vec::new());
        for (module, text) in files {
            let (tokens, declared) = without_tests(&tokens(&text));
            test_modules.extend(declared.into_iter().map(|name| [module.clone(), vec![name]].concat()));
            if module.is_empty() {
                sources.lib = text;
            }
            sources.files.insert(module, tokens);
        }
        let is_of_tests = |module: &Module| test_modules.iter().any(|test_module| module.starts_with(test_module));
        sources.files.retain(|module, _| !is_of_tests(module));
        sources
    }

    /// Returns the names of the modules directly below this one.
    pub(super) fn children(&self, module: &[String]) -> BTreeSet<String> {
        let below = self.files.keys().filter(|other| other.len() > module.len() && other.starts_with(module));
        below.map(|child| child[module.len()].clone()).collect()
    }
}

fn read_folder(folder: &Path, module: &mut Module, files: &mut Vec<(Module, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            module.push(name);
            read_folder(&path, module, files);
            module.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "main" {
            let of_file = if name == "lib" { Vec::new() } else { [module.clone(), vec![name]].concat() };
            files.push((of_file, fs::read_to_string(&path).unwrap()));
        }
    }
}
