//! The page of the audit log.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{REFRESH_SECONDS, document, session_form};
use crate::backend::auth::Principal;
use crate::backend::store::AuditLogEntry;
use crate::backend::web::format::{ago, minute, number};

/// Renders the newest entries.
pub(in crate::backend::web) fn audit_log(entries: &[AuditLogEntry], now: Timestamp, principal: &Principal) -> Markup {
    document(
        Some(REFRESH_SECONDS),
        &html! {
            header {
                h1 { "Audit log" }
                p { "As of " (minute(now)) " · " a href="/" { "overview" } " · " a href="/api/v1/audit-log" { "as JSON" } }
                (session_form(principal))
            }
            main {
                section.panel {
                    h2 { "Entries, newest first " span.muted { "the last " (entries.len()) } }
                    table {
                        thead { tr { th { "Actor" } th { "Action" } th.number { "Status" } th.number { "Count" } th { "Time" } } }
                        tbody { @for entry in entries { (row(entry, now)) } }
                    }
                }
            }
            footer { p { "Requests without a token are counted by the hour: failed sign-ins, and erasures with the program. A change is logged before it is made, without a status, and again with one. No address is ever stored." } }
        },
    )
}

fn row(entry: &AuditLogEntry, now: Timestamp) -> Markup {
    let AuditLogEntry { time, actor, action, status, count } = entry;
    html! {
        tr {
            td.wide data-label="Actor" {
                @match actor {
                    Some(actor) => { (actor.name) " " code.muted { (actor.token) } }
                    None => { span.muted { "no token" } }
                }
            }
            td.half data-label="Action" { (action) }
            td.number data-label="Status" { @if let Some(status) = status { (status) } @else { "–" } }
            td.number data-label="Count" { (number(*count)) }
            td data-label="Time" {
                @if actor.is_some() { time datetime=(time) title=(minute(*time)) { (ago(*time, now)) } }
                @else { "the hour from " time datetime=(time) { (minute(*time)) } }
            }
        }
    }
}
