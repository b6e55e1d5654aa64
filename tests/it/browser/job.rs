//! A run of `check.mjs`: what it reads, and what it prints.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::servers::{checkout, tool_path};

/// A run: each page of each site in each look.
#[derive(Clone, Serialize)]
pub(super) struct Job {
    /// The folder of the screenshots, named `{page}-{dataset}-{scheme}-{width}.png`.
    pub(super) screenshots: PathBuf,
    pub(super) sites: Vec<Site>,
    pub(super) pages: Vec<PageSpec>,
    pub(super) looks: Vec<Look>,
    /// Whether each page is also operated by keyboard, and its links are followed.
    pub(super) keyboard: bool,
}

/// A running backend.
#[derive(Clone, Serialize)]
pub(super) struct Site {
    /// The name of its data.
    pub(super) dataset: &'static str,
    /// The scheme, address and port.
    pub(super) origin: String,
    pub(super) tokens: Tokens,
    /// Whether there is data that a page can answer from.
    pub(super) has_data: bool,
}

/// A token of each role, with which readers sign in.
#[derive(Clone, Default, Serialize)]
pub(super) struct Tokens {
    pub(super) viewer: String,
    pub(super) admin: String,
}

/// A page, and what it has to show.
#[derive(Clone, Copy, Serialize)]
pub(super) struct PageSpec {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    /// The role of its reader, or `None` for those without a session.
    pub(super) reader: Option<Reader>,
    /// The parts that are in a window of 1280 × 800 pixels without scrolling. Without data, the heading alone has to
    /// be.
    pub(super) first_screen: &'static [Part],
}

/// The role of a reader.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reader {
    Viewer,
    Admin,
}

/// A part of a page that answers a question.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// The `h1`.
    Heading,
    /// The answer as a sentence.
    Answer,
    /// The first chart, or the first rows of the first table.
    Evidence,
}

/// The style and the size in which a page is shown.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Look {
    pub(super) scheme: Scheme,
    /// The width of the window in CSS pixels.
    pub(super) width: u16,
}

/// The colours that the reader prefers.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Scheme {
    Light,
    Dark,
    /// Dark, and of the operating system instead of the page.
    Forced,
}

/// A line of the output: what was found in one view of a page.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct PageView {
    pub(super) dataset: String,
    pub(super) page: String,
    pub(super) view: String,
    pub(super) findings: Vec<Finding>,
}

/// A flaw.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Finding {
    pub(super) kind: String,
    pub(super) detail: String,
}

impl Job {
    /// Returns the number of lines that a run prints: for each site one for each look of each page, one for its
    /// keyboard, and two for the sign-in and the sign-out of each reader.
    pub(super) fn expected_views(&self) -> usize {
        let readers: BTreeSet<_> = self.pages.iter().filter_map(|page| page.reader).collect();
        let views_of_page = self.looks.len() + usize::from(self.keyboard);
        self.sites.len() * (self.pages.len() * views_of_page + 2 * readers.len())
    }

    /// Visits all views in a browser of its own.
    pub(super) async fn run(self) -> Vec<PageView> {
        tokio::task::spawn_blocking(move || self.run_blocking()).await.unwrap()
    }

    fn run_blocking(&self) -> Vec<PageView> {
        let modules = tool_path("browser/package.json").with_file_name("");
        let mut node = Command::new("node")
            .arg(checkout("tests/it/browser/check.mjs"))
            .arg(modules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("`node` cannot be run: {error}; install Node.js 20 or later"));
        node.stdin.take().unwrap().write_all(&serde_json::to_vec(self).unwrap()).unwrap();
        let output = node.wait_with_output().unwrap();
        assert!(output.status.success(), "check.mjs failed ({}): see standard error", output.status);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }
}
