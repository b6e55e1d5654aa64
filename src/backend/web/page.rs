//! The pages: the overview here, the others in modules of their own.

mod audit_log;
mod login;
mod tables;

use std::net::SocketAddr;

use maud::{DOCTYPE, Markup, html};

use super::chart::{self, Column, Segment};
use super::format::{minute, number, percent};
use crate::backend::auth::Principal;
use crate::backend::insights::{ActiveWindows, CurrentFleet, ExtendedSum, Overview, TopVersions};
use crate::backend::store::fold::{MAX_YOUNG_CONTROL_PLANES, YOUNG_DAYS};
use crate::backend::store::{ActiveCounts, DayTotals, EventTotals, KamajiTotals, Role, Totals};
use crate::catalog::{BY_VERSION, DATASTORE_COUNT, DATASTORE_USED_BY, Metric};

pub(super) use audit_log::audit_log;
pub(super) use login::login;

/// The interval in which a browser reloads the page. Gauges arrive every five minutes, events at any time.
const REFRESH_SECONDS: u32 = 30;

/// Renders the overview. `grpc` is the address of OTLP/gRPC.
pub(super) fn overview(overview: &Overview, grpc: SocketAddr, principal: &Principal) -> Markup {
    let Overview { generated_at, seen, current, installations, events, days, by_kamaji } = overview;
    document(
        Some(REFRESH_SECONDS),
        &html! {
            header {
                h1 { "Kamaji telemetry" }
                p {
                    "As of " (minute(*generated_at)) " · " a href="/api/v1/insights/overview" { "as JSON" }
                    @if principal.role == Role::Admin { " · " a href="/audit-log" { "audit log" } }
                }
                (session_form(principal))
            }
            main {
                @let is_empty = installations.is_empty() && events.is_empty();
                @if is_empty { (no_data(grpc)) }
                @if *by_kamaji != KamajiTotals::default() { (built_in(by_kamaji)) }
                @if !is_empty {
                    (key_figures(seen, current))
                    (history(days))
                    (versions_in_use(current))
                    (tables::installations(installations, seen.month.active))
                    (tables::events(events))
                }
            }
            footer {
                p {
                    "An installation is shown by a hash of its random UUID. Nothing here names a cluster, a tenant or a host, and nothing ties an event to an installation."
                }
            }
        },
    )
}

/// Renders the name and the role of the reader, and the button that ends their session.
fn session_form(principal: &Principal) -> Markup {
    html! {
        form.reader method="post" action="/sign-out" {
            (principal.token.name) " (" (principal.role) ")"
            @if principal.session.is_some() { " " button { "Sign out" } }
        }
    }
}

/// Renders a whole document, which a browser reloads every `refresh` seconds.
fn document(refresh: Option<u32>, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if let Some(seconds) = refresh { meta http-equiv="refresh" content=(seconds); }
                title { "Kamaji telemetry" }
                link rel="icon" type="image/svg+xml" href="/icon.svg";
                link rel="stylesheet" href="/style.css";
            }
            body { (body) }
        }
    }
}

/// Renders the instructions for a store without data.
fn no_data(grpc: SocketAddr) -> Markup {
    let agent = format!("kamaji-telemetry agent --endpoint http://localhost:{}", grpc.port());
    html! {
        section.panel.empty {
            h2 { "No data yet" }
            p { "An agent that reaches this backend shows up here after its first complete list of the cluster, and then every five minutes." }
            ol {
                li {
                    "Run an agent with a kubeconfig, pointed at the gRPC port of this backend:"
                    pre { code { (agent) } }
                }
                li {
                    "Or look first at what it would send, which sends nothing:"
                    pre { code { "kamaji-telemetry preview" } }
                }
                li {
                    "Or see all of it with a simulated fleet:"
                    pre { code { "kamaji-telemetry demo" } }
                }
            }
        }
    }
}

fn key_figures(seen: &ActiveWindows, current: &CurrentFleet) -> Markup {
    let planes = current.control_planes;
    let parts = state_parts(planes);
    html! {
        section.figures aria-label="Key figures" {
            (figure("Active, 24 hours", seen.day))
            (figure("Active, 7 days", seen.week))
            (figure("Active, 30 days", seen.month))
            div.panel.planes {
                h2 { "Control planes " span.muted { "of the installations seen in 24 hours" } }
                p.value { (number(planes.total())) }
                @if planes.left_out > 0 {
                    p.muted { "without " (number(planes.left_out)) " of installations younger than " (YOUNG_DAYS) " days, which weigh "
                        (MAX_YOUNG_CONTROL_PLANES) " at most" }
                }
                (chart::stacked_bar(&parts))
                dl.legend {
                    @for part in parts {
                        div {
                            dt { span.swatch.{ (part.class) } {} (part.name) }
                            dd { (number(part.value)) " " span.muted { (percent(part.value, planes.total())) } }
                        }
                    }
                }
            }
        }
    }
}

