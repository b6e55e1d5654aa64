//! The README's screenshots in `docs/images`, which `make screenshots` writes.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::dataset::Dataset;
use super::job::{Job, Look, Scheme};
use super::{PAGES, assert_flawless};
use crate::servers::checkout;

/// Environment variable that makes the test write the screenshots.
const WRITE: &str = "KAMAJI_TELEMETRY_WRITE";

/// The pages of which the README has a screenshot.
const SHOWN: [&str; 4] = ["overview", "versions", "health", "test-matrix"];

/// The maximum number of bytes of each: all of them load with the README.
const MAX_BYTES: u64 = 100_000;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Makes the screenshots from the data of the demo.
async fn write() {
    let (_backend, site) = Dataset::Demo.serve().await;
    let folder = tempfile::tempdir().unwrap();
    let look = Look { scheme: Scheme::Light, width: 1280 };
    let job = Job {
        screenshots: folder.path().to_owned(),
        sites: vec![site],
        pages: PAGES.into_iter().filter(|page| SHOWN.contains(&page.name)).collect(),
        looks: vec![look],
        keyboard: false,
    };
    let expected = job.expected_views();
    assert_flawless(&job.run().await, expected);
    for page in SHOWN {
        let screenshot = folder.path().join(format!("{page}-demo-light-1280.png"));
        reduce(&screenshot, &checkout("docs/images").join(format!("{page}.png")));
    }
}

/// Writes a PNG with a palette of 256 colours, which has a third of the bytes and no difference that can be seen.
fn reduce(from: &Path, to: &Path) {
    let mut command = Command::new("pngquant");
    command.args(["--force", "--strip", "--speed=1", "--output"]).arg(to).arg(from);
    let status = command.status().unwrap_or_else(|error| panic!("`pngquant` cannot be run: {error}; install it"));
    assert!(status.success(), "{command:?}: {status}");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(feature = "real-servers"), ignore = "needs real servers: run `make test`")]
async fn the_readme_has_small_screenshots_of_the_pages() {
    if std::env::var_os(WRITE).is_some() {
        write().await;
    }
    let readme = fs::read_to_string(checkout("README.md")).unwrap();
    for page in SHOWN {
        let name = format!("docs/images/{page}.png");
        let path = checkout(&name);
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}: run `make screenshots`"));
        assert!(bytes.starts_with(PNG), "{name} is no PNG");
        assert!(bytes.len() as u64 <= MAX_BYTES, "{name}: {} bytes, expected {MAX_BYTES} at most", bytes.len());
        assert!(readme.contains(&format!("({name})")), "README.md does not show {name}");
    }
}
