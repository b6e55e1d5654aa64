//! Prepared requests. From one to the next, only the bytes that differ are overwritten.

use anyhow::ensure;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::SERVICE_NAME as LOGS;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::SERVICE_NAME as METRICS;
use prost::Message;
use uuid::{Builder, Uuid};

use crate::samples::{created, logs_request, metrics_request, now, state_gauges};

/// The stored counts of a snapshot that says nothing new: running, sleeping, `not_ready`, upgrading.
pub(crate) const COUNTS: [u32; 4] = [5, 1, 0, 0];

/// One in this number of changing snapshots says something new: as of an agent that reports every 5 minutes, whose
/// first report of an hour is stored.
const SNAPSHOTS_A_CHANGE: u32 = 12;

/// A count that is in no other place of a message.
const MARKED_COUNT: i64 = 0x0123_4567_89ab_cdef;

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// This number of events.
    Events(usize),
    /// The four gauges of one installation, which never change.
    Snapshot,
    /// The four gauges of one installation, which change now and then.
    ChangingSnapshot,
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
    /// The positions of the count of running control planes: one of a snapshot.
    running: Vec<usize>,
}

impl Kind {
    /// Returns the number of events in a request.
    pub(crate) const fn events(self) -> usize {
        match self {
            Self::Events(events) => events,
            Self::Snapshot | Self::ChangingSnapshot => 0,
        }
    }

    /// Returns the number of events or snapshots in a request.
    pub(crate) fn records(self) -> usize {
        self.events().max(1)
    }

    /// Returns whether the next snapshot says something new.
    pub(crate) fn changes(self, random: &mut fastrand::Rng) -> bool {
        self == Self::ChangingSnapshot && random.u32(0..SNAPSHOTS_A_CHANGE) == 0
    }

    pub(crate) fn prepare(self) -> anyhow::Result<Prepared> {
        let time = now();
        let uuids: Vec<_> = (0..self.records()).map(|_| Uuid::new_v4()).collect();
        let (service, body) = match self {
            Self::Events(_) => {
                (LOGS, logs_request(uuids.iter().map(|uid| created(*uid, time)).collect()).encode_to_vec())
            }
            Self::Snapshot | Self::ChangingSnapshot => {
                let [_, sleeping, not_ready, upgrading] = COUNTS.map(i64::from);
                let gauges = state_gauges([MARKED_COUNT, sleeping, not_ready, upgrading], time);
                (METRICS, metrics_request(uuids[0], gauges).encode_to_vec())
            }
        };
        let found = uuids.iter().map(|uuid| positions(&body, uuid.to_string().as_bytes())).collect::<Vec<_>>();
        ensure!(found.iter().all(|positions| positions.len() == 1), "expected each UUID once in a message");
        let times = positions(&body, &time.to_le_bytes());
        let running = positions(&body, &MARKED_COUNT.to_le_bytes());
        Ok(Prepared { path: format!("/{service}/Export"), body, uuids: found.concat(), times, running })
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

    /// Sets installation, time in nanoseconds, and running control planes of a snapshot.
    pub(crate) fn set_snapshot(&mut self, installation: Uuid, time: u64, running: u32) {
        self.set_uuid(0, installation);
        for position in &self.times {
            self.body[*position..*position + 8].copy_from_slice(&time.to_le_bytes());
        }
        for position in &self.running {
            self.body[*position..*position + 8].copy_from_slice(&u64::from(running).to_le_bytes());
        }
    }

    fn set_uuid(&mut self, position: usize, uuid: Uuid) {
        let position = self.uuids[position];
        uuid.hyphenated().encode_lower(&mut self.body[position..position + uuid::fmt::Hyphenated::LENGTH]);
    }
}
