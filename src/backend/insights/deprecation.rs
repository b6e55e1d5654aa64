//! The versions that can be dropped, and when the next ones can be.

use std::collections::BTreeSet;

use jiff::civil::Date;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Answer, Asked, Question, source_name};
use super::definitions::{By, Component, Line};
use super::masking::{ExactVersion, Maskable, kept_versions, minor_days};
use super::statistics::{TheilSen, logit, median, smoothed_share};
use super::version_days::{
    DayVersions, FIRST_SIGHTING, InstallationSums, LineName, VersionDays, component_name, line, line_of,
    newest_first_of,
};
use super::weeks;
use super::wording::{counted, fraction};
use crate::backend::store::{Day, Facts, FactsQuery, SourceKind, VersionFact};

/// A version is little used if less than one in this many run it or an older one: 5 %.
const ONE_IN: u64 = 20;

/// The logit of 5 %: the logarithm of 1 to 19.
fn target() -> f64 {
    -19_f64.ln()
}

/// The most weeks that a pace is computed from: a quarter, since older ones tell of another release.
const MAX_WEEKS: i32 = 12;

/// The fewest weeks with data that a pace is computed from. They have 15 pairs, whose quartiles are not the extremes.
const MIN_WEEKS: usize = 6;

/// The days within which a date is told: two years. A pace of 12 weeks says nothing about more.
const MAX_DAYS: i32 = 730;

/// The days over which a change is computed.
const CHANGE_DAYS: i32 = 30;

/// The fewest installations of a line of which a verdict is told.
const MIN_INSTALLATIONS: u64 = super::wording::MIN_FOR_PERCENT;

/// The newest minors, which Kubernetes supports.
const NEWEST: usize = 3;

/// The versions that few still run, and when few will run the next ones.
///
/// **At or below** (`table = at_or_below`): for each minor version, the active installations that run it or an older
/// one of its line, on the last complete day or, if the store has no rows of it, on the last of the six days before it
/// that has. The base is the active installations of the line on that day: of Kubernetes, all whose version is known.
/// The change is the share less that of 30 days before, or of the last of the six days before that one that has rows.
///
/// **Verdict**: *already* if the share is under 5 %. Otherwise, of each of the last 12 complete weeks that has data,
/// the median of its days' shares, with half an installation (or half a control plane) added on both sides; of their
/// logits over the middle days of the weeks, the median of all pairwise slopes (Theil and Sen), and the level of that
/// line on the middle day, Thursday, of the last complete week. From there it reaches 5 % on the *date*; with the first
/// and the third quartile of the slopes, on the earliest and the latest one. No date is before tomorrow. *Not at this
/// pace* if the slope is zero or rises, or if the date is more than 730 days away; the latest date is null where its
/// own is. *Too short* with fewer than 6 weeks, *too few* with under 20 installations of the line.
///
/// **Below the newest three** (`table = below_newest_three`, for Kubernetes): the installations that run an older one
/// than the third newest minor that is seen. A minor is seen if 3 installations run it or a newer one.
///
/// A minor is named if at least [`Asked::min_installations`] ran it on one of the days that are read. Others have no
/// row, and count in the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deprecation {
    /// The kind of the senders.
    pub source: SourceKind,
    /// The unit of counts, bases and shares.
    pub by: By,
    /// The component.
    pub component: Component,
}

/// A table of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeprecationTable {
    /// Those that run a minor version or an older one, newest first.
    AtOrBelow,
    /// Those that run an older minor of Kubernetes than the newest three.
    BelowNewestThree,
}

/// The verdict on the date at which a share falls under 5 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeprecationVerdict {
    /// It is already.
    Already,
    /// On a date.
    Dated,
    /// Not within two years at this pace.
    NotAtThisPace,
    /// The weeks with data are too few to tell.
    TooShort,
    /// The installations are too few to tell.
    TooFew,
}

