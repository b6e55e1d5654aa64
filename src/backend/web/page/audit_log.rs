//! The page of the audit log.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{REFRESH_SECONDS, account, document};
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
                (account(principal))
            }
            main {
                section.panel {
                    h2 { "What was read, newest first " span.muted { "the last " (entries.len()) } }
                    table {
                        thead { tr { th { "Who" } th { "What" } th.number { "Status" } th.number { "Times" } th { "When" } } }
                        tbody { @for entry in entries { (row(entry, now)) } }
                    }
                }
            }
            footer { p { "Requests without a token are counted by the hour: failed sign-ins, and erasures with the program. A change is logged before it is made, without a status, and again with one. No address is ever stored." } }
        },
    )
}

fn row(entry: &AuditLogEntry, now: Timestamp) -> Markup {
    let AuditLogEntry { time, who, what, status, count } = entry;
    html! {
        tr {
            td.wide data-label="Who" {
                @match who {
                    Some(who) => { (who.name) " " code.muted { (who.token) } }
                    None => { span.muted { "no token" } }
                }
            }
            td.half data-label="What" { (what) }
            td.number data-label="Status" { @if let Some(status) = status { (status) } @else { "–" } }
            td.number data-label="Times" { (number(*count)) }
            td data-label="When" {
                @if who.is_some() { time datetime=(time) title=(minute(*time)) { (ago(*time, now)) } }
                @else { "the hour from " time datetime=(time) { (minute(*time)) } }
            }
        }
    }
}
