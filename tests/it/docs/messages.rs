//! Messages that `docs/troubleshooting.md` quotes.

use regex::Regex;

use super::{prose, sources};
use crate::servers::checkout;

/// Heading of the section whose messages are not this project's: the relay is an OpenTelemetry Collector.
const FOREIGN: &str = "## The relay";

/// Returns the string literals of the sources as one text, continued lines joined.
fn literals() -> String {
    let continued = Regex::new(r"\\\n\s*").unwrap();
    let literal = Regex::new(r#""((?:[^"\\]|\\.)*)""#).unwrap();
    let mut found = String::new();
    for (_, text) in sources() {
        let text = continued.replace_all(&text, "");
        for literal in literal.captures_iter(&text) {
            found.push_str(&literal[1]);
            found.push('\n');
        }
    }
    found
}

/// Returns the messages in backticks of the first columns of the tables, `…` standing for what varies.
fn messages(text: &str) -> Vec<String> {
    let mut messages = Vec::new();
    let mut is_foreign = false;
    for line in prose(text) {
        if line.starts_with("## ") {
            is_foreign = line == FOREIGN;
        }
        let Some(row) = line.strip_prefix("| `").filter(|_| !is_foreign) else { continue };
        let (column, _) = row.split_once(" | ").unwrap();
        // A metric is its name; its labels are in no literal.
        let quoted = column.split('`').step_by(2).map(|quoted| quoted.split_once('{').map_or(quoted, |(name, _)| name));
        messages.extend(quoted.filter(|message| !message.is_empty()).map(str::to_owned));
    }
    messages
}

#[test]
fn every_message_in_the_troubleshooting_is_one_of_the_programs() {
    let text = std::fs::read_to_string(checkout("docs/troubleshooting.md")).unwrap();
    let (literals, messages) = (literals(), messages(&text));
    let is_there = |message: &str| {
        message.split('…').map(str::trim).filter(|part| part.len() > 3).all(|part| literals.contains(part))
    };
    let unknown: Vec<_> = messages.iter().filter(|message| !is_there(message)).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(messages.len() > 30, "{} messages were found", messages.len());
}
