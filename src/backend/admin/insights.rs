//! Answers to questions.

use jiff::Timestamp;

use super::open;
use crate::backend::insights::answer::Asked;
use crate::backend::insights::parameters::{Parameters, QuestionName};
use crate::backend::insights::questions;
use crate::backend::insights::render::AnswerFormat;
use crate::backend::store::StoreLocation;

/// Answers a question as the backend that serves the store does, with the same rows. Versions of fewer than
/// `min_installations` are not shown by their names. Fails if there is no store.
pub async fn answer(
    store: StoreLocation,
    question: QuestionName,
    parameters: Parameters,
    min_installations: u64,
    format: AnswerFormat,
) -> anyhow::Result<String> {
    let store = open(store).await?.rows;
    let asked = Asked { at: Timestamp::now(), min_installations };
    Ok(questions::ask(store.as_ref(), question, parameters, asked).await?.render(format)?)
}
