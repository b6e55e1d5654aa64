//! A worker with one task at a time, which a loop waits for beside everything else.

use futures::future::{BoxFuture, FutureExt};

/// A worker that is here, or away on a task. It comes back with what became of that.
pub(super) enum TaskSlot<W, R> {
    Idle(W),
    Running(BoxFuture<'static, (W, R)>),
    /// Only for as long as a task is being given, or a result taken.
    Moving,
}

impl<W, R> TaskSlot<W, R> {
    /// The worker, where it is here.
    pub(super) fn idle(&self) -> Option<&W> {
        match self {
            Self::Idle(worker) => Some(worker),
            Self::Running(_) | Self::Moving => None,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.idle().is_some()
    }

    /// Sends the worker away; one that is away stays there.
    pub(super) fn start<F: Future<Output = (W, R)> + Send + 'static>(&mut self, task: impl FnOnce(W) -> F) {
        *self = match std::mem::replace(self, Self::Moving) {
            Self::Idle(worker) => Self::Running(task(worker).boxed()),
            elsewhere => elsewhere,
        };
    }

    /// Waits until the worker is back, and gives what became of its task; for ever where it has none. Nothing is lost
    /// where this is not waited for to its end.
    pub(super) async fn finished(&mut self) -> R {
        let Self::Running(task) = self else { return futures::future::pending().await };
        let (worker, result) = task.await;
        *self = Self::Idle(worker);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_worker_comes_back_with_its_result_though_it_was_not_waited_for_at_first() {
        let (finish, finished) = tokio::sync::oneshot::channel::<u32>();
        let mut worker = TaskSlot::Idle("tool");
        worker.start(async |tool| (tool, finished.await.unwrap()));
        assert!(worker.finished().now_or_never().is_none());
        assert!(!worker.is_idle());
        finish.send(7).unwrap();
        assert_eq!(worker.finished().await, 7);
        assert!(worker.is_idle() && worker.finished().now_or_never().is_none());
    }
}
