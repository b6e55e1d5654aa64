//! The pairs of versions that tests should cover.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Answer, Asked, Question, source_name};
use super::definitions::{By, UnknownWord, Versioned, Window, newest_first};
use super::masking::{kept_by_sums, mask, masked, tenant_minor};
use super::version_days::{InstallationSums, newest_first_of};
use super::weeks;
use super::wording::{count, counted, fraction, list, plural, share_with_base};
use crate::backend::store::fold::{DimensionPart, EventAspect};
use crate::backend::store::{Day, DimensionFact, EventWeekFact, Facts, FactsQuery, PairFact, SourceKind};
use crate::catalog::{BY_VERSION, KamajiMinor, KamajiVersion, KubernetesMinor, KubernetesVersion};

/// The jobs that a matrix of GitHub Actions generates at most. Source: "Running variations of jobs in a workflow" in
/// GitHub's documentation.
const MAX_GITHUB_ENTRIES: usize = 256;

/// The pairs of versions that tests should cover.
///
/// **Pairs** (`table = pair`): the installations that are active in the window, by the minor versions of Kamaji and of
/// Kubernetes in their last reports. The largest pairs are *chosen* until they have at least `cover` percent of those
/// whose two versions are known, which are the fewest that do. At a tie the newer pair is first: by Kamaji, then by
/// Kubernetes. Each pair has its most used exact versions: those of the pair of exact versions that most installations
/// run, the newer one at a tie.
///
/// **Unknown** (`table = unknown`): pairs of which a version is `latest`, `unknown` or `other`.
///
/// **Tenants** (`table = tenant`): events of the complete weeks of the window (1 or 4) in which a control plane was
/// created with a minor version, or reached it from another one, by the minor of its Kamaji. **Stock** (`table =
/// tenant_stock`): control planes by minor version, as installations report them whose extended gauges are on.
///
/// A version is named if at least [`Asked::min_installations`] run it; a minor likewise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestMatrix {
    /// The kind of the senders.
    pub source: SourceKind,
    /// The window.
    pub window: MatrixWindow,
    /// The unit of counts, bases and shares.
    pub by: By,
    /// The percentage that the chosen pairs cover.
    pub cover: Cover,
}

/// A window in which pairs of versions are counted. Pairs by day and next day are too many for longer ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MatrixWindow {
    /// 7 days.
    Days7,
    /// 30 days.
    #[default]
    Days30,
}

/// The percentage of installations that the chosen pairs cover.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cover {
    /// 80 %.
    Percent80,
    /// 90 %.
    #[default]
    Percent90,
    /// 95 %.
    Percent95,
}

/// A table of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TestMatrixTable {
    /// Pairs of known minor versions, largest first.
    Pair,
    /// Pairs of which a version is in no order, largest first.
    Unknown,
    /// Events by the minor of a tenant.
    Tenant,
    /// Control planes by the minor of a tenant.
    TenantStock,
}

/// A row of [`TestMatrix`].
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TestMatrixRow {
    /// The table.
    pub table: TestMatrixTable,
    /// The minor version of Kamaji, `latest`, `unknown` or `other`; null in `tenant_stock`.
    pub kamaji: Option<String>,
    /// The minor version of the management cluster; null in `tenant` and `tenant_stock`.
    pub kubernetes: Option<String>,
    /// The minor version of the tenant control planes; null in `pair` and `unknown`.
    pub tenant: Option<String>,
    /// The most used exact version of Kamaji in the pair; null if too few installations run each, and in other tables.
    pub kamaji_version: Option<String>,
    /// The most used exact version of Kubernetes in the pair, likewise.
    pub kubernetes_version: Option<String>,
    /// Installations, or their weight by control planes. Events in `tenant`, control planes in `tenant_stock`.
    pub count: u64,
    /// Those whose two versions are known; in `unknown` all active ones. In `tenant` the events of all rows, in
    /// `tenant_stock` the control planes of all.
    pub base: u64,
    /// `count` of `base`, from 0 to 1; null if the base is 0.
    pub share: Option<f64>,
    /// The share of this pair and of all larger ones, from 0 to 1; null in other tables.
    pub cumulative: Option<f64>,
    /// True if the pair is one of the fewest that cover enough; null in other tables.
    pub chosen: Option<bool>,
    /// Installations; null in `tenant`.
    pub installations: Option<u64>,
    /// Control planes of `installations`, not capped; null in `tenant` and `tenant_stock`.
    pub control_planes: Option<u64>,
}

