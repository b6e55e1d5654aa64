//! The documentation: its links lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::servers::checkout;

/// The documents that are written for people, charts' included.
fn documents() -> Vec<PathBuf> {
    let folders = ["", "docs", "charts/kamaji-telemetry", "charts/kamaji-telemetry-backend"];
    let files = folders.iter().flat_map(|folder| fs::read_dir(checkout(folder)).unwrap());
    files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "md")).collect()
}

/// The lines that are no example.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_example = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_example ^= is_fence;
        !is_example && !is_fence
    })
}

/// What headings are linked by: lower case, hyphens for spaces, no other punctuation.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        kept.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect()
    };
    headings.map(anchor).collect()
}

/// The targets of a text's links that are no URLs.
fn links(text: &str) -> Vec<&str> {
    let after = prose(text).flat_map(|line| line.split("](").skip(1));
    after.filter_map(|rest| rest.split_once(')')).map(|(link, _)| link).filter(|link| !link.contains("://")).collect()
}

/// What is wrong with a link of the document at `path`.
fn fault(path: &Path, text: &str, link: &str) -> Option<&'static str> {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() { path.to_owned() } else { path.parent().unwrap().join(file) };
    if !target.exists() {
        return Some("there is no such file");
    }
    let target = if file.is_empty() { text.to_owned() } else { fs::read_to_string(target).unwrap_or_default() };
    (!anchor.is_empty() && !anchors(&target).contains(anchor)).then_some("there is no such heading")
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let mut count = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for link in links(&text) {
            count += 1;
            assert_eq!(fault(&path, &text, link), None, "{}: {link}", path.display());
        }
    }
    assert!(count > 30, "{count} links were found");
}