/// Renders the totals of Kamaji's built-in telemetry, in a panel of its own so that nobody adds them to the rest.
fn built_in(totals: &KamajiTotals) -> Markup {
    let KamajiTotals { day, week, month, control_planes, events } = totals;
    let EventTotals { created, updated, deleted } = *events;
    html! {
        section.figures aria-label="Kamaji's built-in telemetry" {
            div.panel.planes {
                h2 { "Kamaji's built-in telemetry " span.muted { "counted apart: an installation may run both" } }
                p { "Active: " (number(day.active)) " in 24 hours, " (number(week.active)) " in 7 days, " (number(month.active)) " in 30 days." }
                p { "In 24 hours: " (number(control_planes.total())) " control planes; events: "
                    (number(created)) " created, " (number(updated)) " updated, " (number(deleted)) " deleted." }
            }
        }
    }
}

fn figure(name: &str, counts: ActiveCounts) -> Markup {
    html! {
        div.panel.figure {
            h2 { (name) }
            p.value { (number(counts.active)) }
            p.muted {
                "and " (number(counts.not_confirmed)) " not confirmed"
                @if counts.bulk > 0 { ", " (number(counts.bulk)) " in bulk" }
            }
        }
    }
}

/// Returns the four states in the order of a stacked bar, the running ones at the bottom.
fn state_parts(totals: Totals) -> [Segment; 4] {
    let Totals { running, sleeping, not_ready, upgrading, left_out: _ } = totals;
    [
        Segment { class: "running", name: "Running", value: running },
        Segment { class: "sleeping", name: "Sleeping", value: sleeping },
        Segment { class: "upgrading", name: "Upgrading", value: upgrading },
        Segment { class: "not-ready", name: "Not ready", value: not_ready },
    ]
}

fn history(days: &[DayTotals]) -> Markup {
    let column = |day: &DayTotals, parts| Column { label: day.day.to_string(), parts };
    let installations = days.iter().map(|day| {
        column(day, vec![Segment { class: "installations", name: "Installations", value: day.installations }])
    });
    let planes = days.iter().map(|day| column(day, state_parts(day.control_planes).to_vec()));
    html! {
        section.pair {
            div.panel {
                h2 { "Installations a day" }
                (chart::columns("Installations seen on each UTC day", &installations.collect::<Vec<_>>()))
            }
            div.panel {
                h2 { "Control planes a day, by state" }
                (chart::columns("Control planes by state on each UTC day", &planes.collect::<Vec<_>>()))
            }
        }
    }
}

fn versions_in_use(current: &CurrentFleet) -> Markup {
    html! {
        section.pair {
            (bar_list("Kamaji", "installations, 24 hours", &with_others(&current.kamaji_versions)))
            (bar_list("Kubernetes of management clusters", "installations, 24 hours", &with_others(&current.kubernetes_versions)))
        }
        @if !current.extended.is_empty() { (extended(&current.extended)) }
    }
}

/// Renders the sums of the extended gauges, which only some operators turn on.
fn extended(sums: &[ExtendedSum]) -> Markup {
    let of = |metric: &Metric| -> Vec<(&str, u64)> {
        let sums = sums.iter().filter(|sum| sum.metric == metric.name);
        sums.map(|sum| (sum.value.as_str(), sum.count)).collect()
    };
    html! {
        section.triple {
            (bar_list("Kubernetes of control planes", "extended", &of(&BY_VERSION)))
            (bar_list("Datastores by driver", "extended", &of(&DATASTORE_COUNT)))
            (bar_list("Control planes by driver", "extended", &of(&DATASTORE_USED_BY)))
        }
    }
}

fn with_others(versions: &TopVersions) -> Vec<(&str, u64)> {
    let top = versions.top.iter().map(|share| (share.version.as_str(), share.installations));
    top.chain((versions.others > 0).then_some(("others", versions.others))).collect()
}

/// Renders a list of names with bars, each as long as its share.
fn bar_list(title: &str, note: &str, rows: &[(&str, u64)]) -> Markup {
    let total = rows.iter().map(|(_, value)| value).sum();
    html! {
        div.panel {
            h2 { (title) " " span.muted { (note) } }
            @if rows.is_empty() { p.muted { "None seen." } }
            ul.bars {
                @for (name, value) in rows {
                    li {
                        span.name { (name) }
                        (chart::share_bar(*value, total))
                        span.count { (number(*value)) span.muted { (percent(*value, total)) } }
                    }
                }
            }
        }
    }
}
