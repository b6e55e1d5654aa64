//! A page without data.

use std::net::SocketAddr;

use maud::{Markup, html};

/// The explanation that a page without data has in place of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::backend::web) struct Empty {
    /// The answer that will stand here, and the data that it is made of.
    pub(in crate::backend::web) explanation: String,
    /// Each step that begins it, with its command.
    pub(in crate::backend::web) steps: Vec<(String, String)>,
}

impl Empty {
    /// Creates an explanation with the steps to the first data. `grpc` is the address of OTLP/gRPC.
    pub(super) fn of(explanation: &str, grpc: SocketAddr) -> Self {
        let agent = format!("kamaji-telemetry agent --endpoint http://localhost:{}", grpc.port());
        let step = |step: &str, command: &str| (step.to_owned(), command.to_owned());
        Self {
            explanation: explanation.to_owned(),
            steps: vec![
                step("Run an agent with a kubeconfig, pointed at the gRPC port of this backend:", &agent),
                step("Or look first at what it would send, which sends nothing:", "kamaji-telemetry preview"),
                step("Or see all of it with a simulated fleet:", "kamaji-telemetry demo"),
            ],
        }
    }

    pub(super) fn render(&self) -> Markup {
        html! {
            section.panel.empty {
                h2 { "No data yet" }
                p { (self.explanation) }
                ul.steps { @for (step, command) in &self.steps { li { (step) pre tabindex="0" { code { (command) } } } } }
            }
        }
    }
}
