//! The cost of folding watch events alone, without reading and decoding.

use std::hint::black_box;
use std::time::Instant;

use jiff::Timestamp;
use kamaji_telemetry::agent::observe::{ControlPlane, Index, IndexOptions, WatcherEvent};
use kamaji_telemetry::catalog::{ExtendedAttributes, KubernetesVersion, Status};
use uuid::Uuid;

/// The number of watch events for each figure, which takes about a second.
const EVENTS: u32 = 2_000_000;

/// The free capacity of the outbox, which is never exhausted here.
const CAPACITY: usize = 1_000;

/// Folded watch events per second: without a change, and with one record each.
pub(crate) struct Rates {
    pub(crate) unchanged: f64,
    pub(crate) updated: f64,
}

/// Measures with an index of `objects` control planes.
pub(crate) fn measure(objects: usize) -> Rates {
    let versions = ["v1.35.1", "v1.36.0"].map(KubernetesVersion::normalize);
    let control_planes: Vec<_> = (0..objects).map(|_| control_plane(versions[0])).collect();
    let mut index = Index::new(IndexOptions { extended: false, limit: usize::MAX });
    let now = Timestamp::now();
    index.fold(WatcherEvent::Init, now, CAPACITY);
    for control_plane in &control_planes {
        index.fold(WatcherEvent::Apply(*control_plane), now, CAPACITY);
    }
    index.fold(WatcherEvent::InitDone, now, CAPACITY);
    let mut rate = |version_of_lap: fn(usize) -> usize| {
        let laps = (0..).flat_map(|lap| control_planes.iter().map(move |control_plane| (lap, control_plane)));
        let started = Instant::now();
        for (_, (lap, control_plane)) in (0..EVENTS).zip(laps) {
            let object = ControlPlane { tcp_version: Some(versions[version_of_lap(lap)]), ..*control_plane };
            black_box(index.fold(black_box(WatcherEvent::Apply(object)), now, CAPACITY));
        }
        f64::from(EVENTS) / started.elapsed().as_secs_f64()
    };
    Rates { unchanged: rate(|_| 0), updated: rate(|lap| (lap + 1) % 2) }
}

fn control_plane(version: KubernetesVersion) -> ControlPlane {
    ControlPlane {
        uid: Uuid::new_v4(),
        created: Some(Timestamp::UNIX_EPOCH),
        deleted: None,
        tcp_version: Some(version),
        status: Some(Status::Ready),
        extended: ExtendedAttributes { cluster_api: false, network_profile: None },
    }
}
