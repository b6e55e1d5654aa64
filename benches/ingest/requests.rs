//! Requests, prepared: of each, what differs from the one before is written over.

use anyhow::ensure;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::SERVICE_NAME as LOGS;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::SERVICE_NAME as METRICS;
use prost::Message;
use uuid::{Builder, Uuid};

use crate::samples::{created, logs_request, metrics_request, now, state_gauges};

/// Events in a batch: as many as an agent sends at once.
pub(crate) const BATCH: usize = 500;

/// Nanoseconds in a millisecond, which is what stores keep.
pub(crate) const MILLISECOND: u64 = 1_000_000;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One event.
    Event,
    /// [`BATCH`] events.
    Events,
    /// The four gauges of one installation.
    Snapshot,
}

/// A message with places that are written over.
pub(crate) struct Prepared {
    /// Where it is sent.
    pub(crate) path: String,
    /// The message, encoded.
    pub(crate) body: Vec<u8>,
    /// Where UUIDs are, as text.
    uuids: Vec<usize>,
    /// Where times are, as nanoseconds.
    times: Vec<usize>,
}

impl Kind {
    /// Events in a request.
    pub(crate) fn events(self) -> usize {
        match self {
            Self::Event => 1,
            Self::Events => BATCH,
            Self::Snapshot => 0,
        }
    }

    pub(crate) fn prepare(self) -> anyhow::Result<Prepared> {
        let time = now();
        let uuids: Vec<_> = (0..self.events().max(1)).map(|_| Uuid::new_v4()).collect();
        let (service, body) = match self {
            Self::Snapshot => (METRICS, metrics_request(uuids[0], state_gauges([5, 1, 0, 0], time)).encode_to_vec()),
            _ => (LOGS, logs_request(uuids.iter().map(|uid| created(*uid, time)).collect()).encode_to_vec()),
        };
        let found = uuids.iter().map(|uuid| places(&body, uuid.to_string().as_bytes())).collect::<Vec<_>>();
        ensure!(found.iter().all(|places| places.len() == 1), "a UUID is in a message once");
        let times = places(&body, &time.to_le_bytes());
        Ok(Prepared { path: format!("/{service}/Export"), body, uuids: found.concat(), times })
    }
}

fn places(body: &[u8], part: &[u8]) -> Vec<usize> {
    body.windows(part.len()).enumerate().filter(|(_, window)| *window == part).map(|(place, _)| place).collect()
}

impl Prepared {
    /// Makes all its events new ones.
    pub(crate) fn renew(&mut self, random: &mut fastrand::Rng) {
        for place in 0..self.uuids.len() {
            self.name(place, Builder::from_random_bytes(random.u128(..).to_be_bytes()).into_uuid());
        }
    }

    /// Makes it a snapshot of this installation at this time, in nanoseconds.
    pub(crate) fn of(&mut self, installation: Uuid, time: u64) {
        self.name(0, installation);
        for place in &self.times {
            self.body[*place..*place + 8].copy_from_slice(&time.to_le_bytes());
        }
    }

    fn name(&mut self, place: usize, uuid: Uuid) {
        let place = self.uuids[place];
        uuid.hyphenated().encode_lower(&mut self.body[place..place + uuid::fmt::Hyphenated::LENGTH]);
    }
}
