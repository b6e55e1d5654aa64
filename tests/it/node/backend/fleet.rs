//! Control planes that are created while something happens to a pod, each of which is one event.

use std::cell::Cell;
use std::time::Duration;

use serde_json::Value;

use crate::node::figures::Injury;
use crate::node::scene::Scene;

/// The pause between two control planes. Creating one takes 0.2 s of a processor.
const PAUSE: Duration = Duration::from_secs(1);

/// The control planes of a scene, numbered from 1 on. Number N is created at version v1.30.N, and stays at it.
pub(super) struct Fleet<'a> {
    scene: &'a Scene,
    created: Cell<u32>,
}

impl<'a> Fleet<'a> {
    /// Installs both charts with these values, and stores a first event.
    pub(super) async fn with(scene: &'a Scene, backend: &Value, agent: &Value) -> Self {
        scene.install_both(backend, agent).await;
        Self { scene, created: Cell::new(1) }
    }

    /// Returns a fleet of no control plane.
    pub(super) fn new(scene: &'a Scene) -> Self {
        Self { scene, created: Cell::new(0) }
    }

    /// Installs the agent's chart with `values`, and stores an event. The endpoint is the backend's without TLS by default.
    pub(super) async fn install_agent(&self, values: &Value) {
        self.scene.install_sender(values).await;
        self.create().await;
        self.stored().await;
    }

    /// Creates the next control plane.
    pub(super) async fn create(&self) {
        let number = self.created.get() + 1;
        self.scene.tenant(number, number).await;
        self.created.set(number);
    }

    /// Runs `task`, and creates one control plane after another meanwhile.
    pub(super) async fn during<T>(&self, task: impl Future<Output = T>) -> T {
        let is_over = Cell::new(false);
        let task = async {
            let output = task.await;
            is_over.set(true);
            output
        };
        let create = async {
            while !is_over.get() {
                self.create().await;
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::join!(task, create).0
    }

    /// Returns the events of all control planes.
    pub(super) fn events(&self) -> Vec<String> {
        (1..=self.created.get()).map(event).collect()
    }

    /// Waits until an injury has lost and repeated none of the events.
    pub(super) async fn lost_nothing(&self, injury: Injury) {
        injury.lost_nothing(self.scene, &self.events()).await;
    }

    /// Waits until the event of each control plane is stored, once.
    pub(super) async fn stored(&self) {
        let events = self.events();
        self.scene.stored(&events.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
}

/// Returns the event of the control plane `number`.
pub(super) fn event(number: u32) -> String {
    format!("created v1.30.{number}")
}
