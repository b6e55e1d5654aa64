//! Answers as JSON, CSV, text for terminals, and a matrix of GitHub Actions. All of them have the same rows.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt::Write;

use csv::{QuoteStyle, Terminator, WriterBuilder};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use super::answer::Answer;
use super::test_matrix::github_matrix;

/// A format of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerFormat {
    /// An object with the rows, and what they are about.
    Json,
    /// The rows alone, below the names of their columns.
    Csv,
    /// The test matrix as `fromJSON` of GitHub Actions takes it.
    Github,
    /// Aligned columns for people.
    Table,
}

/// The error of an answer that cannot be rendered: its rows are not flat.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A row that is no object.
    #[error("a row cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A row that has more than numbers, texts and booleans.
    #[error("a row cannot be written as CSV: {0}")]
    Csv(#[from] csv::Error),
}

/// An answer of any question.
pub trait AnyAnswer: Any + Send + Sync {
    /// Returns the time at which the store was read.
    fn generated_at(&self) -> Timestamp;

    /// Returns the last complete day.
    fn data_through(&self) -> Date;

    /// Renders the answer.
    fn render(&self, format: AnswerFormat) -> Result<String, RenderError>;
}

impl<R> AnyAnswer for Answer<R>
where
    R: Serialize + ToSchema + Send + Sync + 'static,
{
    fn generated_at(&self) -> Timestamp {
        self.generated_at
    }

    fn data_through(&self) -> Date {
        self.data_through
    }

    fn render(&self, format: AnswerFormat) -> Result<String, RenderError> {
        match format {
            AnswerFormat::Json => Ok(serde_json::to_string(self)? + "\n"),
            AnswerFormat::Csv => csv_of(&self.rows),
            AnswerFormat::Github => Ok(github(self)),
            AnswerFormat::Table => text(self),
        }
    }
}

/// Returns the names of the columns of a row, in the order of its fields.
pub fn columns<R: ToSchema>() -> Vec<String> {
    match R::schema() {
        RefOr::T(Schema::Object(object)) => object.properties.into_iter().map(|(name, _)| name).collect(),
        _ => Vec::new(),
    }
}

