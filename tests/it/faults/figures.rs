//! The figures of each test, a row for the table of `docs/reliability.md`.

use std::fs;
use std::path::Path;

use super::oracle::Report;
use super::scene::Outcome;

/// Prints the row of a fault and writes it to `target/tmp/faults/{file}.md`, since the output of a passing test is not
/// shown.
pub(super) fn row(file: &str, fault: &str, outcome: &Outcome) {
    let Outcome { report, delay } = outcome;
    let Report { changes, stored, coalesced, missing, repeated, invented, findings: _ } = report;
    let delay = delay.as_secs_f64();
    let row = format!(
        "| {fault} | {changes} | {stored} | {coalesced} | {missing} | {repeated} | {invented} | {delay:.1} s |\n"
    );
    print!("faults: {row}");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults");
    fs::create_dir_all(&folder).expect("cargo's folder can be written to");
    fs::write(folder.join(format!("{file}.md")), row).expect("cargo's folder can be written to");
}
