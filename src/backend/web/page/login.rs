//! The login page.

use maud::{Markup, html};

use super::{MAIN, brand, document};

/// Renders the page. `problem` is the error of the last attempt. Without a valid token, the page says how to create
/// one.
pub(in crate::backend::web) fn login(problem: Option<&str>, has_token: bool) -> Markup {
    document(
        "Sign in",
        &html! {
            header.site { (brand()) }
            main #(MAIN) tabindex="-1" {
                section.panel.sign-in {
                    h1 { "Sign in" }
                    p { "Sign in with a token of this backend." }
                    @if let Some(problem) = problem { p.problem role="alert" { (problem) } }
                    form method="post" action="/sign-in" {
                        label for="token" { "Token" }
                        input #token name="token" type="password" required autocomplete="current-password" spellcheck="false" autofocus;
                        button { "Sign in" }
                    }
                    @if !has_token {
                        p { "There is no token yet. On the machine of the backend, create the first one:" }
                        pre tabindex="0" { code { "kamaji-telemetry backend token create --name NAME --role admin --expires 90d --store sqlite:FILE" } }
                    }
                }
            }
        },
    )
}
