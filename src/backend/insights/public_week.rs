//! The rule of the public page: what is shown of the counts of a week. No I/O.
//!
//! A category of n installations has the offset o, 0 to 4, an HMAC of its table and its name under a key of the store,
//! and shows `v = 5 · ⌊(n − o) / 5⌋` as "v or more" if v is 10 or more. All others are one row, the sum of their own v,
//! which is "few or none" below 10. So a page says nothing of a category but its v; and whoever sees v change learns
//! `n − o`, which leaves five values of n that no other figure tells apart. A row of the others that were summed first and
//! rounded then would be a second measurement of the same count with another offset, and two measurements may leave one
//! value: the tests in `attack` pin counts by it.

#[cfg(test)]
mod attack;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::backend::store::{CategoryCount, PublicKey, WeekCounts};

/// The fewest installations of which a week shows more than that they are fewer.
pub const MIN_PUBLIC_INSTALLATIONS: u64 = 50;

/// The step between shown numbers, and the number of offsets: a step at which a count is known leaves as many values of
/// it.
const STEP: u64 = 5;

/// The smallest number that is shown.
const MIN_SHOWN: u64 = 10;

/// The fewest categories of a table: of one alone it would tell only that it is the one.
const MIN_CATEGORIES: usize = 2;

/// The rule in words, for those who read what is published.
pub const RULE: [&str; 6] = [
    "Counted are installations whose agents reported in the week, on two days at least before its end, and for the first time \
     28 days before its Monday or earlier. Each counts once, by its last report of the week. Weeks are of UTC.",
    "A week is made once, after Monday 01:00 UTC, and never changed, whatever is erased later.",
    "Below 50 installations, and up to 53 by an offset as below, nothing is published but that there are fewer than 54.",
    "Each number is the largest multiple of 5 that is not above the count less 0 to 4: the offset is a secret of each row, and \
     the same for ever. A row is shown from 10 on.",
    "All others are one row, the sum of their own numbers, from 10 on. Versions that are not known are among them.",
    "A table with fewer than two rows to show is left out. No table has two dimensions, sums of control planes or exact versions.",
];

/// A week as it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublicWeek {
    /// The Monday with which it begins.
    pub week: Date,
    /// 54 if there were fewer than 50 to 54 installations, and nothing else is shown; else null.
    pub fewer_than: Option<u64>,
    /// The tables that have at least two categories to show.
    pub tables: Vec<PublicTable>,
}

/// A table of a published week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublicTable {
    /// The dimension by which it counts.
    pub table: PublicDimension,
    /// The categories that are shown.
    pub rows: Vec<PublicRow>,
    /// All other installations: at least this many, or null for few or none.
    pub others_at_least: Option<u64>,
    /// The sum of what is shown.
    pub sum_at_least: u64,
}

/// The dimension of a table. No table has two, and none adds up control planes, of which one large installation would
/// show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PublicDimension {
    /// The minor version of Kamaji.
    KamajiMinor,
    /// The minor version of Kubernetes of the management cluster.
    KubernetesMinor,
    /// The number of control planes.
    Size,
}

/// A category that is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublicRow {
    /// The name of the category.
    pub category: String,
    /// At least this many installations.
    pub at_least: u64,
}

impl PublicDimension {
    /// Returns the name under which its offsets are computed. It never changes: another name would give other offsets.
    const fn offset_name(self) -> &'static str {
        match self {
            Self::KamajiMinor => "kamaji_minor",
            Self::KubernetesMinor => "kubernetes_minor",
            Self::Size => "size",
        }
    }
}

/// Returns what is published of the week that begins on `week`.
pub fn publish(week: Date, counts: &WeekCounts, key: &PublicKey) -> PublicWeek {
    let WeekCounts { installations, kamaji, kubernetes, sizes } = counts;
    // Without an offset, whoever lifts the number to the bound with installations of their own learns all of it.
    let offset = key.number_below(STEP, "installations", "all");
    if rounded(*installations, offset) < MIN_PUBLIC_INSTALLATIONS {
        return PublicWeek { week, fewer_than: Some(MIN_PUBLIC_INSTALLATIONS + STEP - 1), tables: Vec::new() };
    }
    let tables = [
        (PublicDimension::KamajiMinor, kamaji),
        (PublicDimension::KubernetesMinor, kubernetes),
        (PublicDimension::Size, sizes),
    ];
    let tables = tables.into_iter().filter_map(|(dimension, counts)| table(dimension, counts, key)).collect();
    PublicWeek { week, fewer_than: None, tables }
}

/// Returns a table, unless it has fewer than two categories to show.
fn table(dimension: PublicDimension, counts: &[CategoryCount], key: &PublicKey) -> Option<PublicTable> {
    let (mut rows, mut others) = (Vec::new(), 0);
    for CategoryCount { category, is_named, installations } in counts {
        let offset = key.number_below(STEP, dimension.offset_name(), category);
        let at_least = rounded(*installations, offset);
        if *is_named && at_least >= MIN_SHOWN {
            rows.push(PublicRow { category: category.clone(), at_least });
        } else {
            others += at_least;
        }
    }
    if rows.len() < MIN_CATEGORIES {
        return None;
    }
    let others_at_least = Some(others).filter(|others| *others >= MIN_SHOWN);
    let sum_at_least = rows.iter().map(|row| row.at_least).sum::<u64>() + others_at_least.unwrap_or_default();
    Some(PublicTable { table: dimension, rows, others_at_least, sum_at_least })
}

/// Returns the largest multiple of [`STEP`] that is not above `installations` less the offset, or 0.
const fn rounded(installations: u64, offset: u64) -> u64 {
    installations.saturating_sub(offset) / STEP * STEP
}
