//! The versions in use over time, and how fast they spread.

use std::collections::BTreeSet;

use jiff::civil::Date;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Answer, Asked, Question, source_name};
use super::definitions::{By, Component, Line, Window};
use super::masking::{ExactVersion, Maskable, kept_versions, mask_days, minor_days};
use super::version_days::{
    DayVersions, FIRST_SIGHTING, InstallationSums, LineName, VersionDays, component_name, line, line_of,
    newest_first_of,
};
use super::weeks;
use super::wording::{count, counted, fraction, list};
use crate::backend::store::{Day, Facts, FactsQuery, SourceKind, VersionFact};

/// The window that the spread of versions is read from, also for a shorter one: a version may be older than that.
const ADOPTION: Window = Window::Days365;

/// The versions in use, and their spread.
///
/// **Share** (`table = share`): of the active installations of a day, those that run a minor version. By day for
/// windows of up to 90 days; today is partial. By week for longer ones: the state of its Wednesday or, if the store has
/// none, of the last day of that week before it that has; this week is partial. A row for each version of the window
/// and each day that has active installations.
///
/// **Adoption** (`table = adoption`): for each minor version, and for the exact versions of the newest minor of each
/// line, from the complete days of the last 365, whatever the window is. The *first sighting* is the first day with 3
/// active installations at or above the version in its line. If an active installation is at or above it on the first
/// of these days that has any, the first sighting is *before the data*. From the first sighting, the days until the
/// first day on which half, and nine in ten, of the line's active installations of that day are at or above it.
///
/// A version is named if at least [`Asked::min_installations`] ran it on one of these days. Others are `other` in the
/// table of shares; in sums at or above a version they count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The kind of the senders.
    pub source: SourceKind,
    /// The window of the shares.
    pub window: Window,
    /// The unit of counts, bases and shares.
    pub by: By,
    /// The component.
    pub component: Component,
}

/// A table of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VersionsTable {
    /// Minor versions by day or week.
    Share,
    /// The spread of a version.
    Adoption,
}

/// The precision of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VersionPrecision {
    /// A minor version, such as `v1.1`.
    Minor,
    /// An exact version, such as `v1.1.2`.
    Exact,
}

/// A row of [`Versions`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct VersionsRow {
    /// The table.
    pub table: VersionsTable,
    /// The day, or the Monday of the week. In `adoption` the day that the counts are of.
    pub date: Option<Date>,
    /// True if the day or the week is not over.
    pub partial: bool,
    /// The version; `latest`, `unknown` or `other`.
    pub version: String,
    /// The precision of the version.
    pub precision: VersionPrecision,
    /// The line of the version; null if it is in no order.
    pub line: Option<LineName>,
    /// Installations that run the version, or their weight by control planes. In `adoption` those at or above it in its
    /// line.
    pub count: u64,
    /// All active installations of the day, or their weight. In `adoption` those of the line.
    pub base: u64,
    /// `count` of `base`, from 0 to 1; null if the base is 0.
    pub share: Option<f64>,
    /// Installations of `count`.
    pub installations: u64,
    /// Control planes of `installations`, not capped.
    pub control_planes: u64,
    /// The first sighting; null in `share`, before the data, and without one.
    pub first_seen: Option<Date>,
    /// True if the first sighting is before the data; null in `share`.
    pub before_data: Option<bool>,
    /// Days from the first sighting to the last complete day; null without one.
    pub days_since_first_seen: Option<i32>,
    /// Days from the first sighting until half of the line were at or above the version; null if not yet.
    pub days_to_half: Option<i32>,
    /// Days from the first sighting until nine in ten of the line were at or above the version; null if not yet.
    pub days_to_nine_in_ten: Option<i32>,
    /// The spread in words, such as `not yet: 38 % after 41 days`; null in `share`.
    pub adoption: Option<String>,
}

/// The spread of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Adoption {
    first: FirstSighting,
    days_to_half: Option<i32>,
    days_to_nine_in_ten: Option<i32>,
    /// The last complete day that has rows.
    day: Day,
    at_or_above: InstallationSums,
    line: InstallationSums,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FirstSighting {
    BeforeData,
    On(Day),
    None,
}

/// A day that is drawn.
struct DrawnDay<'a, V> {
    date: Day,
    partial: bool,
    versions: &'a DayVersions<V>,
}