/// Returns rows as CSV (RFC 4180), with a header also where there is no row.
///
/// A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula. None can arise: texts are versions
/// and words of the catalog, labels, and sentences of this program, all of which begin with a letter or a digit, and a
/// negative number is a number. Nothing that a sender wrote is among them.
fn csv_of<R: Serialize + ToSchema>(rows: &[R]) -> Result<String, RenderError> {
    let mut writer = WriterBuilder::new()
        .has_headers(false)
        .quote_style(QuoteStyle::Necessary)
        .terminator(Terminator::CRLF)
        .from_writer(Vec::new());
    writer.write_record(columns::<R>())?;
    for row in rows {
        writer.serialize(row)?;
    }
    let bytes = writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the pairs of a test matrix in one line. No other question is asked for in this format.
fn github(answer: &dyn Any) -> String {
    answer.downcast_ref().map(github_matrix).unwrap_or_default() + "\n"
}

/// Returns an answer for a terminal: the sentence, then one block for each table of its rows, without the columns that
/// are empty in all of it, then the notes.
fn text<R: Serialize + ToSchema>(answer: &Answer<R>) -> Result<String, RenderError> {
    let names = columns::<R>();
    let cells = |row: &R| {
        let row = serde_json::to_value(row)?;
        Ok(names.iter().map(|name| row.get(name).cloned().unwrap_or_default()).collect())
    };
    let rows: Vec<Vec<Value>> = answer.rows.iter().map(cells).collect::<Result<_, serde_json::Error>>()?;
    let table_of = |row: &Vec<Value>| row.first().and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut text = format!("{}\n", answer.answer);
    let mut written = BTreeSet::new();
    for table in rows.iter().map(table_of) {
        if !written.insert(table.clone()) {
            continue;
        }
        let block: Vec<_> = rows.iter().filter(|row| table_of(row) == table).collect();
        let _ = write!(text, "\n{table}\n{}", aligned(&names, &block));
    }
    let _ = write!(text, "\ndata through {}, read at {:.0}\n", answer.data_through, answer.generated_at);
    for note in &answer.notes {
        let _ = writeln!(text, "note: {note}");
    }
    Ok(text)
}

/// Returns rows in aligned columns, below their names. The first column, which all rows share, and those without a
/// value are left out.
fn aligned(names: &[String], rows: &[&Vec<Value>]) -> String {
    let columns = names.iter().enumerate().skip(1).filter_map(|(position, name)| {
        let values: Vec<_> = rows.iter().filter_map(|row| row.get(position)).collect();
        values.iter().any(|value| !value.is_null()).then(|| TextColumn::of(name, &values))
    });
    // Sentences come last, where they may be wider than the terminal.
    let (narrow, wide): (Vec<_>, Vec<_>) = columns.partition(|column| column.width <= MAX_WIDTH);
    let columns: Vec<_> = narrow.into_iter().chain(wide).collect();
    let line = |line: usize| {
        let cells: Vec<_> = columns.iter().map(|column| column.cell(line)).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    (0..=rows.len()).map(line).collect()
}

/// A column of a table for people.
struct TextColumn {
    /// The name, and then the cells.
    cells: Vec<String>,
    width: usize,
    /// True if it is aligned at its right end.
    is_numeric: bool,
}

impl TextColumn {
    fn of(name: &str, values: &[&Value]) -> Self {
        let fractions = values.iter().filter(|value| value.is_f64()).filter_map(|value| value.as_f64());
        let decimals = fractions.map(decimals).max().unwrap_or_default();
        let cells = std::iter::once(name.to_owned()).chain(values.iter().map(|value| cell(value, decimals)));
        let cells: Vec<_> = cells.collect();
        let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or_default();
        Self { width, is_numeric: values.iter().all(|value| value.is_number() || value.is_null()), cells }
    }

    fn cell(&self, line: usize) -> String {
        let (cell, width) = (self.cells.get(line).map_or("", String::as_str), self.width);
        if self.is_numeric { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    }
}

/// The characters of the widest column that keeps its place.
const MAX_WIDTH: usize = 60;

/// The most decimals of a fraction: a share of 1,000 needs no more.
const MAX_DECIMALS: usize = 3;

/// The smallest fraction that has a digit in these decimals.
const MIN_FRACTION: f64 = 0.000_5;

/// Returns the decimals that a fraction needs.
fn decimals(fraction: f64) -> usize {
    let rounded = format!("{fraction:.MAX_DECIMALS$}");
    let decimals = rounded.trim_end_matches('0');
    decimals.split_once('.').map_or(0, |(_, decimals)| decimals.len())
}

/// Returns a value as a cell, which is never empty. Something is never zero.
fn cell(value: &Value, decimals: usize) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => match number.as_f64().unwrap_or_default() {
            fraction if fraction > 0.0 && fraction < MIN_FRACTION => "<0.001".to_owned(),
            fraction if fraction < 0.0 && fraction > -MIN_FRACTION => ">-0.001".to_owned(),
            fraction => format!("{fraction:.decimals$}"),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::backend::insights::definitions::Window;

    #[derive(Debug, Clone, Copy, Serialize, ToSchema)]
    #[serde(rename_all = "snake_case")]
    enum PairTable {
        Pairs,
        Rest,
    }

    #[derive(Debug, Serialize, ToSchema)]
    struct PairRow {
        table: PairTable,
        kubernetes: Option<String>,
        kamaji: Option<&'static str>,
        day: Option<Date>,
        installations: u64,
        share: Option<f64>,
        cumulative: Option<f64>,
    }

    fn pair(kubernetes: &str) -> PairRow {
        PairRow {
            table: PairTable::Pairs,
            kubernetes: Some(kubernetes.into()),
            kamaji: Some("v1.1.1"),
            day: None,
            installations: 44,
            share: Some(0.251),
            cumulative: Some(0.251),
        }
    }

    fn answer(rows: Vec<PairRow>) -> Answer<PairRow> {
        Answer {
            generated_at: "2026-11-27T01:00:00Z".parse().unwrap(),
            data_through: "2026-11-26".parse().unwrap(),
            source: "agent",
            window: Some(Window::Days30),
            answer: "1 pair covers 90 %.".into(),
            notes: vec!["Unknown versions are left out.".into()],
            rows,
        }
    }

    fn pairs() -> Answer<PairRow> {
        let rest = PairRow {
            table: PairTable::Rest,
            kubernetes: None,
            kamaji: None,
            share: None,
            cumulative: None,
            ..pair("")
        };
        answer(vec![pair("v1.35.4"), PairRow { day: Some("2026-11-26".parse().unwrap()), ..rest }])
    }

    #[test]
    fn csv_has_the_names_of_the_json_in_the_same_order_also_without_rows() {
        let csv = pairs().render(AnswerFormat::Csv).unwrap();
        let header = "table,kubernetes,kamaji,day,installations,share,cumulative\r\n";
        let rows = "pairs,v1.35.4,v1.1.1,,44,0.251,0.251\r\nrest,,,2026-11-26,44,,\r\n";
        assert_eq!(csv, [header, rows].concat());
        assert_eq!(answer(vec![]).render(AnswerFormat::Csv).unwrap(), header);
        let json = pairs().render(AnswerFormat::Json).unwrap();
        let mut rest = json.split_once("\"rows\":[{").unwrap().1;
        for name in columns::<PairRow>() {
            rest = rest.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("{name} is not next in {rest}")).1;
        }
    }

    #[test]
    fn a_terminal_gets_a_block_for_each_table_without_its_empty_columns() {
        let expected = "1 pair covers 90 %.\n\
            \n\
            pairs\n\
            kubernetes  kamaji  installations  share  cumulative\n\
            v1.35.4     v1.1.1             44  0.251       0.251\n\
            \n\
            rest\n\
            day         installations\n\
            2026-11-26             44\n\
            \n\
            data through 2026-11-26, read at 2026-11-27T01:00:00Z\n\
            note: Unknown versions are left out.\n";
        assert_eq!(pairs().render(AnswerFormat::Table).unwrap(), expected);
    }

    #[test]
    fn fractions_of_a_column_have_the_same_decimals_and_something_is_never_zero() {
        let cells = |values: &[Value]| {
            let column = TextColumn::of("n", &values.iter().collect::<Vec<_>>());
            (1..=values.len()).map(|line| column.cell(line)).collect::<Vec<_>>()
        };
        assert_eq!(
            cells(&[json!(0.5), json!(0.251_366), json!(0.0), json!(null)]),
            ["0.500", "0.251", "0.000", "    -"]
        );
        assert_eq!(cells(&[json!(12.5), json!(2.0)]), ["12.5", " 2.0"]);
        assert_eq!(cells(&[json!(4.0), json!(11)]), [" 4", "11"]);
        assert_eq!(cells(&[json!(0.000_2), json!(-0.000_2)]), [" <0.001", ">-0.001"]);
        assert_eq!(cells(&[json!("26.9"), json!("26.11"), json!(true)]), ["26.9 ", "26.11", "true "]);
    }
}
