//! The pages: the frame of all of them here, and each of them and its parts in modules of their own.

mod audit_log;
mod cells;
mod contents;
mod coverage;
mod definitions;
mod deprecation;
mod empty;
mod explanations;
mod features;
mod filters;
mod health;
mod installations;
mod login;
mod matrix;
mod overview;
mod place;
mod public;
mod question;
mod table;
mod test_matrix;
mod upgrades;
mod versions;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use super::format::minute;
use crate::backend::auth::Principal;

pub(super) use audit_log::audit_log;
pub(super) use contents::content;
pub(super) use coverage::outages;
pub(super) use installations::{FilterField, FilterInput, InstallationsPage, installations};
pub(super) use login::login;
pub(super) use place::Place;
pub(super) use public::{public, public_week};
pub(super) use question::{Content, QuestionView, unusable};

use empty::Empty;
use table::{Cell, Column, Table};

/// The name of the site, in the header and after the title of each page.
const SITE: &str = "Kamaji telemetry";

/// The id of the main part, to which the skip link leads.
const MAIN: &str = "main";

/// The frame of each page for readers: header, navigation, heading and footer.
#[derive(Debug, Clone)]
pub(super) struct Frame<'a> {
    /// The page.
    pub(super) place: Place,
    /// The reader.
    pub(super) principal: &'a Principal,
    /// The time at which the store was read.
    pub(super) as_of: Timestamp,
    /// The path of the page and its query, to which the reload link leads.
    pub(super) address: &'a str,
}

impl Frame<'_> {
    /// Renders the document with `main` below its heading.
    pub(super) fn render(&self, main: &Markup) -> Markup {
        document(
            self.place.name(),
            &html! {
                header.site {
                    (brand())
                    (navigation(self.place, self.principal))
                    (session_form(self.principal))
                }
                main #(MAIN) tabindex="-1" {
                    div.heading {
                        h1 { (self.place.question()) }
                        p.as-of { "As of " time datetime=(self.as_of) { (minute(self.as_of)) } " · " a href=(self.address) { "reload" } }
                    }
                    (main)
                }
                footer {
                    p {
                        "Nothing here names a cluster, a tenant or a host, and nothing ties an event to an installation. \
                         An installation is shown by a keyed hash of its random UUID."
                    }
                }
            },
        )
    }
}

fn brand() -> Markup {
    html! { a.brand href="/" { img src="/icon.svg" alt="" width="24" height="24"; (SITE) } }
}

fn navigation(current: Place, principal: &Principal) -> Markup {
    let places = Place::all().filter(|place| place.is_for(principal.role));
    html! {
        nav aria-label="Pages" {
            ul {
                @for place in places {
                    li { a href=(place.path()) aria-current=[(place == current).then_some("page")] { (place.name()) } }
                }
            }
        }
    }
}

/// Renders the name and the role of the reader, and the button that ends their session.
fn session_form(principal: &Principal) -> Markup {
    html! {
        form.reader method="post" action="/sign-out" {
            span { (principal.token.name) " (" (principal.role) ")" }
            @if principal.session.is_some() { button.quiet { "Sign out" } }
        }
    }
}

/// Renders a whole document. Its body has an element with the id `main`.
fn document(name: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (name) " · " (SITE) }
                link rel="icon" type="image/svg+xml" href="/icon.svg";
                link rel="stylesheet" href="/style.css";
            }
            body {
                a.skip href={ "#" (MAIN) } { "Skip to the content" }
                (body)
            }
        }
    }
}

#[cfg(test)]
mod tests;
