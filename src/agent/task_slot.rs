//! A worker that runs one task at a time, for a loop that selects over several of them.

use futures::future::{BoxFuture, FutureExt};

/// A worker `W` and the task that it runs. A task consumes the worker, and returns it with a result `R`.
pub(super) enum TaskSlot<W, R> {
    Idle(W),
    Running(BoxFuture<'static, (W, R)>),
    /// A placeholder while [`TaskSlot::start`] moves the worker.
    Moving,
}

impl<W, R> TaskSlot<W, R> {
    /// Returns the worker if it is idle.
    pub(super) fn idle(&self) -> Option<&W> {
        match self {
            Self::Idle(worker) => Some(worker),
            Self::Running(_) | Self::Moving => None,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.idle().is_some()
    }

    /// Starts a task. Does nothing if one is running.
    pub(super) fn start<F: Future<Output = (W, R)> + Send + 'static>(&mut self, task: impl FnOnce(W) -> F) {
        *self = match std::mem::replace(self, Self::Moving) {
            Self::Idle(worker) => Self::Running(task(worker).boxed()),
            running => running,
        };
    }

    /// Waits for the running task and returns its result. Waits for ever if none is running.
    ///
    /// Cancel safe: the next call waits for the same task.
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
    async fn a_task_whose_wait_was_cancelled_still_returns_its_result() {
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
