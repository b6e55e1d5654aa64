//! The content of the page of each question.

use std::any::Any;

use super::coverage::coverage;
use super::deprecation::deprecation;
use super::features::features;
use super::health::health;
use super::overview::overview;
use super::test_matrix::test_matrix;
use super::upgrades::upgrades;
use super::versions::versions;
use super::{Content, QuestionView};
use crate::backend::insights::parameters::QuestionName;

/// Returns the content of a page; `None` if the answer is one to another question than that of the view.
pub(in crate::backend::web) fn content(answer: &dyn Any, view: &QuestionView) -> Option<Content> {
    match view.question {
        QuestionName::Overview => answer.downcast_ref().map(|answer| overview(answer, view)),
        QuestionName::Versions => answer.downcast_ref().map(|answer| versions(answer, view)),
        QuestionName::TestMatrix => answer.downcast_ref().map(|answer| test_matrix(answer, view)),
        QuestionName::Health => answer.downcast_ref().map(|answer| health(answer, view)),
        QuestionName::Upgrades => answer.downcast_ref().map(|answer| upgrades(answer, view)),
        QuestionName::Deprecation => answer.downcast_ref().map(|answer| deprecation(answer, view)),
        QuestionName::Features => answer.downcast_ref().map(|answer| features(answer, view)),
        QuestionName::Coverage => answer.downcast_ref().map(|answer| coverage(answer, view)),
    }
}

#[cfg(test)]
mod tests;