/// The versions of one component in one source.
struct VersionSeries<'a, V: ExactVersion> {
    asked: Versions,
    through: Day,
    rows: &'a [VersionFact<V>],
    /// The minors that are named.
    minors: BTreeSet<V::Minor>,
    /// Minors by day. Those that are not named have their names, so that sums include them.
    by_minor: VersionDays<V::Minor>,
    min_installations: u64,
}

impl Question for Versions {
    type Row = VersionsRow;

    fn queries(&self, through: Day) -> Vec<FactsQuery> {
        let first = Some(ADOPTION.first_day(through));
        let query = FactsQuery::new(self.source, through);
        vec![match self.component {
            Component::Kamaji => FactsQuery { kamaji_days: first, ..query },
            Component::Kubernetes => FactsQuery { kubernetes_days: first, ..query },
        }]
    }

    fn answer(&self, facts: &[Facts], asked: Asked) -> Answer<VersionsRow> {
        let (rows, sentence) = match (facts.first(), self.component) {
            (Some(facts), Component::Kamaji) => VersionSeries::of(*self, &facts.kamaji_days, asked).answer(),
            (Some(facts), Component::Kubernetes) => VersionSeries::of(*self, &facts.kubernetes_days, asked).answer(),
            (None, _) => (Vec::new(), self.no_data()),
        };
        Answer {
            generated_at: asked.at,
            data_through: asked.through().date(),
            source: source_name(self.source),
            window: Some(self.window),
            answer: sentence,
            notes: self.notes(),
            rows,
        }
    }
}

impl Versions {
    const fn is_weekly(self) -> bool {
        self.window.days() > Window::Days90.days()
    }

    fn no_data(self) -> String {
        format!("No installation was active in the last {} days.", self.window.days())
    }

    fn notes(self) -> Vec<String> {
        let mut notes = vec![
            "The spread is read from the last 365 days, whatever the window is.".to_owned(),
            "An installation counts on the days on which it was received.".to_owned(),
        ];
        notes.push(if self.is_weekly() {
            "A week has the state of its Wednesday. This week is partial.".to_owned()
        } else {
            "Today is partial.".to_owned()
        });
        notes
    }
}

impl<'a, V: ExactVersion> VersionSeries<'a, V> {
    fn of(asked: Versions, rows: &'a [VersionFact<V>], at: Asked) -> Self {
        let (by_minor, min_installations) = (minor_days(rows), at.min_installations);
        Self {
            asked,
            through: at.through(),
            rows,
            minors: kept_versions(&by_minor, min_installations),
            by_minor: VersionDays::of(&by_minor),
            min_installations,
        }
    }

    fn answer(&self) -> (Vec<VersionsRow>, String) {
        let adoption = self.minor_adoption();
        let sentence = self.sentence(&adoption);
        let mut rows = self.share_rows();
        rows.extend(
            adoption.iter().map(|(minor, adoption)| self.adoption_row(*minor, VersionPrecision::Minor, adoption)),
        );
        rows.extend(self.exact_rows(&adoption));
        (rows, sentence)
    }

    fn share_rows(&self) -> Vec<VersionsRow> {
        let masked = VersionDays::of(&mask_days(&minor_days(self.rows), &self.minors));
        let drawn = if self.asked.is_weekly() { self.weeks(&masked) } else { self.days(&masked) };
        let all: BTreeSet<_> =
            drawn.iter().flat_map(|day| day.versions.versions().map(|(version, _)| version)).collect();
        let all = newest_first_of(all);
        drawn.iter().flat_map(|day| all.iter().map(|version| self.share_row(day, *version))).collect()
    }

