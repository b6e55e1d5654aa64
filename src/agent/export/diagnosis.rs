//! The reason for a failed request to the collector, as the log tells it.

use std::error::Error;
use std::io::{self, ErrorKind};

use h2::Reason;
use http::HeaderMap;
use tonic::{Code, Status};

use crate::agent::error_chain::{causes, text};
use crate::agent::tls_error::{self, TlsSettings};

/// The maximum number of characters of a collector's message that are logged: a sentence or two, however long the
/// message is.
const MAX_MESSAGE_CHARS: usize = 200;

/// The minimum number of characters of a header's value that is looked for in a message. A shorter one is no secret, and
/// may be part of any word.
const MIN_SECRET_CHARS: usize = 4;

const TLS_SETTINGS: TlsSettings = TlsSettings {
    trusted: "--ca-file (OTEL_EXPORTER_OTLP_CERTIFICATE)",
    identity: "--client-certificate-file and --client-key-file",
};

/// The beginning of the reason if the server answers in another protocol.
const NOT_GRPC: &str = "the server does not answer in gRPC";

/// The end of the reason if the server closes the connection, as many do that expect another protocol.
const CLOSED: &str = "if this goes on, the port may be one of another protocol";

/// The advice if the port may be one of another protocol.
const WHICH_PORT: &str = "--endpoint takes OTLP/gRPC, such as port 4317 of a collector; port 4318, and the URL of a backend \
    (the chart's telemetry.endpoint), are OTLP/HTTP, which only the relay speaks";

/// The advice if the server may expect TLS.
const NEEDS_TLS: &str = "if the port expects TLS, the endpoint has to begin with https://";

/// The beginnings of tonic's messages about an HTTP answer that is not one of gRPC.
const NOT_GRPC_MESSAGES: [&str; 3] = ["grpc-status header missing", "protocol error: ", "HTTP/2 was not negotiated"];

/// A connection, as far as the reason for a failure depends on it.
#[derive(Clone)]
pub(super) struct Diagnosis {
    pub(super) uses_tls: bool,
    /// Headers of each request, which a collector may repeat in its answer.
    pub(super) headers: HeaderMap,
}

impl Diagnosis {
    /// Returns the reason for `status`, on one line and without the values of headers.
    pub(super) fn describe(&self, status: &Status) -> String {
        let Some(source) = status.source() else { return self.describe_answer(status) };
        if let Some(text) = tls_error::describe(source, TLS_SETTINGS) {
            return text;
        }
        // The text of a library, which repeats nothing of the request.
        let reason = text(source);
        let reason = if causes(source).any(is_other_protocol) {
            NOT_GRPC.to_owned()
        // A request that nobody cancels is cancelled by the end of its connection.
        } else if status.code() == Code::Cancelled || causes(source).any(is_closed) {
            format!("{reason}; {CLOSED}")
        } else {
            return reason;
        };
        if self.uses_tls { format!("{reason}: {WHICH_PORT}") } else { format!("{reason}: {WHICH_PORT}; {NEEDS_TLS}") }
    }

    /// Describes a status that the collector sent, or that stands for its HTTP status.
    fn describe_answer(&self, status: &Status) -> String {
        let message = self.message(status.message());
        // A proxy answers so for a server that is down or wants a token. Neither is a wrong port.
        let is_of_proxy = matches!(status.code(), Code::Unavailable | Code::Unauthenticated | Code::PermissionDenied);
        if is_not_grpc(status.message()) && !is_of_proxy {
            format!("{NOT_GRPC} ({message}): {WHICH_PORT}")
        } else {
            message
        }
    }

    /// Returns a collector's message as it is printed: short, on one line, and without the values of headers.
    pub(super) fn message(&self, message: &str) -> String {
        truncated(&self.without_headers(message))
    }

    /// Replaces the values of headers in a collector's message.
    fn without_headers(&self, message: &str) -> String {
        let values = self.headers.values().filter_map(|value| value.to_str().ok());
        // A scheme such as Bearer is no secret, and the message may repeat only what follows it.
        let secrets =
            values.flat_map(|value| std::iter::once(value).chain(value.split_once(' ').map(|(_, token)| token)));
        let secrets = secrets.filter(|secret| secret.chars().count() >= MIN_SECRET_CHARS);
        secrets.fold(message.to_owned(), |message, secret| message.replace(secret, "…"))
    }
}

/// Returns whether the server answered in another protocol than HTTP/2: HTTP/1.1 and TLS both look like a frame that is too
/// large.
fn is_other_protocol(error: &(dyn Error + 'static)) -> bool {
    let is_of_frame = |error: &h2::Error| error.reason() == Some(Reason::FRAME_SIZE_ERROR);
    error.downcast_ref().is_some_and(is_of_frame) || is_not_grpc(&error.to_string())
}

/// Returns whether the connection was opened and then closed by the server.
fn is_closed(error: &(dyn Error + 'static)) -> bool {
    let error = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(error, Some(ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof))
}

fn is_not_grpc(message: &str) -> bool {
    NOT_GRPC_MESSAGES.into_iter().any(|beginning| message.starts_with(beginning))
}

/// Returns the beginning of a collector's message, on one line.
pub(super) fn truncated(message: &str) -> String {
    message.chars().take(MAX_MESSAGE_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::export::headers::parse_headers;

    #[test]
    fn a_message_is_cut_and_stays_on_one_line() {
        assert_eq!(truncated("no\nroom\u{1b}[31m"), "no room [31m");
        assert_eq!(truncated(&"ä".repeat(1_000)).chars().count(), MAX_MESSAGE_CHARS);
    }

    #[test]
    fn a_message_does_not_repeat_a_header() {
        let headers = parse_headers("authorization=Bearer%20secret,x-key=other-secret,x-short=to").unwrap();
        let diagnosis = Diagnosis { uses_tls: false, headers };
        for message in ["unknown: Bearer secret", "token secret is unknown", "key other-secret"] {
            let told = diagnosis.describe(&Status::unauthenticated(message));
            assert!(!told.contains("secret") && told.contains('…'), "{told}");
        }
        assert_eq!(diagnosis.describe(&Status::unavailable("no token")), "no token");
    }
}
