//! The answers to questions over the API.

mod negotiation;
pub(super) mod openapi;

use std::fmt::Write;
use std::sync::Arc;

use axum::Json;
use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use ring::digest::{SHA256, digest};

use super::{PageError, Web};
use crate::backend::insights::answer::Asked;
use crate::backend::insights::parameters::{ParameterError, Parameters, QuestionName};
use crate::backend::insights::questions;
use crate::backend::insights::render::{AnswerFormat, AnyAnswer, RenderError};
use crate::backend::store::ReadError;
use crate::process::log_throttle::LogThrottle;
use negotiation::{FORMAT, accepted, formats, media_type, parse_format};

/// A cache asks before it shows a stored answer again, so that each read is in the audit log. What it stored is of one
/// reader.
const REVALIDATED: HeaderValue = HeaderValue::from_static("private, no-cache");

/// The headers of a request by which the answer differs.
const VARIES_BY: HeaderValue = HeaderValue::from_static("Accept, Authorization, Cookie");

/// The bytes of a digest in an entity tag: 128 bits don't collide by accident.
const TAG_BYTES: usize = 16;

/// The error of an answer over the API.
#[derive(Debug, thiserror::Error)]
pub(super) enum InsightsError {
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error("the page of {0} has the answer to another question")]
    Mismatch(QuestionName),
}

impl IntoResponse for InsightsError {
    fn into_response(self) -> Response {
        match self {
            Self::Parameter(error) => (StatusCode::BAD_REQUEST, Json(error)).into_response(),
            Self::Read(error) => PageError::from(error).into_response(),
            error @ (Self::Render(_) | Self::Mismatch(_)) => {
                static THROTTLE: LogThrottle = LogThrottle::per_minute();
                THROTTLE.failed(|count| tracing::error!(%error, count, "failed to write an answer"));
                (StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written: see the backend's log\n")
                    .into_response()
            }
        }
    }
}

/// Responds with the answer to a question, in the format of the parameter `format`, or else of the header `Accept`.
pub(super) async fn respond(
    web: Web,
    question: QuestionName,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, InsightsError> {
    let pairs = pairs(&uri);
    let format = parse_format(question, &pairs)?.unwrap_or_else(|| accepted(&headers, formats(question)));
    let others = pairs.iter().filter(|(name, _)| name != FORMAT);
    let others = others.map(|(name, value)| (name.as_str(), value.as_str()));
    let parameters = Parameters::parse(question, others, &[FORMAT])?;
    let answer = read(&web, question, parameters).await?;
    let body = answer.render(format)?;
    let tag = entity_tag(format, &body);
    let mut response = if is_known(&headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = body.into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type(format)));
        if format == AnswerFormat::Csv {
            let name = format!("attachment; filename=\"kamaji-{question}-{}.csv\"", answer.data_through());
            insert(&mut response, CONTENT_DISPOSITION, &name);
        }
        response
    };
    insert(&mut response, ETAG, &tag);
    response.headers_mut().insert(CACHE_CONTROL, REVALIDATED);
    response.headers_mut().insert(VARY, VARIES_BY);
    Ok(response)
}

/// Reads the answer to a question, which readers share.
pub(super) async fn read(
    web: &Web,
    question: QuestionName,
    parameters: Parameters,
) -> Result<Arc<Box<dyn AnyAnswer>>, ReadError> {
    let asked = Asked { at: web.config.clock.now(), min_installations: web.config.min_installations };
    let ask = questions::ask(web.stores.rows.as_ref(), question, parameters, asked);
    web.answers.get((question, parameters.query(question)), ask).await
}

/// Returns the parameters of an address, decoded.
pub(super) fn pairs(uri: &Uri) -> Vec<(String, String)> {
    // Any text is pairs of texts.
    Query::try_from_uri(uri).map(|Query(pairs)| pairs).unwrap_or_default()
}

/// Returns the entity tag of a body: a weak one, since answers that differ in nothing but their time are the same.
fn entity_tag(format: AnswerFormat, body: &str) -> String {
    // The time is the first member.
    let undated = if format == AnswerFormat::Json { body.split_once(',').map_or(body, |(_, rest)| rest) } else { body };
    let digest = digest(&SHA256, undated.as_bytes());
    let mut tag = format!("W/\"{format:?}-");
    for byte in digest.as_ref().iter().take(TAG_BYTES) {
        let _ = write!(tag, "{byte:02x}");
    }
    tag + "\""
}

/// Returns whether the sender of a request has what the tag is of. Tags are compared weakly (RFC 9110, section 13.1.2).
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let lines = headers.get_all(IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|given| given.trim() == "*" || opaque(given) == opaque(tag))
}

fn insert(response: &mut Response, name: HeaderName, value: &str) {
    // Names, dates and digests have no character that a header may not have.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_differ_in_their_time_alone_have_one_tag() {
        let json =
            |time, count| entity_tag(AnswerFormat::Json, &format!("{{\"generated_at\":\"{time}\",\"count\":{count}}}"));
        assert_eq!(json("2026-11-27T01:00:00Z", 1), json("2026-11-27T02:00:00Z", 1));
        assert_ne!(json("2026-11-27T01:00:00Z", 1), json("2026-11-27T01:00:00Z", 2));
        assert_ne!(entity_tag(AnswerFormat::Csv, "a,b"), entity_tag(AnswerFormat::Csv, "c,b"));
        assert_ne!(entity_tag(AnswerFormat::Csv, "a"), entity_tag(AnswerFormat::Github, "a"));
    }

    #[test]
    fn tags_are_compared_weakly_and_a_list_may_have_any_of_them() {
        let is_known = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, given.parse().unwrap());
            super::is_known(&headers, "W/\"Json-1\"")
        };
        for known in ["W/\"Json-1\"", "\"Json-1\"", "\"a\", W/\"Json-1\"", "*"] {
            assert!(is_known(known), "{known}");
        }
        for unknown in ["W/\"Json-2\"", "Json-1", "", "\"a\", \"b\""] {
            assert!(!is_known(unknown), "{unknown}");
        }
        assert!(!super::is_known(&HeaderMap::new(), "W/\"Json-1\""));
    }
}