type MinorPair = (KamajiMinor, KubernetesMinor);

/// The installations of a pair of minors.
#[derive(Default)]
struct PairCell {
    sums: InstallationSums,
    /// Pairs of exact versions that are named.
    exact: BTreeMap<(KamajiVersion, KubernetesVersion), u64>,
}

/// The pairs of a window.
struct PairCells {
    by: By,
    /// Largest first.
    known: Vec<(MinorPair, PairCell)>,
    /// Largest first.
    unknown: Vec<(MinorPair, PairCell)>,
    known_sums: InstallationSums,
    unknown_sums: InstallationSums,
}

/// The choice of the fewest pairs.
struct PairChoice {
    pairs: usize,
    covered: InstallationSums,
}

/// An entry of a matrix of GitHub Actions.
#[derive(Serialize)]
struct GithubEntry<'a> {
    kamaji: &'a str,
    kubernetes: &'a str,
    installations: u64,
    share: f64,
    cumulative: f64,
}

#[derive(Serialize)]
struct GithubMatrix<'a> {
    include: Vec<GithubEntry<'a>>,
}

impl MatrixWindow {
    /// Returns the window.
    pub const fn window(self) -> Window {
        match self {
            Self::Days7 => Window::Days7,
            Self::Days30 => Window::Days30,
        }
    }
}

impl FromStr for MatrixWindow {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let all = [Self::Days7, Self::Days30];
        all.into_iter().find(|window| window.window().as_str() == text).ok_or(UnknownWord("7d or 30d"))
    }
}

impl Cover {
    /// Returns the number of percent.
    pub const fn percent(self) -> u64 {
        match self {
            Self::Percent80 => 80,
            Self::Percent90 => 90,
            Self::Percent95 => 95,
        }
    }
}

impl FromStr for Cover {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let all = [Self::Percent80, Self::Percent90, Self::Percent95];
        all.into_iter().find(|cover| cover.percent().to_string() == text).ok_or(UnknownWord("80, 90 or 95"))
    }
}

impl Question for TestMatrix {
    type Row = TestMatrixRow;

    fn queries(&self, through: Day) -> Vec<FactsQuery> {
        let window = self.window.window();
        let first = Some(window.first_day(through));
        vec![FactsQuery {
            pairs: first,
            dimensions: first,
            event_weeks: weeks::complete(through, window.weeks()).next(),
            ..FactsQuery::new(self.source, through)
        }]
    }

    fn answer(&self, facts: &[Facts], asked: Asked) -> Answer<TestMatrixRow> {
        let none = Facts::default();
        let facts = facts.first().unwrap_or(&none);
        let named = masked(facts, asked.min_installations);
        let cells = PairCells::of(facts, &named, asked.min_installations, self.by);
        let choice = cells.choose(self.cover);
        let mut rows = cells.rows(&choice);
        let last_week = weeks::last_complete(asked.through());
        let is_complete = |fact: &&EventWeekFact| fact.week <= last_week;
        rows.extend(tenant_rows(named.event_weeks.iter().filter(is_complete)));
        rows.extend(stock_rows(&named.dimensions));
        Answer {
            generated_at: asked.at,
            data_through: asked.through().date(),
            source: source_name(self.source),
            window: Some(self.window.window()),
            answer: self.sentence(&cells, &choice),
            notes: self.notes(&cells, &choice, &rows, &named.dimensions),
            rows,
        }
    }
}

impl TestMatrix {
    fn sentence(self, cells: &PairCells, choice: &PairChoice) -> String {
        let (known, days) = (cells.known_sums, self.window.window().days());
        let unknown = cells.unknown_sums.installations;
        let doubt = match unknown {
            0 => String::new(),
            1 => "; 1 more runs a version that is not known".to_owned(),
            number => format!("; {} more run a version that is not known", count(number)),
        };
        match (known.installations, cells.known.first()) {
            (0, _) if unknown == 0 => format!("No installation was active in the last {days} days."),
            (0, _) | (_, None) => {
                format!("{}, with no pair of known versions.", counted(unknown, "active installation"))
            }
            (1, Some(((kamaji, kubernetes), _))) => {
                format!("1 active installation, which runs Kamaji {kamaji} on Kubernetes {kubernetes}{doubt}.")
            }
            _ => {
                let pairs = choice.pairs as u64;
                let cover = if pairs == 1 { "covers" } else { "cover" };
                let pairs = format!("{} pair{} of minor versions", count(pairs), plural(pairs));
                let figure = choice.covered.of(known, self.by, "active installation", "");
                format!("{}{pairs} {cover} {figure}{doubt}.", known.prefix(self.by))
            }
        }
    }

