//! The move of a store's rows into another store.

use super::{plural, table};
use crate::backend::store::{Comparison, Day, DayDifference, Moved, StoreLocation, TableCounts, move_rows};

/// The most days that are printed of those on which stores differ.
const MAX_DAYS: usize = 100;

const SERVED: &str = "a backend serves the store of --from: stop it, and run the same command again";

const DIFFERENT: &str = "the stores differ in the rows above: run the same command again, while nothing else writes to either store; \
                         if they differ again, choose an empty store for --to";

/// The result of a move, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The number of rows that were written, and the rows of both stores.
    pub text: String,
    /// The end, which decides the exit code.
    pub end: MigrationEnd,
}

/// The end of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationEnd {
    /// The stores are equal, and nobody served the source.
    Complete,
    /// Somebody served the source: what it received meanwhile may be missing. The message says what to do.
    Served(&'static str),
    /// The stores differ although nobody served the source. The message says what to do.
    Different(&'static str),
}

/// Moves all rows of a store into another one. A backend may serve the first meanwhile: the move is complete after a run in which
/// none does.
pub async fn migrate(from: &StoreLocation, to: &StoreLocation) -> anyhow::Result<Migrated> {
    Ok(describe(&move_rows(from, to).await?))
}

fn describe(moved: &Moved) -> Migrated {
    let Moved { changed, was_served, comparison, forgets_week } = moved;
    let changed = plural(u64::try_from(*changed).unwrap_or(u64::MAX), "row");
    let different = if comparison.is_equal() { String::new() } else { different_days(comparison) + "\n" };
    let mut text = format!("Wrote {changed}.\n\n{}\n{different}", totals(comparison));
    if *forgets_week {
        text += "The last published week is later than the weeks in the store, which was restored from a backup: switch \
                 --public-page on again after the next Monday only.\n";
    }
    let end = match (was_served, comparison.is_equal()) {
        (true, _) => MigrationEnd::Served(SERVED),
        (false, false) => MigrationEnd::Different(DIFFERENT),
        (false, true) => MigrationEnd::Complete,
    };
    text += match end {
        MigrationEnd::Complete => {
            "The move is complete. Start backends on the store of --to, and none on that of --from any more.\n"
        }
        MigrationEnd::Served(_) | MigrationEnd::Different(_) => "The move is not complete.\n",
    };
    Migrated { text, end }
}

/// Formats the rows and the sums of all tables.
fn totals(Comparison(tables): &Comparison) -> String {
    let heading =
        ["TABLE", "DAYS", "ROWS FROM", "ROWS TO", "SUM FROM", "SUM TO", "DAYS THAT DIFFER"].map(str::to_owned);
    let row = |counts: &TableCounts| {
        let TableCounts { table, rows, sums, days, different } = counts;
        let numbers = [rows[0], rows[1], sums[0], sums[1]].map(|number| number.to_string());
        let [rows_from, rows_to, sum_from, sum_to] = numbers;
        [(*table).to_owned(), days.to_string(), rows_from, rows_to, sum_from, sum_to, different.len().to_string()]
    };
    table(&std::iter::once(heading).chain(tables.iter().map(row)).collect::<Vec<_>>())
}

/// Formats the days on which the stores differ.
fn different_days(Comparison(tables): &Comparison) -> String {
    let heading = ["TABLE", "DAY", "ROWS FROM", "ROWS TO", "SUM FROM", "SUM TO"].map(str::to_owned);
    let all = || tables.iter().flat_map(|counts| counts.different.iter().map(|day| (counts.table, day)));
    let row = |(table, DayDifference { day, rows, sums }): (&str, &DayDifference)| {
        let day = day.and_then(|day| i32::try_from(day).ok());
        let day = day.map_or_else(|| "-".to_owned(), |day| Day::from_number(day).date().to_string());
        let [rows_from, rows_to, sum_from, sum_to] =
            [rows[0], rows[1], sums[0], sums[1]].map(|number| number.to_string());
        [table.to_owned(), day, rows_from, rows_to, sum_from, sum_to]
    };
    let rows: Vec<_> = std::iter::once(heading).chain(all().take(MAX_DAYS).map(row)).collect();
    let more = all().count().saturating_sub(MAX_DAYS);
    let more = if more > 0 { format!("and {more} more\n") } else { String::new() };
    table(&rows) + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(was_served: bool, rows: [i64; 2]) -> Moved {
        let different =
            if rows[0] == rows[1] { vec![] } else { vec![DayDifference { day: Some(20_000), rows, sums: rows }] };
        let counts = TableCounts { table: "days", rows, sums: rows, days: 1, different };
        Moved { changed: 1, was_served, comparison: Comparison(vec![counts]), forgets_week: false }
    }

    #[test]
    fn a_move_is_complete_with_equal_stores_of_which_nobody_served_the_first() {
        let complete = describe(&moved(false, [3, 3]));
        assert!(complete.text.contains("The move is complete"), "{}", complete.text);
        assert_eq!(complete.end, MigrationEnd::Complete);
        for rows in [[3, 2], [3, 3]] {
            let served = describe(&moved(true, rows));
            assert!(served.text.contains("The move is not complete."), "{}", served.text);
            assert_eq!(served.end, MigrationEnd::Served(SERVED));
        }
        let different = describe(&moved(false, [3, 2]));
        assert!(different.text.contains("2024-10-04") && different.text.contains("not complete"), "{}", different.text);
        assert_eq!(different.end, MigrationEnd::Different(DIFFERENT));
    }
}
