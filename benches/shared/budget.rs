//! The rows of the table of budgets, which `make bench` prints at its end.

use std::fs::OpenOptions;
use std::io::Write;

/// The variable with the file to which the rows are added. Without it there is no table.
const VARIABLE: &str = "KAMAJI_TELEMETRY_BUDGETS";

/// Adds a row: what was measured, what was reached and the budget, with whether it was met.
///
/// # Errors
/// The file that the variable names can't be written.
pub(crate) fn add_row(what: &str, reached: &str, budget: &str, is_met: bool) -> std::io::Result<()> {
    let Some(path) = std::env::var_os(VARIABLE) else { return Ok(()) };
    let met = if is_met { "met" } else { "**missed**" };
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "| {what} | {reached} | {budget} | {met} |")
}
