//! The page of the pairs to test.

use super::matrix::{MatrixCell, MatrixHead, matrix};
use super::question::sentence;
use super::{Cell, Column, Content, QuestionView, Table, cells};
use crate::backend::insights::answer::Answer;
use crate::backend::insights::test_matrix::{TestMatrixRow, TestMatrixTable};
use crate::catalog::{KamajiMinor, KubernetesMinor};

/// Returns the content of the page.
pub(super) fn test_matrix(answer: &Answer<TestMatrixRow>, view: &QuestionView) -> Content {
    let rows = |table| answer.rows.iter().filter(move |row| row.table == table).collect::<Vec<_>>();
    if answer.rows.is_empty() {
        return view.empty(&answer.answer);
    }
    let (pairs, unknown) = (rows(TestMatrixTable::Pair), rows(TestMatrixTable::Unknown));
    let installations = |rows: &[&TestMatrixRow]| rows.iter().filter_map(|row| row.installations).sum::<u64>();
    let in_percent = cells::has_percentages(installations(&pairs));
    let all_in_percent = cells::has_percentages(installations(&pairs) + installations(&unknown));
    let mut tables = vec![chosen(&pairs, in_percent, view)];
    if !unknown.is_empty() {
        tables.push(unknown_pairs(&unknown, all_in_percent, view));
    }
    tables.push(tenants(&rows(TestMatrixTable::Tenant)));
    tables.push(stock(&rows(TestMatrixTable::TenantStock)));
    Content::Answer {
        answer: sentence(&answer.answer),
        chart: heat_map(&pairs, in_percent, view).render(),
        notes: answer.notes.clone(),
        tables,
    }
}

fn kamaji(row: &TestMatrixRow) -> &str {
    row.kamaji.as_deref().unwrap_or_default()
}

fn kubernetes(row: &TestMatrixRow) -> &str {
    row.kubernetes.as_deref().unwrap_or_default()
}

fn tenant(row: &TestMatrixRow) -> &str {
    row.tenant.as_deref().unwrap_or_default()
}

fn heat_map(pairs: &[&TestMatrixRow], in_percent: bool, view: &QuestionView) -> Table {
    let cells = pairs.iter().map(|row| MatrixCell {
        row: kamaji(row),
        column: kubernetes(row),
        count: row.count,
        base: row.base,
        mark: (row.chosen == Some(true)).then_some("chosen"),
        is_outlined: row.chosen == Some(true),
    });
    let head = MatrixHead {
        caption: "Kamaji on Kubernetes",
        note: format!("{}; columns: Kubernetes; chosen pairs are outlined", view.unit()),
        rows: "Kamaji",
        columns: "",
    };
    matrix::<KamajiMinor, KubernetesMinor>(head, &cells.collect::<Vec<_>>(), in_percent)
}

fn chosen(pairs: &[&TestMatrixRow], in_percent: bool, view: &QuestionView) -> Table {
    let mut covered = 0;
    let row = |row: &&TestMatrixRow| {
        covered += row.count;
        vec![
            Cell::new(kamaji(row)),
            Cell::new(kubernetes(row)),
            cells::text(row.kamaji_version.as_deref()),
            cells::text(row.kubernetes_version.as_deref()),
            cells::count(row.count),
            cells::share(row.count, row.base, in_percent),
            cells::share(covered, row.base, in_percent),
            cells::bar(covered, row.base),
        ]
    };
    let chosen = pairs.iter().filter(|row| row.chosen == Some(true));
    Table {
        caption: "Chosen pairs".to_owned(),
        note: "largest first, with the exact versions that most of their installations run".to_owned(),
        columns: vec![
            Column::text("Kamaji"),
            Column::text("Kubernetes"),
            Column::text("Test Kamaji"),
            Column::text("on Kubernetes"),
            Column::number(view.column()),
            Column::number("Share"),
            Column::number("Together"),
            Column::graphic("Bar"),
        ],
        rows: chosen.map(row).collect(),
        is_matrix: false,
    }
}

fn unknown_pairs(rows: &[&TestMatrixRow], in_percent: bool, view: &QuestionView) -> Table {
    let row = |row: &&TestMatrixRow| {
        vec![
            Cell::new(kamaji(row)),
            Cell::new(kubernetes(row)),
            cells::count(row.count),
            cells::share(row.count, row.base, in_percent),
            cells::bar(row.count, row.base),
        ]
    };
    Table {
        caption: "Pairs with a version that is in no order".to_owned(),
        note: "of all active ones".to_owned(),
        columns: vec![
            Column::text("Kamaji"),
            Column::text("Kubernetes"),
            Column::number(view.column()),
            Column::number("Share"),
            Column::graphic("Bar"),
        ],
        rows: rows.iter().map(row).collect(),
        is_matrix: false,
    }
}

fn tenants(rows: &[&TestMatrixRow]) -> Table {
    let cells = rows.iter().map(|row| MatrixCell {
        row: kamaji(row),
        column: tenant(row),
        count: row.count,
        base: row.base,
        mark: None,
        is_outlined: false,
    });
    let head = MatrixHead {
        caption: "Tenant versions made or reached, by Kamaji",
        note: "events, not installations; columns: the tenants' Kubernetes".to_owned(),
        rows: "Kamaji",
        columns: "",
    };
    let in_percent = rows.iter().any(|row| cells::has_percentages(row.base));
    matrix::<KamajiMinor, KubernetesMinor>(head, &cells.collect::<Vec<_>>(), in_percent)
}

fn stock(rows: &[&TestMatrixRow]) -> Table {
    let in_percent = cells::has_percentages(rows.iter().filter_map(|row| row.installations).max().unwrap_or_default());
    let row = |row: &&TestMatrixRow| {
        vec![
            Cell::new(tenant(row)),
            cells::count(row.count),
            cells::share(row.count, row.base, in_percent),
            cells::bar(row.count, row.base),
            cells::optional_count(row.installations),
        ]
    };
    Table {
        caption: "Tenant versions in use".to_owned(),
        note: "of installations whose extended signals are on".to_owned(),
        columns: vec![
            Column::text("Kubernetes"),
            Column::number("Control planes"),
            Column::number("Share"),
            Column::graphic("Bar"),
            Column::number("Installations"),
        ],
        rows: rows.iter().map(row).collect(),
        is_matrix: false,
    }
}
