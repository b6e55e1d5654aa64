//! The page of the audit log.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{Cell, Column, Frame, Place, Table};
use crate::backend::auth::Principal;
use crate::backend::insights::wording;
use crate::backend::store::AuditLogEntry;
use crate::backend::web::format::{ago, minute};

/// Renders the newest entries.
pub(in crate::backend::web) fn audit_log(entries: &[AuditLogEntry], now: Timestamp, principal: &Principal) -> Markup {
    let table = Table {
        caption: "Entries, newest first".to_owned(),
        note: format!("the last {}", entries.len()),
        columns: vec![
            Column::text("Actor"),
            Column::text("Action"),
            Column::number("Status"),
            Column::number("Count"),
            Column::text("Time"),
        ],
        rows: entries.iter().map(|entry| row(entry, now)).collect(),
        is_matrix: false,
    };
    Frame { place: Place::AuditLog, principal, as_of: now, address: Place::AuditLog.path() }.render(&html! {
        (table.render())
        p.downloads { "The log as " a href="/api/v1/audit-log" { "JSON" } }
        p.muted {
            "Requests without a token are counted by the hour: failed sign-ins, and erasures with the program. A change is logged before it is made, without a status, and again with one. No address is ever stored."
        }
    })
}

fn row(entry: &AuditLogEntry, now: Timestamp) -> Vec<Cell> {
    let AuditLogEntry { time, actor, action, status, count } = entry;
    vec![
        Cell::new(html! {
            @match actor {
                Some(actor) => { (actor.name) " " code.muted { (actor.token) } }
                None => { span.muted { "no token" } }
            }
        }),
        Cell::new(action),
        Cell::new(status.map_or_else(|| "–".to_owned(), |status| status.to_string())),
        Cell::new(wording::count(*count)),
        Cell::new(html! {
            @if actor.is_some() { time datetime=(time) title=(minute(*time)) { (ago(*time, now)) } }
            @else { "the hour from " time datetime=(time) { (minute(*time)) } }
        }),
    ]
}
