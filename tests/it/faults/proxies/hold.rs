//! Holds of requests, so that the agent can be killed at a defined point.

use tokio::sync::oneshot;

use crate::servers::DEADLINE;

/// The point at which a request is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::faults) enum Point {
    /// Before the request reaches the server.
    BeforeRequest,
    /// After the server has responded, before the response reaches the client.
    BeforeResponse,
}

/// The test's side of a hold. If it is dropped, the request fails.
pub(in crate::faults) struct Hold {
    reached: Option<oneshot::Receiver<()>>,
    pass: oneshot::Sender<()>,
}

/// The proxy's side of a hold.
pub(super) struct Held {
    reached: oneshot::Sender<()>,
    pass: oneshot::Receiver<()>,
}

/// Creates both sides of a hold.
pub(super) fn hold() -> (Hold, Held) {
    let (notify, reached) = oneshot::channel();
    let (pass, passes) = oneshot::channel();
    (Hold { reached: Some(reached), pass }, Held { reached: notify, pass: passes })
}

impl Hold {
    /// Waits until a request is held.
    pub(in crate::faults) async fn reached(&mut self) {
        let reached = self.reached.take().expect("a hold is reached once");
        let reached = tokio::time::timeout(DEADLINE, reached).await;
        reached.expect("a request comes in time").expect("the proxy holds it");
    }

    /// Lets the request or its response pass.
    pub(in crate::faults) fn pass(self) {
        // Its client may be gone meanwhile.
        let _ = self.pass.send(());
    }
}

impl Held {
    /// Returns whether the test still waits for a request.
    pub(super) fn is_awaited(&self) -> bool {
        !self.reached.is_closed()
    }

    /// Notifies the test and waits until it continues. Returns `None` if the request must fail.
    pub(super) async fn wait(self) -> Option<()> {
        self.reached.send(()).ok()?;
        self.pass.await.ok()
    }
}
