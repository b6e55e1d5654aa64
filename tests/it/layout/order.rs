//! The order of the modules, as the crate doc states it.

use std::collections::BTreeSet;

use super::crate_sources::{CrateSources, Module, display};
use super::imports::Import;

/// A line of the order: modules that all lines above may import.
struct Line {
    modules: Vec<String>,
    /// Written with `|`: none of them imports another.
    are_apart: bool,
}

/// The lines of each folder that is ordered, from top to bottom.
pub(super) struct Order {
    folders: Vec<(Module, Vec<Line>)>,
}

impl Order {
    /// Reads the second block of text in the crate doc.
    ///
    /// A line names modules, between commas or between bars. After an empty line a module's own name introduces the
    /// modules within it, whose lines are indented.
    pub(super) fn of_crate_doc(sources: &CrateSources) -> Self {
        let doc = sources.lib.lines().filter_map(|line| line.strip_prefix("//!"));
        let doc: Vec<_> = doc.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        let block = doc.split(|line| line.starts_with("```")).nth(3).expect("src/lib.rs has a second block of text");
        let mut paragraphs = block.split(|line| line.is_empty());
        let crate_lines = paragraphs.next().expect("a block has a first paragraph").iter().map(|line| Line::read(line));
        let mut folders = vec![(Module::new(), crate_lines.collect())];
        for paragraph in paragraphs {
            let (folder, lines) = paragraph.split_first().expect("a paragraph has a first line");
            folders.push((vec![(*folder).to_owned()], lines.iter().map(|line| Line::read(line)).collect()));
        }
        Self { folders }
    }

    /// Returns each ordered folder and the modules that its lines name.
    pub(super) fn folders(&self) -> impl Iterator<Item = (&Module, BTreeSet<String>)> {
        self.folders
            .iter()
            .map(|(folder, lines)| (folder, lines.iter().flat_map(|line| line.modules.clone()).collect()))
    }

    /// Describes the violation of an import, if there is one.
    pub(super) fn violation(&self, import: &Import) -> Option<String> {
        let reason = self.folders.iter().find_map(|(folder, lines)| reason(folder, lines, import))?;
        let Import { from, to, path } = import;
        Some(format!("{} imports {} ({path}), {reason}", display(from), display(to)))
    }
}

fn reason(folder: &Module, lines: &[Line], Import { from, to, .. }: &Import) -> Option<&'static str> {
    let below = |module: &Module| module.starts_with(folder).then(|| module.get(folder.len()).cloned());
    let (from, to) = (below(from)?, below(to)?);
    // The folder's own file may import all that it holds.
    let from = from?;
    let Some(to) = to else { return Some("whose own file stands above its modules") };
    let line = |name: &String| lines.iter().position(|line| line.modules.contains(name));
    let (from_line, to_line) = (line(&from)?, line(&to)?);
    if to_line < from_line {
        return Some("which stands above it");
    }
    (to_line == from_line && to != from && lines[to_line].are_apart).then_some("which it may not know")
}

impl Line {
    fn read(text: &str) -> Self {
        let modules = text.split([',', '|']).map(|name| name.trim().to_owned()).collect();
        Self { modules, are_apart: text.contains('|') }
    }
}
