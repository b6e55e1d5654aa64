//! Points at which a request is held: where a kill is to fall.

use tokio::sync::oneshot;

use crate::servers::DEADLINE;

/// Where a request is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::faults) enum Point {
    /// Before the server has it.
    BeforeRequest,
    /// Once the server has done it, before the client knows.
    BeforeResponse,
}

/// The test's side: a request that is going to be held. Dropping it lets the request go nowhere.
pub(in crate::faults) struct Hold {
    reached: Option<oneshot::Receiver<()>>,
    pass: oneshot::Sender<()>,
}

/// The proxy's side.
pub(super) struct Held {
    reached: oneshot::Sender<()>,
    pass: oneshot::Receiver<()>,
}

/// Both sides of a hold.
pub(super) fn hold() -> (Hold, Held) {
    let (tell, reached) = oneshot::channel();
    let (pass, passes) = oneshot::channel();
    (Hold { reached: Some(reached), pass }, Held { reached: tell, pass: passes })
}

impl Hold {
    /// Waits until a request is there.
    pub(in crate::faults) async fn reached(&mut self) {
        let reached = self.reached.take().expect("a hold is reached once");
        let reached = tokio::time::timeout(DEADLINE, reached).await;
        reached.expect("a request comes in time").expect("the proxy holds it");
    }

    /// Lets the request, or its answer, pass.
    pub(in crate::faults) fn pass(self) {
        // Its client may be gone meanwhile.
        let _ = self.pass.send(());
    }
}

impl Held {
    /// Whether the test still waits for a request.
    pub(super) fn is_awaited(&self) -> bool {
        !self.reached.is_closed()
    }

    /// Tells the test, and waits for its word. `None` where the request is to go no further.
    pub(super) async fn wait(self) -> Option<()> {
        self.reached.send(()).ok()?;
        self.pass.await.ok()
    }
}
