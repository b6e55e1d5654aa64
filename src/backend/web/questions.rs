//! The pages of the questions.

use std::any::Any;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::{StatusCode, Uri};

use super::insights::{InsightsError, pairs, read};
use super::page::{Frame, Place, QuestionView, content, outages, unusable};
use super::{Web, with_form};
use crate::backend::auth::Principal;
use crate::backend::insights::parameters::{Parameters, QuestionName};
use crate::backend::insights::render::AnyAnswer;
use crate::backend::store::ReadError;
use crate::backend::web::chart::Outage;

/// Shows the page of a question. Its parameters are those of the API.
pub(super) async fn page(
    web: Web,
    question: QuestionName,
    uri: Uri,
    principal: Principal,
) -> Result<Response, InsightsError> {
    let place = Place::Question(question);
    let address = uri.path_and_query().map_or(place.path(), |address| address.as_str());
    let given = pairs(&uri);
    let given = given.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let parameters = match Parameters::parse(question, given, &[]) {
        Ok(parameters) => parameters,
        Err(error) => {
            let frame = Frame { place, principal: &principal, as_of: web.config.clock.now(), address };
            return Ok((StatusCode::BAD_REQUEST, with_form(unusable(&frame, &error))).into_response());
        }
    };
    let answer = read(&web, question, parameters).await?;
    let outages = read_outages(&web, question, parameters).await?;
    let view = QuestionView { question, parameters, grpc: web.config.grpc, outages };
    let frame = Frame { place, principal: &principal, as_of: answer.generated_at(), address };
    // The answer is one to this question.
    let content = content(as_any(&answer), &view).ok_or(InsightsError::Mismatch(question))?;
    Ok(with_form(view.render(&frame, &content)))
}

/// Reads the times at which the backend was away, for a page with a chart over time. They are those of the answer on
/// coverage.
async fn read_outages(web: &Web, question: QuestionName, parameters: Parameters) -> Result<Vec<Outage>, ReadError> {
    match question {
        QuestionName::Overview | QuestionName::Versions | QuestionName::Coverage => {
            let coverage = read(web, QuestionName::Coverage, parameters).await?;
            Ok(as_any(&coverage).downcast_ref().map(outages).unwrap_or_default())
        }
        _ => Ok(Vec::new()),
    }
}

fn as_any(answer: &Arc<Box<dyn AnyAnswer>>) -> &dyn Any {
    let answer: &dyn AnyAnswer = answer.as_ref().as_ref();
    answer
}