    fn days<'d>(&self, days: &'d VersionDays<V::Minor>) -> Vec<DrawnDay<'d, V::Minor>> {
        let today = self.through.plus(1);
        let drawn = days.range(self.asked.window.first_day(self.through), today);
        drawn.map(|(date, versions)| DrawnDay { date, partial: date == today, versions }).collect()
    }

    /// Returns the weeks whose Wednesday is in the window, and this week.
    fn weeks<'d>(&self, days: &'d VersionDays<V::Minor>) -> Vec<DrawnDay<'d, V::Minor>> {
        let first = self.asked.window.first_day(self.through);
        let this_week = self.through.plus(1).monday();
        let complete = weeks::complete(self.through, self.asked.window.weeks() + 1);
        complete
            .chain([this_week])
            .filter(|week| weeks::wednesday(*week) >= first)
            .filter_map(|week| {
                let last = weeks::wednesday(week).min(self.through);
                let (_, versions) = days.range(week, last).last()?;
                Some(DrawnDay { date: week, partial: week == this_week, versions })
            })
            .collect()
    }

    fn share_row(&self, day: &DrawnDay<'_, V::Minor>, version: V::Minor) -> VersionsRow {
        let (sums, all) = (day.versions.running(version), day.versions.all());
        let (count, base) = (sums.by(self.asked.by), all.by(self.asked.by));
        VersionsRow {
            table: VersionsTable::Share,
            date: Some(day.date.date()),
            partial: day.partial,
            version: version.to_string(),
            precision: VersionPrecision::Minor,
            line: LineName::of(version),
            count,
            base,
            share: fraction(count, base),
            installations: sums.installations,
            control_planes: sums.control_planes,
            first_seen: None,
            before_data: None,
            days_since_first_seen: None,
            days_to_half: None,
            days_to_nine_in_ten: None,
            adoption: None,
        }
    }

    /// Returns the spread of each minor that is named and has an order, newest first.
    fn minor_adoption(&self) -> Vec<(V::Minor, Adoption)> {
        let minors = newest_first_of(self.minors.iter().copied());
        minors.into_iter().filter_map(|minor| Some((minor, self.adoption(&self.by_minor, minor)?))).collect()
    }

    /// Returns the rows of the exact versions of the newest minor of each line.
    fn exact_rows(&self, minors: &[(V::Minor, Adoption)]) -> Vec<VersionsRow> {
        let newest = |line_of| minors.iter().map(|(minor, _)| *minor).find(|minor| line(*minor) == Some(line_of));
        let newest: Vec<_> = [Line::Stable, Line::Edge].into_iter().filter_map(newest).collect();
        let days = VersionDays::of(self.rows);
        let kept = kept_versions(self.rows, self.min_installations);
        let exact = newest_first_of(kept.into_iter().filter(|version| newest.contains(&version.minor())));
        let spread = exact.into_iter().filter_map(|version| Some((version, self.adoption(&days, version)?)));
        spread.map(|(version, adoption)| self.adoption_row(version, VersionPrecision::Exact, &adoption)).collect()
    }

    /// Returns the spread of a version; `None` if it is in no order, or if there is no complete day.
    fn adoption<W: Maskable>(&self, days: &VersionDays<W>, version: W) -> Option<Adoption> {
        let (place, by) = (version.place()?, self.asked.by);
        let complete = || days.range(ADOPTION.first_day(self.through), self.through);
        let (_, begin) = complete().next()?;
        let (last, now) = complete().last()?;
        let first = if begin.at_or_above(place).installations > 0 {
            FirstSighting::BeforeData
        } else {
            let is_sighted = |day: &DayVersions<W>| day.at_or_above(place).installations >= FIRST_SIGHTING;
            complete().find(|(_, day)| is_sighted(day)).map_or(FirstSighting::None, |(day, _)| FirstSighting::On(day))
        };
        let days_to = |tenths: u128| {
            let FirstSighting::On(first) = first else { return None };
            let reached = days.range(first, self.through).find(|(_, day)| {
                let (count, base) = (day.at_or_above(place).by(by), day.line(place.0).by(by));
                base > 0 && u128::from(count) * 10 >= u128::from(base) * tenths
            });
            reached.map(|(day, _)| day.since(first))
        };
        Some(Adoption {
            first,
            days_to_half: days_to(5),
            days_to_nine_in_ten: days_to(9),
            day: last,
            at_or_above: now.at_or_above(place),
            line: now.line(place.0),
        })
    }

    fn adoption_row<W: Maskable>(&self, version: W, precision: VersionPrecision, spread: &Adoption) -> VersionsRow {
        let Adoption { at_or_above, line, days_to_half, days_to_nine_in_ten, .. } = *spread;
        let (count, base) = (at_or_above.by(self.asked.by), line.by(self.asked.by));
        let first_seen = spread.first_seen();
        VersionsRow {
            table: VersionsTable::Adoption,
            date: Some(spread.day.date()),
            partial: false,
            version: version.to_string(),
            precision,
            line: LineName::of(version),
            count,
            base,
            share: fraction(count, base),
            installations: at_or_above.installations,
            control_planes: at_or_above.control_planes,
            first_seen: first_seen.map(Day::date),
            before_data: Some(spread.first == FirstSighting::BeforeData),
            days_since_first_seen: first_seen.map(|first| self.through.since(first)),
            days_to_half,
            days_to_nine_in_ten,
            adoption: Some(spread.words(self.asked.by)),
        }
    }

    /// Returns the sentence: the newest minor of the line that most installations run.
    fn sentence(&self, minors: &[(V::Minor, Adoption)]) -> String {
        let Versions { component, by, window, .. } = self.asked;
        let component = component_name(component);
        let last = self.by_minor.range(window.first_day(self.through), self.through).last();
        let Some((_, day)) = last else { return self.asked.no_data() };
        let largest = day.largest_line(by);
        let is_seen = |spread: &Adoption| spread.at_or_above.installations >= FIRST_SIGHTING;
        let newest = minors.iter().find(|(minor, spread)| line(*minor) == Some(largest) && is_seen(spread));
        let Some((minor, spread)) = newest else { return self.few(day) };
        let all = day.all().installations;
        let without_order = all - day.line(Line::Stable).installations - day.line(Line::Edge).installations;
        let doubt = match without_order {
            0 => String::new(),
            1 => "; 1 more runs a version that is in no order".to_owned(),
            number => format!("; {} more run versions that are in no order", count(number)),
        };
        let figure = spread.at_or_above.of(spread.line, by, "installation", line_of(self.asked.component, largest));
        let run = if spread.line.installations == 1 { "runs" } else { "run" };
        let prefix = spread.line.prefix(by);
        format!("{prefix}{figure} {run} {component} {minor} or newer, {}{doubt}.", spread.clause())
    }

    /// Returns the sentence on too few installations for a verdict.
    fn few(&self, day: &DayVersions<V::Minor>) -> String {
        let all = day.all().installations;
        let masked = |minor| if self.minors.contains(&minor) { minor } else { V::Minor::OTHER };
        let named: BTreeSet<_> = day.versions().map(|(minor, _)| masked(minor)).collect();
        let named: Vec<_> = newest_first_of(named).into_iter().map(|minor| minor.to_string()).collect();
        let (number, runs) = (counted(all, "active installation"), if all == 1 { "runs" } else { "run" });
        format!("{number}, which {runs} {} {}.", component_name(self.asked.component), list(&named))
    }
}

