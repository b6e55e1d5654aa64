//! The pages in Chromium, by `browser/check.mjs`: nothing is logged as an error, blocked, or loaded from elsewhere; no
//! rule of axe-core is broken, no text covers another, nothing scrolls sideways; each link leads somewhere; and all of
//! it works by keyboard alone.

mod dataset;
mod faulty;
mod job;
mod readme;

use std::path::{Path, PathBuf};

use dataset::Dataset;
use job::{Job, Look, PageSpec, PageView, Part, Reader, Scheme};

/// The views that differ in style: both schemes on a desktop, a phone, and the narrowest window that WCAG asks for, and
/// forced colours.
const LOOKS: [Look; 7] = [
    Look { scheme: Scheme::Light, width: 1280 },
    Look { scheme: Scheme::Light, width: 390 },
    Look { scheme: Scheme::Light, width: 320 },
    Look { scheme: Scheme::Dark, width: 1280 },
    Look { scheme: Scheme::Dark, width: 390 },
    Look { scheme: Scheme::Dark, width: 320 },
    Look { scheme: Scheme::Forced, width: 1280 },
];

/// The parts of a page that answers a question which its first screen shows.
const ANSWER: &[Part] = &[Part::Heading, Part::Answer, Part::Evidence];

/// The pages. One that answers a question has all of its answer in the first screen.
const PAGES: [PageSpec; 12] = [
    PageSpec { name: "sign-in", path: "/", reader: None, first_screen: &[Part::Heading] },
    question("overview", "/"),
    question("versions", "/insights/versions"),
    question("test-matrix", "/insights/test-matrix"),
    question("health", "/insights/health"),
    question("upgrades", "/insights/upgrades"),
    question("deprecation", "/insights/deprecation"),
    question("features", "/insights/features"),
    question("coverage", "/insights/coverage"),
    PageSpec {
        name: "installations",
        path: "/installations",
        reader: Some(Reader::Admin),
        first_screen: &[Part::Heading],
    },
    PageSpec { name: "audit-log", path: "/audit-log", reader: Some(Reader::Admin), first_screen: &[Part::Heading] },
    PageSpec { name: "public", path: "/public", reader: None, first_screen: &[Part::Heading] },
];

const fn question(name: &'static str, path: &'static str) -> PageSpec {
    PageSpec { name, path, reader: Some(Reader::Viewer), first_screen: ANSWER }
}

/// Returns the folder of the screenshots, for people to look at.
fn screenshots() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser")
}

/// Returns a line for each finding.
fn lines(views: &[PageView]) -> Vec<String> {
    let lines_of = |view: &PageView| {
        let PageView { page, dataset, view, findings } = view.clone();
        findings
            .into_iter()
            .map(move |finding| format!("{page}, {dataset}, {view}: {}: {}", finding.kind, finding.detail))
    };
    views.iter().flat_map(lines_of).collect()
}

/// Panics with each finding, or if a view was not visited.
fn assert_flawless(views: &[PageView], expected: usize) {
    let lines = lines(views);
    assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
    assert_eq!(views.len(), expected, "a view was left out");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn every_page_is_flawless_in_a_browser_with_any_data_in_any_look() {
    let sites = futures::future::join_all(Dataset::ALL.map(Dataset::serve)).await;
    let job = Job {
        screenshots: screenshots(),
        sites: sites.iter().map(|(_, site)| site.clone()).collect(),
        pages: PAGES.to_vec(),
        looks: LOOKS.to_vec(),
        keyboard: true,
    };
    let expected = job.expected_views();
    assert_flawless(&job.run().await, expected);
}