/// A row of [`Deprecation`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DeprecationRow {
    /// The table.
    pub table: DeprecationTable,
    /// The day of the counts.
    pub date: Date,
    /// The minor version. In `below_newest_three` the third newest one, which is not among the counted ones.
    pub version: String,
    /// The line of the version.
    pub line: Option<LineName>,
    /// Installations at or below the version in its line, or their weight by control planes; in `below_newest_three`
    /// below it.
    pub count: u64,
    /// Installations of the line, or their weight.
    pub base: u64,
    /// `count` of `base`, from 0 to 1; null if the base is 0.
    pub share: Option<f64>,
    /// Installations of `count`.
    pub installations: u64,
    /// Control planes of `installations`, not capped.
    pub control_planes: u64,
    /// The change of `share` in 30 days, from -1 to 1; null without data of that time.
    pub change: Option<f64>,
    /// The verdict on the date at which the share falls under 5 %; null in `below_newest_three`.
    pub verdict: Option<DeprecationVerdict>,
    /// The date of that; null unless the verdict is `dated`.
    pub under_5_percent_on: Option<Date>,
    /// The earliest date, from the first quartile of the slopes; null unless the verdict is `dated`.
    pub earliest: Option<Date>,
    /// The latest date, from the third quartile of the slopes; null also if it is more than two years away or never.
    pub latest: Option<Date>,
    /// The day from which the date is counted; null if no pace was computed.
    pub counted_from: Option<Date>,
    /// The weeks with data that were read; null in `below_newest_three`.
    pub weeks: Option<usize>,
}

/// The verdict on a version, with its dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outlook {
    verdict: DeprecationVerdict,
    date: Option<Day>,
    earliest: Option<Day>,
    latest: Option<Day>,
    counted_from: Option<Day>,
    weeks: usize,
}

/// The installations at or below a minor.
struct AtOrBelow<M> {
    minor: M,
    sums: InstallationSums,
    line: InstallationSums,
    change: Option<f64>,
    outlook: Outlook,
}

/// The minors of one component in one source.
struct ComponentMinors<M> {
    asked: Deprecation,
    through: Day,
    /// Those that are named and have an order, newest first.
    named: Vec<M>,
    days: VersionDays<M>,
}

impl Question for Deprecation {
    type Row = DeprecationRow;

    fn queries(&self, through: Day) -> Vec<FactsQuery> {
        // The 12 weeks also have the day of 30 days before, and the six before that.
        let first = weeks::complete(through, MAX_WEEKS).next();
        let query = FactsQuery::new(self.source, through);
        vec![match self.component {
            Component::Kamaji => FactsQuery { kamaji_days: first, ..query },
            Component::Kubernetes => FactsQuery { kubernetes_days: first, ..query },
        }]
    }

    fn answer(&self, facts: &[Facts], asked: Asked) -> Answer<DeprecationRow> {
        let (rows, sentence, mut notes) = match (facts.first(), self.component) {
            (Some(facts), Component::Kamaji) => ComponentMinors::of(*self, &facts.kamaji_days, asked).answer(),
            (Some(facts), Component::Kubernetes) => ComponentMinors::of(*self, &facts.kubernetes_days, asked).answer(),
            (None, _) => (Vec::new(), NO_DATA.to_owned(), Vec::new()),
        };
        notes.push(
            "A date is counted from the Thursday of the last complete week, by the pace of the last 12 complete weeks. \
             Its range is that of the pace, not of what a next release changes."
                .to_owned(),
        );
        Answer {
            generated_at: asked.at,
            data_through: asked.through().date(),
            source: source_name(self.source),
            window: None,
            answer: sentence,
            notes,
            rows,
        }
    }
}

const NO_DATA: &str = "No installation was active in the last 7 days.";

impl<M: Maskable> ComponentMinors<M> {
    fn of<V: ExactVersion<Minor = M>>(asked: Deprecation, rows: &[VersionFact<V>], at: Asked) -> Self {
        let rows = minor_days(rows);
        let kept: BTreeSet<_> = kept_versions(&rows, at.min_installations);
        let named = newest_first_of(kept.into_iter().filter(|minor| minor.place().is_some()));
        Self { asked, through: at.through(), named, days: VersionDays::of(&rows) }
    }

    fn answer(&self) -> (Vec<DeprecationRow>, String, Vec<String>) {
        let Some((date, day)) = self.days.day_or_before(self.through) else {
            return (Vec::new(), NO_DATA.to_owned(), Vec::new());
        };
        let found: Vec<_> = self.named.iter().filter_map(|minor| self.at_or_below(*minor, day)).collect();
        let mut rows: Vec<_> = found.iter().map(|found| self.row(date, found)).collect();
        let (mut notes, by) = (Vec::new(), self.asked.by);
        if self.asked.component == Component::Kubernetes
            && let Some((third, below, base)) = self.below_newest_three(day)
        {
            let figure = below.of(base, by, "installation", "");
            let text = format!("Kubernetes older than {third}, the third newest: {figure} with a known version.");
            notes.push(format!("{}{text}", base.prefix(by)));
            rows.push(self.below_row(date, third, below, base));
        }
        (rows, self.sentence(day, &found), notes)
    }