    fn notes(
        self,
        cells: &PairCells,
        choice: &PairChoice,
        rows: &[TestMatrixRow],
        dimensions: &[DimensionFact],
    ) -> Vec<String> {
        let weeks = u64::try_from(self.window.window().weeks()).unwrap_or_default();
        let mut active = cells.known_sums;
        active += cells.unknown_sums;
        let telling = telling(dimensions).map_or(0, |fact| fact.installations);
        let mut notes = vec![
            format!(
                "The pairs that are chosen cover {} % of the installations whose two versions are known.",
                self.cover.percent()
            ),
            "The versions are those of the management clusters. Tenants are apart.".to_owned(),
            format!(
                "Tenant versions by Kamaji are events of {}, not installations: one busy CI can be most of them. They \
                 are final after 30 days.",
                counted(weeks, "complete week")
            ),
            format!("{} report the versions of their tenants.", share_with_base(telling, active.installations)),
        ];
        let chosen = rows.iter().filter(|row| row.chosen == Some(true));
        let unnamed: Vec<_> = chosen
            .filter(|row| row.kamaji_version.is_none() || row.kubernetes_version.is_none())
            .filter_map(|row| Some(format!("{} on {}", row.kamaji.as_ref()?, row.kubernetes.as_ref()?)))
            .collect();
        if !unnamed.is_empty() {
            notes.push(format!(
                "Not in the matrix of GitHub, since too few run each exact version: {}.",
                list(&unnamed)
            ));
        }
        if choice.pairs > MAX_GITHUB_ENTRIES {
            notes.push(format!(
                "The matrix of GitHub has the largest {MAX_GITHUB_ENTRIES} pairs only, which is its limit."
            ));
        }
        notes
    }
}

impl PairCells {
    /// Adds up pairs by minor. `named` has the exact versions of the same facts that may be named.
    fn of(facts: &Facts, named: &Facts, min: u64, by: By) -> Self {
        let minors = |pair: &PairFact| (pair.kamaji.to_minor(), pair.kubernetes.to_minor());
        let kamaji = kept_by_sums(facts.pairs.iter().map(|pair| (minors(pair).0, pair.installations)), min);
        let kubernetes = kept_by_sums(facts.pairs.iter().map(|pair| (minors(pair).1, pair.installations)), min);
        let mut cells = BTreeMap::<MinorPair, PairCell>::new();
        for pair in &facts.pairs {
            let (kamaji_minor, kubernetes_minor) = minors(pair);
            let cell = cells.entry((mask(kamaji_minor, &kamaji), mask(kubernetes_minor, &kubernetes))).or_default();
            let PairFact { installations, control_planes, weight, .. } = *pair;
            cell.sums += InstallationSums { installations, control_planes, weight };
        }
        for pair in named.pairs.iter().filter(|pair| pair.kamaji.place().is_some() && pair.kubernetes.place().is_some())
        {
            if let Some(cell) = cells.get_mut(&minors(pair)) {
                *cell.exact.entry((pair.kamaji, pair.kubernetes)).or_default() +=
                    by.of(pair.installations, pair.weight);
            }
        }
        let mut cells: Vec<_> = cells.into_iter().filter(|(_, cell)| cell.sums.installations > 0).collect();
        cells.sort_by(|(left, left_cell), (right, right_cell)| {
            let by_size = right_cell.sums.by(by).cmp(&left_cell.sums.by(by));
            by_size.then_with(|| newer_pair_first(*left, *right)).then(left.cmp(right))
        });
        let is_known = |(pair, _): &(MinorPair, PairCell)| pair.0.place().is_some() && pair.1.place().is_some();
        let (known, unknown): (Vec<_>, Vec<_>) = cells.into_iter().partition(is_known);
        Self { by, known_sums: sum(&known), unknown_sums: sum(&unknown), known, unknown }
    }

