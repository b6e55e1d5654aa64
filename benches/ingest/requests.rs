//! Prepared requests. From one to the next, only the bytes that differ are overwritten.

use anyhow::ensure;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::SERVICE_NAME as LOGS;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::SERVICE_NAME as METRICS;
use prost::Message;
use uuid::{Builder, Uuid};

use crate::samples::{created, logs_request, metrics_request, now, state_gauges};

/// The number of events in a batch: as many as an agent sends at once.
pub(crate) const BATCH: usize = 500;

/// The number of nanoseconds in a millisecond, the resolution of a store.
pub(crate) const MILLISECOND: u64 = 1_000_000;

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One event.
    Event,
    /// [`BATCH`] events.
    Events,
    /// The four gauges of one installation.
    Snapshot,
}

/// A message, and the positions of its variable parts.
pub(crate) struct Prepared {
    /// The path of the gRPC method.
    pub(crate) path: String,
    /// The encoded message.
    pub(crate) body: Vec<u8>,
    /// The positions of UUIDs, as text.
    uuids: Vec<usize>,
    /// The positions of times, as nanoseconds.
    times: Vec<usize>,
}

impl Kind {
    /// Returns the number of events in a request.
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
        let found = uuids.iter().map(|uuid| positions(&body, uuid.to_string().as_bytes())).collect::<Vec<_>>();
        ensure!(found.iter().all(|positions| positions.len() == 1), "expected each UUID once in a message");
        let times = positions(&body, &time.to_le_bytes());
        Ok(Prepared { path: format!("/{service}/Export"), body, uuids: found.concat(), times })
    }
}

fn positions(body: &[u8], part: &[u8]) -> Vec<usize> {
    body.windows(part.len()).enumerate().filter(|(_, window)| *window == part).map(|(position, _)| position).collect()
}

impl Prepared {
    /// Gives each event a new UUID.
    pub(crate) fn set_new_events(&mut self, random: &mut fastrand::Rng) {
        for position in 0..self.uuids.len() {
            self.set_uuid(position, Builder::from_random_bytes(random.u128(..).to_be_bytes()).into_uuid());
        }
    }

    /// Sets installation and time, in nanoseconds, of a snapshot.
    pub(crate) fn set_snapshot(&mut self, installation: Uuid, time: u64) {
        self.set_uuid(0, installation);
        for position in &self.times {
            self.body[*position..*position + 8].copy_from_slice(&time.to_le_bytes());
        }
    }

    fn set_uuid(&mut self, position: usize, uuid: Uuid) {
        let position = self.uuids[position];
        uuid.hyphenated().encode_lower(&mut self.body[position..position + uuid::fmt::Hyphenated::LENGTH]);
    }
}
