//! The two tables of the front page. On a narrow screen each row becomes a card with the labels of `data-label`.

use maud::{Markup, html};

use crate::backend::insights::{EventEntry, InstallationEntry};
use crate::backend::web::format::{minute, number};
use crate::catalog::{CREATED, DELETED, UPDATED};

/// Renders the installations. `total` is the number of those that were seen in 30 days.
pub(super) fn installations(rows: &[InstallationEntry], total: u64) -> Markup {
    html! {
        section.panel {
            h2 {
                "Installations, most recently seen first"
                @if total > rows.len() as u64 { " " span.muted { "the first " (rows.len()) " of " (number(total)) " in 30 days" } }
            }
            table {
                thead {
                    tr {
                        th { "Installation" }
                        th.number { "Running" } th.number { "Sleeping" } th.number { "Upgrading" } th.number { "Not ready" }
                        th { "Kamaji" } th { "Kubernetes" } th { "Since" } th { "Last seen" }
                    }
                }
                tbody { @for row in rows { (installation(row)) } }
            }
        }
    }
}

fn installation(row: &InstallationEntry) -> Markup {
    html! {
        tr {
            td.wide data-label="Installation" { code { (row.id) } }
            (count("Running", "running", row.running))
            (count("Sleeping", "sleeping", row.sleeping))
            (count("Upgrading", "upgrading", row.upgrading))
            (count("Not ready", "not-ready", row.not_ready))
            td data-label="Kamaji" { (row.kamaji_version) }
            td data-label="Kubernetes" { (row.kubernetes_version) }
            td data-label="Since" { time datetime=(row.first_seen) { (minute(row.first_seen)) } }
            td data-label="Last seen" { time datetime=(row.last_seen) { (minute(row.last_seen)) } }
        }
    }
}

/// Renders a count; a zero is muted.
fn count(label: &str, class: &str, value: u32) -> Markup {
    let class = if value == 0 { "muted" } else { class };
    html! { td.number.{ (class) } data-label=(label) { (number(value)) } }
}

/// Renders the events of all installations.
pub(super) fn events(rows: &[EventEntry]) -> Markup {
    html! {
        section.panel {
            h2 { "Latest events " span.muted { "events, not installations; to the hour" } }
            @if rows.is_empty() {
                p.muted { "No control plane was created, upgraded or deleted yet." }
            } @else {
                table {
                    thead {
                        tr { th { "Event" } th { "Control plane" } th { "Detail" } th { "Kamaji" } th { "Kubernetes" } th { "Time" } }
                    }
                    tbody { @for row in rows { (event(row)) } }
                }
            }
        }
    }
}

fn event(row: &EventEntry) -> Markup {
    let (class, word) = match row.name.as_str() {
        name if name == CREATED.name => ("running", "created"),
        name if name == UPDATED.name => ("upgrading", "updated"),
        name if name == DELETED.name => ("sleeping", "deleted"),
        name => ("muted", name),
    };
    html! {
        tr {
            td.wide data-label="Event" { span.swatch.{ (class) } {} (word) }
            td.half data-label="Control plane" { (versions(row)) }
            td.half data-label="Detail" { (detail(row)) }
            td.third data-label="Kamaji" { (row.kamaji_version) }
            td.third data-label="Kubernetes" { (row.kubernetes_version) }
            td.third data-label="Time" { time datetime=(row.time) { (minute(row.time)) } }
        }
    }
}

fn versions(row: &EventEntry) -> String {
    match (&row.tcp_version, &row.old_tcp_version, &row.new_tcp_version) {
        (Some(version), ..) => version.clone(),
        (None, Some(old), Some(new)) => format!("{old} → {new}"),
        _ => String::new(),
    }
}

fn detail(row: &EventEntry) -> Markup {
    let capi = row.cluster_api.map(|through| if through { "through Cluster API" } else { "without Cluster API" });
    let exposed = row.network_profile.as_ref().map(|profile| format!("exposed by {profile}"));
    let status = row.status.as_ref().map(|status| format!("was {status}"));
    let parts: Vec<_> = [status, capi.map(str::to_owned), exposed].into_iter().flatten().collect();
    html! { @if parts.is_empty() { span.muted { "–" } } @else { (parts.join(", ")) } }
}