    /// Chooses the largest pairs until they cover enough. No other pairs cover as much with fewer.
    fn choose(&self, cover: Cover) -> PairChoice {
        let base = u128::from(self.known_sums.by(self.by));
        let mut choice = PairChoice { pairs: 0, covered: InstallationSums::default() };
        for (_, cell) in &self.known {
            if u128::from(choice.covered.by(self.by)) * 100 >= base * u128::from(cover.percent()) {
                break;
            }
            choice.covered += cell.sums;
            choice.pairs += 1;
        }
        choice
    }

    fn rows(&self, choice: &PairChoice) -> Vec<TestMatrixRow> {
        let base = self.known_sums.by(self.by);
        let mut cumulative = 0;
        let known = self.known.iter().enumerate().map(|(position, (pair, cell))| {
            cumulative += cell.sums.by(self.by);
            let (kamaji, kubernetes) = self.exact(*pair, cell);
            TestMatrixRow {
                kamaji_version: kamaji.map(|version| version.to_string()),
                kubernetes_version: kubernetes.map(|version| version.to_string()),
                cumulative: fraction(cumulative, base),
                chosen: Some(position < choice.pairs),
                ..self.row(TestMatrixTable::Pair, *pair, cell.sums, base)
            }
        });
        let mut rows: Vec<_> = known.collect();
        let all = base + self.unknown_sums.by(self.by);
        let unknown = self.unknown.iter();
        rows.extend(unknown.map(|(pair, cell)| self.row(TestMatrixTable::Unknown, *pair, cell.sums, all)));
        rows
    }

    fn row(&self, table: TestMatrixTable, pair: MinorPair, sums: InstallationSums, base: u64) -> TestMatrixRow {
        let count = sums.by(self.by);
        TestMatrixRow {
            kamaji: Some(pair.0.to_string()),
            kubernetes: Some(pair.1.to_string()),
            installations: Some(sums.installations),
            control_planes: Some(sums.control_planes),
            ..TestMatrixRow::of_share(table, count, base)
        }
    }

    /// Returns the exact versions of a pair to test: the most used ones or, if none of the pair is named, those of its
    /// minors over all pairs.
    fn exact(&self, pair: MinorPair, cell: &PairCell) -> (Option<KamajiVersion>, Option<KubernetesVersion>) {
        let newer = |left: &(KamajiVersion, KubernetesVersion), right: &(KamajiVersion, KubernetesVersion)| {
            newest_first(right.0.place(), left.0.place()).then(newest_first(right.1.place(), left.1.place()))
        };
        let most = cell.exact.iter().max_by(|left, right| left.1.cmp(right.1).then_with(|| newer(left.0, right.0)));
        if let Some(((kamaji, kubernetes), _)) = most {
            return (Some(*kamaji), Some(*kubernetes));
        }
        let exact = || self.known.iter().flat_map(|(_, cell)| &cell.exact);
        let kamaji =
            exact().filter(|(exact, _)| exact.0.to_minor() == pair.0).map(|(exact, number)| (exact.0, *number));
        let kubernetes =
            exact().filter(|(exact, _)| exact.1.to_minor() == pair.1).map(|(exact, number)| (exact.1, *number));
        (most_used(kamaji), most_used(kubernetes))
    }
}

impl TestMatrixRow {
    fn of_share(table: TestMatrixTable, count: u64, base: u64) -> Self {
        Self {
            table,
            kamaji: None,
            kubernetes: None,
            tenant: None,
            kamaji_version: None,
            kubernetes_version: None,
            count,
            base,
            share: fraction(count, base),
            cumulative: None,
            chosen: None,
            installations: None,
            control_planes: None,
        }
    }
}

