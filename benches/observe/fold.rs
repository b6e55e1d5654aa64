//! The pure fold alone: what is left where nothing is read and nothing decoded.

use std::hint::black_box;
use std::time::Instant;

use jiff::Timestamp;
use kamaji_telemetry::agent::observe::{ControlPlane, Index, IndexOptions, WatcherEvent};
use kamaji_telemetry::catalog::{CreatedWith, KubernetesVersion, Status};
use uuid::Uuid;

/// Watch events that are folded for one figure: a second's worth and more.
const EVENTS: u32 = 2_000_000;

/// Room for events: more than are folded at once.
const ROOM: usize = 1_000;

/// Watch events folded a second: those that change nothing, and those that each yield a record.
pub(crate) struct Rates {
    pub(crate) unchanged: f64,
    pub(crate) updated: f64,
}

/// Measures with a view of `objects` control planes.
pub(crate) fn measure(objects: usize) -> Rates {
    let versions = ["v1.35.1", "v1.36.0"].map(KubernetesVersion::normalise);
    let control_planes: Vec<_> = (0..objects).map(|_| control_plane(versions[0])).collect();
    let mut view = Index::new(IndexOptions { extended: false, limit: usize::MAX });
    let now = Timestamp::now();
    view.fold(WatcherEvent::Init, now, ROOM);
    for control_plane in &control_planes {
        view.fold(WatcherEvent::Apply(*control_plane), now, ROOM);
    }
    view.fold(WatcherEvent::InitDone, now, ROOM);
    let mut rate = |version_of_lap: fn(usize) -> usize| {
        let laps = (0..).flat_map(|lap| control_planes.iter().map(move |control_plane| (lap, control_plane)));
        let begun = Instant::now();
        for (_, (lap, control_plane)) in (0..EVENTS).zip(laps) {
            let object = ControlPlane { tcp_version: Some(versions[version_of_lap(lap)]), ..*control_plane };
            black_box(view.fold(black_box(WatcherEvent::Apply(object)), now, ROOM));
        }
        f64::from(EVENTS) / begun.elapsed().as_secs_f64()
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
        created_with: CreatedWith { cluster_api: false, network_profile: None },
    }
}