    fn at_or_below(&self, minor: M, day: &DayVersions<M>) -> Option<AtOrBelow<M>> {
        let (place, by) = (minor.place()?, self.asked.by);
        let share_of = |day: &DayVersions<M>| fraction(day.at_or_below(place).by(by), day.line(place.0).by(by));
        let before = self.days.day_or_before(self.through.minus(CHANGE_DAYS)).and_then(|(_, before)| share_of(before));
        let change = share_of(day).zip(before).map(|(now, before)| now - before);
        let (sums, line) = (day.at_or_below(place), day.line(place.0));
        let outlook = self.outlook(minor, sums.by(by), line);
        Some(AtOrBelow { minor, sums, line, change, outlook })
    }

    fn outlook(&self, minor: M, count: u64, line: InstallationSums) -> Outlook {
        let points = self.points(minor);
        let weeks = points.len();
        let none = |verdict| Outlook { verdict, date: None, earliest: None, latest: None, counted_from: None, weeks };
        if line.installations < MIN_INSTALLATIONS {
            return none(DeprecationVerdict::TooFew);
        }
        if u128::from(count) * u128::from(ONE_IN) < u128::from(line.by(self.asked.by)) {
            return none(DeprecationVerdict::Already);
        }
        let pace = if weeks < MIN_WEEKS { None } else { TheilSen::of(&points) };
        let Some(pace) = pace else { return none(DeprecationVerdict::TooShort) };
        let from = weeks::middle(weeks::last_complete(self.through));
        let date_at = |slope| day_under(pace.intercept, slope, from, self.through);
        match date_at(pace.slope) {
            None => Outlook { counted_from: Some(from), ..none(DeprecationVerdict::NotAtThisPace) },
            date => Outlook {
                verdict: DeprecationVerdict::Dated,
                date,
                earliest: date_at(pace.quartiles.0),
                latest: date_at(pace.quartiles.1),
                counted_from: Some(from),
                weeks,
            },
        }
    }

    /// Returns the logit of each week's share, over the days from the middle of the last complete week.
    fn points(&self, minor: M) -> Vec<(f64, f64)> {
        let (Some(place), by) = (minor.place(), self.asked.by) else { return Vec::new() };
        let last = weeks::last_complete(self.through);
        let point = |week: Day| {
            let days = weeks::days_of(week).filter_map(|day| self.days.day(day));
            let shares = days.filter_map(|day| {
                let base = day.line(place.0).by(by);
                (base > 0).then(|| smoothed_share(day.at_or_below(place).by(by), base))
            });
            Some((f64::from(week.since(last)), logit(median(&shares.collect::<Vec<_>>())?)))
        };
        weeks::complete(self.through, MAX_WEEKS).filter_map(point).collect()
    }

    /// Returns the third newest minor that is seen, those below it, and those whose version is known.
    fn below_newest_three(&self, day: &DayVersions<M>) -> Option<(M, InstallationSums, InstallationSums)> {
        let is_seen = |minor: &M| {
            let sums = minor.place().map(|place| day.at_or_above(place)).unwrap_or_default();
            sums.installations >= FIRST_SIGHTING
        };
        let third = self.named.iter().copied().filter(is_seen).nth(NEWEST - 1)?;
        let (place, base) = (third.place()?, day.line(Line::Stable));
        Some((third, base.without(day.at_or_above(place)), base))
    }

    fn row(&self, date: Day, found: &AtOrBelow<M>) -> DeprecationRow {
        let AtOrBelow { minor, sums, line, change, outlook } = found;
        DeprecationRow {
            change: *change,
            verdict: Some(outlook.verdict),
            under_5_percent_on: outlook.date.map(Day::date),
            earliest: outlook.earliest.map(Day::date),
            latest: outlook.latest.map(Day::date),
            counted_from: outlook.counted_from.map(Day::date),
            weeks: Some(outlook.weeks),
            ..self.plain_row(DeprecationTable::AtOrBelow, date, *minor, *sums, *line)
        }
    }

    fn below_row(&self, date: Day, third: M, below: InstallationSums, base: InstallationSums) -> DeprecationRow {
        self.plain_row(DeprecationTable::BelowNewestThree, date, third, below, base)
    }

    fn plain_row(
        &self,
        table: DeprecationTable,
        date: Day,
        minor: M,
        sums: InstallationSums,
        base: InstallationSums,
    ) -> DeprecationRow {
        let (count, base) = (sums.by(self.asked.by), base.by(self.asked.by));
        DeprecationRow {
            table,
            date: date.date(),
            version: minor.to_string(),
            line: LineName::of(minor),
            count,
            base,
            share: fraction(count, base),
            installations: sums.installations,
            control_planes: sums.control_planes,
            change: None,
            verdict: None,
            under_5_percent_on: None,
            earliest: None,
            latest: None,
            counted_from: None,
            weeks: None,
        }
    }

