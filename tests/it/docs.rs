//! The documentation: its links resolve, what it names exists, and its reference tables are those of the code.

mod audit_lines;
mod examples;
mod links;
mod messages;
mod names;
mod payloads;
mod reference;
mod rights;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kamaji_telemetry::cli::Cli;
use regex::Regex;

use crate::servers::checkout;

/// Returns the Markdown files for people: the top level, `docs/`, and the charts' READMEs.
fn documents() -> Vec<PathBuf> {
    let charts = fs::read_dir(checkout("charts")).unwrap().map(|chart| chart.unwrap().path());
    let folders = [checkout(""), checkout("docs")].into_iter().chain(charts);
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap()).map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "md")).collect()
}

/// Returns the lines that are not in a code block.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_example = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_example ^= is_fence;
        !is_example && !is_fence
    })
}

/// Returns what is between backticks in prose.
fn code_spans(text: &str) -> Vec<&str> {
    prose(text).flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// Returns the sources of the program, without its unit tests, by path.
fn sources() -> Vec<(PathBuf, String)> {
    fn collect(folder: &Path, tests: &Regex, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, tests, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let text = tests.splitn(&text, 2).next().unwrap().to_owned();
                found.push((path, text));
            }
        }
    }
    // The tests are at the end of a file; a declaration such as `mod tests;` is at its beginning.
    let tests = Regex::new(r"\n#\[cfg\(test\)\]\nmod \w+ \{").unwrap();
    let mut found = Vec::new();
    collect(&checkout("src"), &tests, &mut found);
    found
}

/// Returns the program's commands, each with its words, such as `kamaji-telemetry backend serve`.
fn commands() -> Vec<(String, clap::Command)> {
    fn collect(words: &str, command: &clap::Command, found: &mut Vec<(String, clap::Command)>) {
        let words = format!("{words}{}", command.get_name());
        let below: Vec<_> = command.get_subcommands().filter(|below| below.get_name() != "help").collect();
        // A command with arguments of its own is one beside those below it.
        if below.is_empty() || command.get_positionals().next().is_some() {
            found.push((words.clone(), command.clone()));
        }
        for command in below {
            collect(&format!("{words} "), command, found);
        }
    }
    let mut program = <Cli as clap::CommandFactory>::command();
    program.build();
    let mut found = Vec::new();
    collect("", &program, &mut found);
    found
}

/// Returns every match of `pattern` in `text`.
fn matches<'a>(pattern: &str, text: &'a str) -> BTreeSet<&'a str> {
    Regex::new(pattern).unwrap().find_iter(text).map(|found| found.as_str()).collect()
}
