//! Links between the documents.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{documents, prose};

/// Returns the anchors of the headings: lower case, hyphens for spaces, no other punctuation.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        kept.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect()
    };
    headings.map(anchor).collect()
}

/// Returns the targets of a text's links and pictures that are not URLs.
fn links(text: &str) -> Vec<&str> {
    let after = prose(text).flat_map(|line| line.split("](").skip(1));
    after.filter_map(|rest| rest.split_once(')')).map(|(link, _)| link).filter(|link| !link.contains("://")).collect()
}

/// Returns the reason why a link of the document at `path` does not resolve.
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
fn every_relative_link_and_anchor_resolves() {
    let (mut count, mut broken) = (0, Vec::new());
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for link in links(&text) {
            count += 1;
            broken.extend(fault(&path, &text, link).map(|why| format!("{}: {link}: {why}", path.display())));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(count > 60, "{count} links were found");
}

/// A page that is longer than two screens has a list of its headings after the introduction.
#[test]
fn a_long_page_has_a_contents_list_of_all_its_second_headings() {
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        let Some((_, list)) = text.split_once("\n**Contents**") else { continue };
        let (list, _) = list.split_once("\n## ").unwrap();
        let listed: Vec<_> =
            links(list).into_iter().filter_map(|link| Some(link.strip_prefix('#')?.to_owned())).collect();
        let headings: Vec<_> = prose(&text).filter(|line| line.starts_with("## ")).collect();
        let expected: Vec<_> = headings.iter().flat_map(|heading| anchors(heading)).collect();
        assert_eq!(listed, expected, "{}", path.display());
    }
}
