//! The page of single installations, for admins.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{Cell, Column, Frame, Place, Table};
use crate::backend::auth::Principal;
use crate::backend::insights::wording::count;
use crate::backend::insights::{InstallationList, ListedInstallation};
use crate::backend::web::format::minute;

/// The values of the page.
#[derive(Debug)]
pub(in crate::backend::web) struct InstallationsPage {
    /// The form of the filter.
    pub(in crate::backend::web) form: Vec<FilterField>,
    /// The installations that match, or the problem of a filter that cannot be used.
    pub(in crate::backend::web) found: Result<InstallationList, String>,
    /// The query of the page, which the API takes as well.
    pub(in crate::backend::web) address: String,
    /// The time of the page.
    pub(in crate::backend::web) now: Timestamp,
}

/// A field of a filter.
#[derive(Debug)]
pub(in crate::backend::web) struct FilterField {
    /// The parameter.
    pub(in crate::backend::web) name: &'static str,
    /// The label.
    pub(in crate::backend::web) label: &'static str,
    /// The value, as it was entered.
    pub(in crate::backend::web) value: Option<String>,
    /// The kind of its input.
    pub(in crate::backend::web) input: FilterInput,
}

/// The input of a field.
#[derive(Debug, Clone, Copy)]
pub(in crate::backend::web) enum FilterInput {
    /// A text, with an example.
    Text(&'static str),
    /// A choice between any, yes and no.
    YesOrNo,
}

/// Renders the installations and the form of the filter.
pub(in crate::backend::web) fn installations(page: &InstallationsPage, principal: &Principal) -> Markup {
    let InstallationsPage { form, found, address, now } = page;
    let separator = if address.is_empty() { "" } else { "?" };
    let own_address = format!("{}{separator}{address}", Place::Installations.path());
    Frame { place: Place::Installations, principal, as_of: *now, address: &own_address }.render(&html! {
        (filter_form(form))
        @match found {
            Ok(list) => {
                (table(list).render())
                p.downloads { "These installations as " a href={ "/api/v1/installations" (separator) (address) } { "JSON" } }
            }
            Err(problem) => p.problem role="alert" { (problem) },
        }
    })
}

/// Renders the filter, whose values are in the address of the page.
fn filter_form(fields: &[FilterField]) -> Markup {
    html! {
        form.filters method="get" action="/installations" {
            @for FilterField { name, label, value, input } in fields {
                label {
                    (label) " "
                    @match input {
                        FilterInput::Text(example) => input name=(name) value=[value.as_deref()] placeholder=(example) spellcheck="false";,
                        FilterInput::YesOrNo => select name=(name) {
                            @for (option, text) in [("", "any"), ("true", "yes"), ("false", "no")] {
                                option value=(option) selected[value.as_deref().unwrap_or_default() == option] { (text) }
                            }
                        },
                    }
                }
            }
            button { "Show" }
            " " a href="/installations" { "all" }
        }
    }
}

fn table(InstallationList { matching, installations }: &InstallationList) -> Table {
    Table {
        caption: format!("{} match", count(*matching)),
        note: if *matching > installations.len() as u64 {
            format!("{} of them are listed", installations.len())
        } else {
            String::new()
        },
        columns: vec![
            Column::text("Installation"),
            Column::text("Source"),
            Column::number("Control planes"),
            Column::text("Kamaji"),
            Column::text("Kubernetes"),
            Column::text("First seen"),
            Column::text("Last seen"),
            Column::text("Confirmed"),
            Column::text("In bulk"),
        ],
        rows: installations.iter().map(row).collect(),
        is_matrix: false,
    }
}

fn row(row: &ListedInstallation) -> Vec<Cell> {
    let time = |time: Timestamp| html! { time datetime=(time) { (minute(time)) } };
    vec![
        Cell::new(html! { code { (row.id) } }),
        Cell::new(&row.source),
        Cell::new(count(row.control_planes)),
        Cell::new(&row.kamaji_version),
        Cell::new(&row.kubernetes_version),
        Cell::new(time(row.first_seen)),
        Cell::new(time(row.last_seen)),
        Cell::new(row.confirmed.map_or_else(|| html! { "no" }, time)),
        Cell::new(if row.bulk { "yes" } else { "no" }),
    ]
}
