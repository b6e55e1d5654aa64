//! The answer to a question: a sentence, and flat rows.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::definitions::Window;
use crate::backend::store::{Day, Facts, FactsQuery, SourceKind};

/// A question with its parameters.
///
/// A pure function from facts to rows: the same facts result in the same answer.
pub trait Question {
    /// A row of the answer: flat, with the same fields in each row.
    type Row: Serialize;

    /// Returns the queries whose facts [`Question::answer`] needs, in its order. `through` is the last complete day.
    fn queries(&self, through: Day) -> Vec<FactsQuery>;

    /// Answers the question from the facts of [`Question::queries`].
    fn answer(&self, facts: &[Facts], asked: Asked) -> Answer<Self::Row>;
}

/// The time at which a question is asked, and what holds for each question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The time.
    pub at: Timestamp,
    /// The fewest installations of a version that is shown by its name.
    pub min_installations: u64,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer<R> {
    /// The time at which the store was read.
    pub generated_at: Timestamp,
    /// The last complete day, with which windows end.
    pub data_through: Date,
    /// The senders: `agent` or `kamaji`, or [`BOTH_SOURCES`].
    pub source: &'static str,
    /// The window, such as `30d`; `None` if the question has none.
    pub window: Option<Window>,
    /// The answer as one sentence, with its doubt.
    pub answer: String,
    /// Notes on how to read the rows.
    pub notes: Vec<String>,
    /// The rows.
    pub rows: Vec<R>,
}

impl Asked {
    /// Returns the day that is not over.
    pub fn today(self) -> Day {
        Day::of(crate::backend::store::utc_day(self.at))
    }

    /// Returns the last complete day.
    pub fn through(self) -> Day {
        self.today().minus(1)
    }
}

/// The source of an answer that has rows of each.
pub const BOTH_SOURCES: &str = "agent and kamaji";

/// Returns the name of a source, as parameters and answers have it.
pub const fn source_name(source: SourceKind) -> &'static str {
    match source {
        SourceKind::Agent => "agent",
        SourceKind::Kamaji => "kamaji",
    }
}
