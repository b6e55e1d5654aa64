//! The answers to questions that are asked by name.

use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use super::answer::{Asked, Question};
use super::coverage::{Coverage, CoverageRow};
use super::definitions::Window;
use super::deprecation::{Deprecation, DeprecationRow};
use super::features::{Features, FeaturesRow};
use super::health::{Health, HealthRow};
use super::overview::{FleetOverview, OverviewRow};
use super::parameters::{Parameters, QuestionName};
use super::render::AnyAnswer;
use super::test_matrix::{MatrixWindow, TestMatrix, TestMatrixRow};
use super::upgrades::{Upgrades, UpgradesRow};
use super::versions::{Versions, VersionsRow};
use crate::backend::store::{Day, Facts, FactsQuery, ReadError, Store};

/// A question of any kind, with its parameters.
trait AnyQuestion: Send + Sync {
    fn queries(&self, through: Day) -> Vec<FactsQuery>;

    fn answer(&self, facts: &[Facts], asked: Asked) -> Box<dyn AnyAnswer>;
}

impl<Q> AnyQuestion for Q
where
    Q: Question + Send + Sync,
    Q::Row: Serialize + ToSchema + Send + Sync + 'static,
{
    fn queries(&self, through: Day) -> Vec<FactsQuery> {
        Question::queries(self, through)
    }

    fn answer(&self, facts: &[Facts], asked: Asked) -> Box<dyn AnyAnswer> {
        Box::new(Question::answer(self, facts, asked))
    }
}

/// Answers a question from one consistent state of the store.
pub async fn ask(
    store: &dyn Store,
    name: QuestionName,
    parameters: Parameters,
    asked: Asked,
) -> Result<Box<dyn AnyAnswer>, ReadError> {
    let question = question(name, parameters);
    let facts = store.facts(question.queries(asked.through())).await?;
    Ok(question.answer(&facts, asked))
}

/// Returns the question with this name. A parameter that it can't have is [`Parameters`]' to refuse.
fn question(name: QuestionName, parameters: Parameters) -> Box<dyn AnyQuestion> {
    let Parameters { window, source, by, component, cover } = parameters;
    // Pairs and points are kept for windows of 30 days at most.
    let short = if window == Window::Days7 { MatrixWindow::Days7 } else { MatrixWindow::Days30 };
    match name {
        QuestionName::Overview => Box::new(FleetOverview { source, window, by }),
        QuestionName::Versions => Box::new(Versions { source, window, by, component }),
        QuestionName::TestMatrix => Box::new(TestMatrix { source, window: short, by, cover }),
        QuestionName::Health => Box::new(Health { window }),
        QuestionName::Upgrades => Box::new(Upgrades { source, window }),
        QuestionName::Deprecation => Box::new(Deprecation { source, by, component }),
        QuestionName::Features => Box::new(Features { source, window: short }),
        QuestionName::Coverage => Box::new(Coverage { window }),
    }
}

/// Returns the name and the schema of the rows of a question, and adds those of their fields to `others`.
pub fn row_schema(name: QuestionName, others: &mut Vec<(String, RefOr<Schema>)>) -> (String, RefOr<Schema>) {
    match name {
        QuestionName::Overview => schema_of::<OverviewRow>(others),
        QuestionName::Versions => schema_of::<VersionsRow>(others),
        QuestionName::TestMatrix => schema_of::<TestMatrixRow>(others),
        QuestionName::Health => schema_of::<HealthRow>(others),
        QuestionName::Upgrades => schema_of::<UpgradesRow>(others),
        QuestionName::Deprecation => schema_of::<DeprecationRow>(others),
        QuestionName::Features => schema_of::<FeaturesRow>(others),
        QuestionName::Coverage => schema_of::<CoverageRow>(others),
    }
}

fn schema_of<R: ToSchema>(others: &mut Vec<(String, RefOr<Schema>)>) -> (String, RefOr<Schema>) {
    R::schemas(others);
    (R::name().into_owned(), R::schema())
}