    /// Returns the sentence, of the line that most installations run: the newest minor that few run already, which can
    /// be dropped, and the next one, with the date from which it can be.
    fn sentence(&self, day: &DayVersions<M>, found: &[AtOrBelow<M>]) -> String {
        let (by, component) = (self.asked.by, component_name(self.asked.component));
        let largest = day.largest_line(by);
        let minors: Vec<_> = found.iter().filter(|found| line(found.minor) == Some(largest)).collect();
        let (base, of_line) = (day.line(largest), line_of(self.asked.component, largest));
        let Some((newest, older)) = minors.split_first() else {
            let all = counted(day.all().installations, "active installation");
            return format!("{all}, with no minor of {component} that is named.");
        };
        if base.installations < MIN_INSTALLATIONS {
            return self.few(newest, older.first().copied(), base);
        }
        let droppable = older.iter().position(|found| found.outlook.verdict == DeprecationVerdict::Already);
        // The one that is newer than what can be dropped; the oldest if nothing can.
        let next = droppable.unwrap_or(older.len()).checked_sub(1).and_then(|next| older.get(next));
        let parts = [droppable.and_then(|position| older.get(position)), next];
        let parts = parts.into_iter().flatten().enumerate().map(|(position, found)| {
            if position == 0 {
                let figure = found.sums.of(base, by, "installation", of_line);
                format!("{component} {} and older: {figure}, {}", found.minor, found.outlook.clause())
            } else {
                format!("{} and older: {}, {}", found.minor, found.sums.share_of(base, by), found.outlook.clause())
            }
        });
        let parts: Vec<_> = parts.collect();
        if parts.is_empty() {
            let all = counted(base.installations, "active installation");
            return format!("{all}{of_line}, and no minor of {component} before {} that is named.", newest.minor);
        }
        format!("{}{}.", base.prefix(by), parts.join("; "))
    }

    /// Returns the sentence on too few installations for a verdict.
    fn few(&self, newest: &AtOrBelow<M>, older: Option<&AtOrBelow<M>>, base: InstallationSums) -> String {
        let component = component_name(self.asked.component);
        match (base.installations, older) {
            (1, _) => format!("1 active installation, which runs {component} {}.", newest.minor),
            (all, older) => {
                let older = older.map_or(0, |older| older.sums.installations);
                let minor = newest.minor;
                format!("{older} of {all} installations run a {component} older than {minor}: too few for a date.")
            }
        }
    }
}

impl Outlook {
    fn clause(&self) -> String {
        match (self.verdict, self.date, self.earliest) {
            (DeprecationVerdict::Already, ..) => "under 5 % already".to_owned(),
            (DeprecationVerdict::Dated, Some(date), Some(earliest)) => {
                let (date, earliest) = (date.date(), earliest.date());
                match self.latest.map(Day::date) {
                    // A steady pace has a range of one day, and dates that have passed are tomorrow.
                    Some(latest) if earliest == latest => format!("under 5 % within days of {date}"),
                    Some(latest) => format!("under 5 % about {date}, between {earliest} and {latest}"),
                    None => format!("under 5 % about {date}, not before {earliest} and maybe not within two years"),
                }
            }
            (DeprecationVerdict::TooShort, ..) => {
                let weeks = counted(self.weeks as u64, "complete week");
                format!("too short for a date ({weeks}, {MIN_WEEKS} are needed)")
            }
            (DeprecationVerdict::TooFew, ..) => "too few for a date".to_owned(),
            (DeprecationVerdict::NotAtThisPace | DeprecationVerdict::Dated, ..) => {
                "not under 5 % within two years at this pace".to_owned()
            }
        }
    }
}

/// Returns the first day on which a line of logits is at 5 % or under it, from tomorrow on: `None` if it does not fall,
/// or if that is more than two years away. `level` is its value on the day `from`, and `slope` its change a day.
fn day_under(level: f64, slope: f64, from: Day, through: Day) -> Option<Day> {
    if slope >= 0.0 {
        return None;
    }
    let days = ((target() - level) / slope).ceil();
    // Checked before it is cut to a number of days; what is not a number fails as well.
    let is_near = days <= f64::from(MAX_DAYS + through.since(from));
    #[expect(clippy::cast_possible_truncation, reason = "it is near, and what is long ago is tomorrow")]
    let day = from.plus(days as i32).max(through.plus(1));
    is_near.then_some(day)
}

#[cfg(test)]
mod tests;
