//! Two kinds of stores with one history, whose answers are compared.

use futures::future::join;
use kamaji_telemetry::backend::store::{Cutoffs, EventFilter, Hour, InstallationFilter};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::recomputation::{Model, histories};
use super::{Shared, facts, hours_ago, noon, open_postgres, open_sqlite, view};

/// The number of histories, each of which takes a second or two.
const HISTORIES: u32 = 16;

/// The bound of short lists.
const FEW: usize = 3;

/// Returns all answers that tell rows and figures, as text.
pub(crate) async fn answers(store: &Shared) -> Vec<String> {
    let today = Hour::of(noon()).day();
    let cutoffs =
        Cutoffs { events: Hour::of(hours_ago(300)), uids: Hour::of(hours_ago(600)), installations: today.minus(20) };
    let view = view(store).await;
    let mut answers = vec![
        format!("installations: {:#?}", view.installations),
        format!("events: {:#?}", view.events),
        format!("first installations: {:#?}", store.installations(InstallationFilter::default(), FEW).await.unwrap()),
        format!("newest events: {:#?}", store.events(EventFilter::default(), FEW).await.unwrap()),
        format!("number of events: {:?}", store.count_events(EventFilter::default()).await.unwrap()),
        format!("intake: {:?}", store.intake(today).await.unwrap()),
        format!("newest record: {:?}", store.newest_record().await.unwrap()),
        format!("stale rows: {:?}", store.stale_rows(cutoffs).await.unwrap()),
    ];
    let queries = facts::queries();
    let read = store.facts(queries.clone()).await.unwrap();
    let fact = |(query, facts)| format!("{query:?}: {:#?}", facts::sorted(facts));
    answers.extend(queries.into_iter().zip(read).map(fact));
    answers
}

#[test]
fn after_any_history_sqlite_and_postgresql_give_the_same_answers() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = Config { cases: HISTORIES, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&histories(), |history| {
        runtime.block_on(async {
            let ((file, _folder), (database, _database)) = (open_sqlite(), open_postgres().await);
            let (mut written, mut model) = ([Vec::new(), Vec::new()], [Model::default(), Model::default()]);
            for step in history {
                let [of_file, of_database] = &mut written;
                let [model_of_file, model_of_database] = &mut model;
                step.clone().take(file.as_ref(), of_file, model_of_file).await;
                step.clone().take(database.as_ref(), of_database, model_of_database).await;
                let (left, right) = join(answers(&file), answers(&database)).await;
                for (left, right) in left.into_iter().zip(right) {
                    prop_assert_eq!(left, right, "after {:?}", step);
                }
            }
            Ok(())
        })
    });
    result.unwrap();
}
