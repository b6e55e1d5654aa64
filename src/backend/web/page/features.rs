//! The page of the features in use.

use super::question::sentence;
use super::{Cell, Column, Content, QuestionView, Table, cells};
use crate::backend::insights::answer::Answer;
use crate::backend::insights::features::{Feature, FeaturesRow, FeaturesTable};
use crate::backend::insights::wording::{count, share_text};

/// Returns the content of the page.
pub(super) fn features(answer: &Answer<FeaturesRow>, view: &QuestionView) -> Content {
    let rows = |table| answer.rows.iter().filter(move |row| row.table == table).collect::<Vec<_>>();
    let telling = rows(FeaturesTable::Telling);
    if telling.iter().all(|row| row.base == 0) {
        return view.empty(&answer.answer);
    }
    let values = rows(FeaturesTable::Value);
    let of = |feature: Feature| values.iter().copied().filter(|row| row.feature == feature).collect::<Vec<_>>();
    let told = telling.iter().map(|row| row.feature).filter(|feature| !of(*feature).is_empty());
    Content::Answer {
        answer: sentence(&answer.answer),
        chart: telling_table(&telling).render(),
        notes: answer.notes.clone(),
        tables: told.map(|feature| values_table(feature, &of(feature))).collect(),
    }
}

fn name(feature: Feature) -> &'static str {
    match feature {
        Feature::Datastores => "Datastores by driver",
        Feature::DatastoreUsers => "Control planes by driver",
        Feature::TenantMinors => "Control planes by minor version",
        Feature::ClusterApi => "Made through Cluster API",
        Feature::NetworkProfile => "Made with a network profile",
    }
}

/// Returns what tells a feature, and what a value of it adds up.
fn units(feature: Feature) -> (&'static str, Option<&'static str>) {
    match feature {
        Feature::Datastores => ("installations", Some("Datastores")),
        Feature::DatastoreUsers | Feature::TenantMinors => ("installations", Some("Control planes")),
        Feature::ClusterApi | Feature::NetworkProfile => ("events of new control planes, not installations", None),
    }
}

fn telling_table(rows: &[&FeaturesRow]) -> Table {
    let row = |row: &&FeaturesRow| {
        vec![
            Cell::new(name(row.feature)),
            Cell::new(format!("{} of {} report it", count(row.count), count(row.base))),
            Cell::new(share_text(row.count, row.base)),
            cells::bar(row.count, row.base),
            Cell::new(units(row.feature).0),
        ]
    };
    Table {
        caption: "Reported features".to_owned(),
        note: "extended signals are off by default".to_owned(),
        columns: vec![
            Column::text("Feature"),
            Column::number("Told by"),
            Column::number("Share"),
            Column::graphic("Bar"),
            Column::text("Of"),
        ],
        rows: rows.iter().map(row).collect(),
        is_matrix: false,
    }
}

fn values_table(feature: Feature, rows: &[&FeaturesRow]) -> Table {
    let (unit, sum) = units(feature);
    let (base, sum_base) = rows.first().map(|row| (row.base, row.sum_base)).unwrap_or_default();
    let with = sum.zip(sum_base).map(|(unit, all)| format!(", with {} {}", count(all), unit.to_lowercase()));
    let row = |row: &&FeaturesRow| {
        let mut cells = vec![
            Cell::new(value(row)),
            cells::count(row.count),
            Cell::new(share_text(row.count, row.base)),
            cells::bar(row.count, row.base),
        ];
        if sum.is_some() {
            let (part, all) = (row.sum.unwrap_or_default(), row.sum_base.unwrap_or_default());
            cells.extend([cells::count(part), cells::share(part, all, cells::has_percentages(row.base))]);
        }
        cells
    };
    let of = if sum.is_some() { "Installations" } else { "Events" };
    let mut columns = vec![Column::text("Value"), Column::number(of), Column::number("Share"), Column::graphic("Bar")];
    columns.extend(sum.into_iter().flat_map(|sum| [Column::number(sum), Column::number("Share of these")]));
    Table {
        caption: name(feature).to_owned(),
        note: format!("of the {} {unit} that report it{}", count(base), with.unwrap_or_default()),
        columns,
        rows: rows.iter().map(row).collect(),
        is_matrix: false,
    }
}

/// Returns the name of a value for people.
fn value(row: &FeaturesRow) -> &str {
    match (row.feature, row.value.as_deref()) {
        (Feature::ClusterApi, Some("true")) => "through Cluster API",
        (Feature::ClusterApi, Some("false")) => "without Cluster API",
        (_, value) => value.unwrap_or_default(),
    }
}
