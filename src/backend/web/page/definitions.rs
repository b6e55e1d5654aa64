//! The definitions of the words on a page.

use maud::{Markup, html};

/// A word, and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend::web) struct Definition {
    /// The word.
    pub(in crate::backend::web) term: String,
    /// Its meaning, in sentences.
    pub(in crate::backend::web) meaning: String,
}

/// Renders the list of definitions.
pub(super) fn definitions(definitions: &[Definition]) -> Markup {
    html! {
        section.panel.definitions aria-labelledby="counted" {
            h2 #counted { "What is counted" }
            dl { @for Definition { term, meaning } in definitions { div { dt { (term) } dd { (with_code(meaning)) } } } }
        }
    }
}

/// Renders what stands between backquotes as code.
fn with_code(text: &str) -> Markup {
    html! {
        @for (position, part) in text.split('`').enumerate() {
            @if position % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}
