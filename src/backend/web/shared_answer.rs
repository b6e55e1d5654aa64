//! Answers that all readers share, so that a question costs the same however many ask it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex as SyncMutex};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::process::lock::lock;

/// An answer, and the time at which it was asked for.
type Dated<T> = (Instant, Arc<T>);

/// A question's last answer. One reader at a time asks anew; those who wait meanwhile get its answer.
#[derive(Debug)]
pub(super) struct SharedAnswer<T> {
    max_age: Duration,
    last: Mutex<Option<Dated<T>>>,
}

impl<T> SharedAnswer<T> {
    /// Creates a question without an answer. Answers are shared for `max_age`.
    pub(super) fn new(max_age: Duration) -> Self {
        Self { max_age, last: Mutex::new(None) }
    }

    /// Returns the last answer if it is young enough, or else that of `ask`. An error is not shared.
    pub(super) async fn get<E>(&self, ask: impl Future<Output = Result<T, E>>) -> Result<Arc<T>, E> {
        let mut last = self.last.lock().await;
        if let Some((asked, answer)) = last.as_ref()
            && asked.elapsed() < self.max_age
        {
            return Ok(Arc::clone(answer));
        }
        let asked = Instant::now();
        let answer = Arc::new(ask.await?);
        *last = Some((asked, Arc::clone(&answer)));
        Ok(answer)
    }
}

impl<T> SharedAnswer<T> {
    /// Returns whether somebody waits for an answer, or would get the last one.
    fn is_needed(&self) -> bool {
        self.last.try_lock().map_or(true, |last| last.as_ref().is_some_and(|(asked, _)| asked.elapsed() < self.max_age))
    }
}

/// The last answers to questions with parameters. Those that are too old to be shared are dropped with the next
/// question, so that no more are in memory than were asked for within `max_age`.
#[derive(Debug)]
pub(super) struct SharedAnswers<K, T> {
    max_age: Duration,
    answers: SyncMutex<HashMap<K, Arc<SharedAnswer<T>>>>,
}

impl<K: Eq + Hash, T> SharedAnswers<K, T> {
    /// Creates questions without answers. Answers are shared for `max_age`.
    pub(super) fn new(max_age: Duration) -> Self {
        Self { max_age, answers: SyncMutex::default() }
    }

    /// Returns the last answer for `key` as [`SharedAnswer::get`] does.
    pub(super) async fn get<E>(&self, key: K, ask: impl Future<Output = Result<T, E>>) -> Result<Arc<T>, E> {
        let answer = {
            let mut answers = lock(&self.answers);
            answers.retain(|_, answer| Arc::strong_count(answer) > 1 || answer.is_needed());
            Arc::clone(answers.entry(key).or_insert_with(|| Arc::new(SharedAnswer::new(self.max_age))))
        };
        answer.get(ask).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_question_is_asked_once_for_all_who_wait_and_again_once_its_answer_is_old() {
        let (answer, asked) = (SharedAnswer::new(Duration::from_secs(15)), AtomicU32::new(0));
        let ask = async || {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(3)).await;
            if number == 0 { Err(()) } else { Ok(number) }
        };
        assert_eq!(answer.get(ask()).await, Err(()), "an error is not shared");
        let get = || async { *answer.get(ask()).await.unwrap() };
        assert_eq!(join_all((0..100).map(|_| get())).await, [1; 100]);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(get().await, 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(get().await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn each_key_has_an_answer_of_its_own_which_is_dropped_once_it_is_old() {
        let answers = SharedAnswers::new(Duration::from_secs(15));
        let get =
            async |key: &'static str, answer: u32| *answers.get(key, async { Ok::<_, ()>(answer) }).await.unwrap();
        assert_eq!((get("a", 1).await, get("b", 2).await, get("a", 3).await), (1, 2, 1));
        tokio::time::advance(Duration::from_secs(15)).await;
        assert_eq!(get("b", 4).await, 4);
        assert_eq!(lock(&answers.answers).len(), 1);
    }
}
