//! The public page, and the page of one week.

use maud::{Markup, html};

use super::{Cell, Column, MAIN, Table, brand, document};
use crate::backend::insights::public_week::{PublicDimension, PublicTable, PublicWeek, RULE};
use crate::backend::insights::wording::count as number;
use crate::catalog::{EVENT_KINDS, METRICS};

/// The page of the project that says how telemetry is switched off.
const OPT_OUT: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/agent.md#opt-out");

/// The page of the project on privacy.
const PRIVACY: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/privacy.md");

/// Renders the page of everybody: the newest week, the others, and what telemetry collects. `weeks` begin with the
/// newest.
pub(in crate::backend::web) fn public(weeks: &[PublicWeek]) -> Markup {
    public_document(
        "How is Kamaji used?",
        &html! { a href="/api/v1/public/weeks" { "All weeks as JSON" } },
        &html! {
            @match weeks.split_first() {
                Some((newest, others)) => {
                    (week_tables(newest, true))
                    @if !others.is_empty() { (other_weeks(others)) }
                }
                None => section.panel {
                    h2 { "No week yet" }
                    p { "The first week is published on the Monday after it ends, once four weeks of data are there." }
                }
            }
            (what_is_counted())
            (what_is_collected())
            (opt_out())
        },
    )
}

/// Renders the page of one week. It links to nothing that a later week would change.
pub(in crate::backend::web) fn public_week(week: &PublicWeek) -> Markup {
    public_document(
        "How was Kamaji used?",
        &html! { a href="/public" { "All weeks" } },
        &html! {
            (week_tables(week, false))
            (what_is_counted())
            (opt_out())
        },
    )
}

fn public_document(question: &str, links: &Markup, content: &Markup) -> Markup {
    document(
        question,
        &html! {
            header.site { (brand()) }
            main #(MAIN) tabindex="-1" {
                div.heading { h1 { (question) } p.as-of { (links) } }
                (content)
            }
        },
    )
}

fn week_tables(week: &PublicWeek, has_link: bool) -> Markup {
    let monday = week.week;
    html! {
        section {
            h2 {
                "The week from Monday, " time datetime=(monday) { (monday) }
                @if has_link { " · " a href={ "/public/" (monday) } { "this week alone" } }
            }
            @if let Some(bound) = week.fewer_than {
                p { "Fewer than " (number(bound)) " installations." }
            } @else if week.tables.is_empty() {
                p { "Too few installations have anything in common for a table." }
            }
            @for table in &week.tables { (week_table(table)) }
        }
    }
}

fn week_table(table: &PublicTable) -> Markup {
    let (name, column) = match table.table {
        PublicDimension::KamajiMinor => ("Installations by the minor version of Kamaji", "Kamaji"),
        PublicDimension::KubernetesMinor => {
            ("Installations by the Kubernetes version of the management cluster", "Kubernetes")
        }
        PublicDimension::Size => ("Installations by their number of control planes", "Control planes"),
    };
    let others = table.others_at_least.map_or_else(|| "few or none".to_owned(), or_more);
    let row = |name: &str, value: String| vec![Cell::new(name), Cell::new(value)];
    let mut rows: Vec<_> = table.rows.iter().map(|shown| row(&shown.category, or_more(shown.at_least))).collect();
    rows.push(row("all others", others));
    rows.push(row("sum of what is shown", or_more(table.sum_at_least)));
    let columns = vec![Column::text(column), Column::number("Installations")];
    Table { caption: name.to_owned(), note: String::new(), columns, rows, is_matrix: false }.render()
}

fn or_more(at_least: u64) -> String {
    format!("{} or more", number(at_least))
}

fn other_weeks(weeks: &[PublicWeek]) -> Markup {
    html! {
        section {
            h2 { "Earlier weeks" }
            ul {
                @for PublicWeek { week, .. } in weeks {
                    li { a href={ "/public/" (week) } { "The week from " time datetime=(week) { (week) } } }
                }
            }
        }
    }
}

fn what_is_counted() -> Markup {
    html! {
        section {
            h2 { "What is counted" }
            ul { @for sentence in RULE { li { (sentence) } } }
        }
    }
}

fn what_is_collected() -> Markup {
    html! {
        section {
            h2 { "What is collected, and why" }
            p {
                "An agent beside Kamaji sends what is in this table, and nothing else: no name, no label, no address, \
                 and no text that somebody wrote. Each signal carries the versions of Kamaji and Kubernetes. Counts \
                 carry a random UUID of the installation; events carry nothing that identifies it. The maintainers use \
                 this to decide which features to build first, what to test, what to fix, and what to deprecate. "
                a href=(PRIVACY) { "Who sees it, and for how long" }
            }
            (signals().render())
        }
    }
}

fn signals() -> Table {
    let metrics = METRICS.iter().map(|metric| (metric.name, metric.description, metric.reason, metric.extended));
    let events = EVENT_KINDS.iter().map(|event| (event.name, event.description, event.reason, false));
    let row = |(name, description, reason, extended): (&str, &str, &str, bool)| {
        let only = if extended { " Only where the operator turns the extended signals on." } else { "" };
        vec![Cell::new(html! { code { (name) } }), Cell::new(html! { (description) (only) }), Cell::new(reason)]
    };
    Table {
        caption: "Signals".to_owned(),
        note: String::new(),
        columns: vec![Column::text("Signal"), Column::text("Content"), Column::text("Why")],
        rows: metrics.chain(events).map(row).collect(),
        is_matrix: false,
    }
}

fn opt_out() -> Markup {
    html! {
        section {
            h2 { "How to opt out" }
            p {
                "Install with the Helm value " code { "telemetry.disabled=true" } ", or run the agent with "
                code { "--disable-telemetry" } " or with " code { "DO_NOT_TRACK=1" } ". From then on nothing is sent, and the UUID is deleted. "
                a href=(OPT_OUT) { "All ways to opt out" }
            }
        }
    }
}
