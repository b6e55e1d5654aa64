//! An answer that all readers share, so that a question costs the same however many ask it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

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
}
