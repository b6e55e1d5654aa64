//! The layout of a page that answers a question.

use std::net::SocketAddr;

use maud::{Markup, html};

use super::definitions::{Definition, definitions};
use super::explanations::{awaited, definition};
use super::filters::{filters, filters_of};
use super::{Empty, Frame, Table};
use crate::backend::insights::definitions::{By, WORDS};
use crate::backend::insights::parameters::{ParameterError, Parameters, QuestionName};
use crate::backend::web::chart::Outage;
use crate::backend::web::format::unbroken;

/// The view of an answer that a page shows.
#[derive(Debug, Clone)]
pub(in crate::backend::web) struct QuestionView {
    /// The question.
    pub(in crate::backend::web) question: QuestionName,
    /// Its parameters.
    pub(in crate::backend::web) parameters: Parameters,
    /// The address of OTLP/gRPC, which a page without data names.
    pub(in crate::backend::web) grpc: SocketAddr,
    /// The times at which the backend was away, which charts over time shade.
    pub(in crate::backend::web) outages: Vec<Outage>,
}

/// The part of a page that is made of an answer.
#[derive(Debug)]
pub(in crate::backend::web) enum Content {
    /// There is no data.
    Empty(Empty),
    /// There is an answer.
    Answer {
        /// The answer in one sentence, with its doubt; of the overview, in one for each decision.
        answer: Markup,
        /// The chart, or the main table in its place.
        chart: Markup,
        /// The remarks on this answer.
        notes: Vec<String>,
        /// The tables below them.
        tables: Vec<Table>,
    },
}

/// Renders the sentence of an answer.
pub(super) fn sentence(text: &str) -> Markup {
    html! { section.answer aria-label="Answer" { p.sentence { (unbroken(text)) } } }
}

impl QuestionView {
    /// Returns the content of a page without data. `sentence` is the answer.
    pub(super) fn empty(&self, sentence: &str) -> Content {
        Content::Empty(Empty::of(&format!("{sentence} {}", awaited(self.question)), self.grpc))
    }

    /// Returns the unit of counts, as the remark on a table has it.
    pub(super) const fn unit(&self) -> &'static str {
        match self.parameters.by {
            By::Installations => "installations",
            By::ControlPlanes => "control planes, 1,000 at most of each installation",
        }
    }

    /// Returns the unit of counts, as the heading of a column has it.
    pub(super) const fn column(&self) -> &'static str {
        match self.parameters.by {
            By::Installations => "Installations",
            By::ControlPlanes => "Control planes, capped",
        }
    }

    /// Returns the address of the same rows in a format of the API.
    pub(super) fn download(&self, format: &str) -> String {
        format!("{}?{}&format={format}", self.question.api_path(), self.parameters.query(self.question))
    }

    /// Renders the document.
    pub(in crate::backend::web) fn render(&self, frame: &Frame<'_>, content: &Content) -> Markup {
        frame.render(&html! {
            (filters(frame.place.path(), &filters_of(self.question, self.parameters)))
            @match content {
                Content::Empty(empty) => (empty.render()),
                Content::Answer { answer, chart, notes, tables } => {
                    (answer)
                    (chart)
                    @if !notes.is_empty() { ul.notes { @for note in notes { li { (note) } } } }
                    @for table in tables { (table.render()) }
                },
            }
            (self.downloads())
            (definitions(&self.definitions()))
        })
    }

    fn downloads(&self) -> Markup {
        html! {
            p.downloads {
                "This view as " a href=(self.download("csv")) { "CSV" } " or " a href=(self.download("json")) { "JSON" }
                @if self.question == QuestionName::TestMatrix {
                    ", and its chosen pairs as a " a href=(self.download("github")) { "matrix of GitHub Actions" }
                }
            }
        }
    }

    fn definitions(&self) -> Vec<Definition> {
        let own = ("On this page", definition(self.question));
        let words = std::iter::once(own).chain(WORDS);
        words.map(|(term, meaning)| Definition { term: term.to_owned(), meaning: meaning.to_owned() }).collect()
    }
}

/// Renders the page of an address whose parameter cannot be used.
pub(in crate::backend::web) fn unusable(frame: &Frame<'_>, error: &ParameterError) -> Markup {
    let ParameterError { parameter, value, expected } = error;
    frame.render(&html! {
        section.panel.empty role="alert" {
            h2 { "This address cannot be used" }
            dl.legend {
                div { dt { "Parameter" } dd { code { (parameter) } } }
                div { dt { "Value" } dd { code { (value) } } }
                div { dt { "Expected" } dd { (expected) } }
            }
            p { a href=(frame.place.path()) { "The page with its defaults" } }
        }
    })
}