impl Adoption {
    fn first_seen(&self) -> Option<Day> {
        match self.first {
            FirstSighting::On(day) => Some(day),
            FirstSighting::BeforeData | FirstSighting::None => None,
        }
    }

    fn words(&self, by: By) -> String {
        let first = match self.first {
            FirstSighting::BeforeData => return "before the data".to_owned(),
            FirstSighting::None => return format!("fewer than {FIRST_SIGHTING} installations"),
            FirstSighting::On(first) => first,
        };
        let days = |days: i32| counted(u64::try_from(days).unwrap_or_default(), "day");
        let not_yet = || {
            let share = self.at_or_above.share_of(self.line, by);
            format!("not yet: {share} after {}", days(self.day.since(first)))
        };
        match (self.days_to_half, self.days_to_nine_in_ten) {
            (None, _) => not_yet(),
            (Some(half), None) => format!("half after {}, nine in ten {}", days(half), not_yet()),
            (Some(half), Some(nine)) => format!("half after {}, nine in ten after {}", days(half), days(nine)),
        }
    }

    /// Returns the spread as a clause of a sentence that tells the share.
    fn clause(&self) -> String {
        let FirstSighting::On(first) = self.first else { return "which was there before the data".to_owned() };
        let days = |days: i32| counted(u64::try_from(days).unwrap_or_default(), "day");
        let so_far = days(self.day.since(first));
        match (self.days_to_half, self.days_to_nine_in_ten) {
            (None, _) => format!("not yet half, {so_far} after its first sighting"),
            (Some(half), None) => {
                format!("half after {}, and nine in ten not yet, {so_far} after its first sighting", days(half))
            }
            (Some(half), Some(nine)) => {
                format!("half after {} and nine in ten after {} from its first sighting", days(half), days(nine))
            }
        }
    }
}

#[cfg(test)]
mod tests;