/// Returns the chosen pairs as a matrix for a workflow of GitHub Actions: one line of JSON for `fromJSON`. It has the
/// most used exact versions of each pair, and 256 entries at most. Shares have three decimals.
pub fn github_matrix(answer: &Answer<TestMatrixRow>) -> String {
    let chosen = answer.rows.iter().filter(|row| row.chosen == Some(true));
    let entries = chosen.filter_map(|row| {
        Some(GithubEntry {
            kamaji: row.kamaji_version.as_deref()?,
            kubernetes: row.kubernetes_version.as_deref()?,
            installations: row.installations?,
            share: round(row.share?),
            cumulative: round(row.cumulative?),
        })
    });
    let matrix = GithubMatrix { include: entries.take(MAX_GITHUB_ENTRIES).collect() };
    // Texts and finite numbers always have a form in JSON.
    serde_json::to_string(&matrix).unwrap_or_else(|_| r#"{"include":[]}"#.to_owned())
}

fn round(share: f64) -> f64 {
    (share * 1_000.0).round() / 1_000.0
}

fn sum(cells: &[(MinorPair, PairCell)]) -> InstallationSums {
    cells.iter().fold(InstallationSums::default(), |mut sum, (_, cell)| {
        sum += cell.sums;
        sum
    })
}

fn newer_pair_first(left: MinorPair, right: MinorPair) -> std::cmp::Ordering {
    newest_first(left.0.place(), right.0.place()).then(newest_first(left.1.place(), right.1.place()))
}

/// Returns the version with the largest sum, the newer one at a tie.
fn most_used<V: Versioned>(numbers: impl Iterator<Item = (V, u64)>) -> Option<V> {
    let mut sums = BTreeMap::<V, u64>::new();
    numbers.for_each(|(version, number)| *sums.entry(version).or_default() += number);
    let newer = |left: V, right: V| newest_first(right.place(), left.place());
    sums.into_iter()
        .max_by(|left, right| left.1.cmp(&right.1).then_with(|| newer(left.0, right.0)))
        .map(|(version, _)| version)
}

/// Returns the tenant minors that were made or reached, by Kamaji's minor: newest first.
fn tenant_rows<'a>(events: impl Iterator<Item = &'a EventWeekFact>) -> Vec<TestMatrixRow> {
    let mut sums = BTreeMap::<MinorPair, u64>::new();
    for fact in events {
        if let EventAspect::Created { kamaji, minor } | EventAspect::Reached { kamaji, minor } = fact.aspect {
            *sums.entry((kamaji, minor)).or_default() += fact.events;
        }
    }
    let base = sums.values().sum();
    let mut sums: Vec<_> = sums.into_iter().filter(|(_, events)| *events > 0).collect();
    sums.sort_by(|(left, _), (right, _)| newer_pair_first(*left, *right).then(left.cmp(right)));
    let row = |((kamaji, minor), events): (MinorPair, u64)| TestMatrixRow {
        kamaji: Some(kamaji.to_string()),
        tenant: Some(minor.to_string()),
        ..TestMatrixRow::of_share(TestMatrixTable::Tenant, events, base)
    };
    sums.into_iter().map(row).collect()
}

/// Returns the tenant minors of the extended gauge: newest first.
fn stock_rows(dimensions: &[DimensionFact]) -> Vec<TestMatrixRow> {
    let base = telling(dimensions).map_or(0, |fact| fact.count);
    let value = |fact: &DimensionFact| match &fact.part {
        DimensionPart::Value(value) => tenant_minor(value),
        DimensionPart::Metric(_) => None,
    };
    let minors: BTreeSet<_> = dimensions.iter().filter_map(value).collect();
    let row = |minor: KubernetesMinor| {
        let of_minor = dimensions.iter().filter(|fact| value(fact) == Some(minor));
        let (installations, control_planes) =
            of_minor.fold((0, 0), |sum, fact| (sum.0 + fact.installations, sum.1 + fact.count));
        TestMatrixRow {
            tenant: Some(minor.to_string()),
            installations: Some(installations),
            ..TestMatrixRow::of_share(TestMatrixTable::TenantStock, control_planes, base)
        }
    };
    newest_first_of(minors).into_iter().map(row).collect()
}

/// Returns the fact of all installations whose extended gauges tell the minors of their tenants.
fn telling(dimensions: &[DimensionFact]) -> Option<&DimensionFact> {
    let is_metric = |fact: &&DimensionFact| match &fact.part {
        DimensionPart::Metric(metric) => metric.name == BY_VERSION.name,
        DimensionPart::Value(_) => false,
    };
    dimensions.iter().find(is_metric)
}

#[cfg(test)]
mod tests;
