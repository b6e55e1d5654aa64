//! A burst of installations that somebody made up.

use std::sync::atomic::{AtomicU32, Ordering};

use fastrand::Rng;
use uuid::Uuid;

use super::calendar::Calendar;
use super::releases::{Channel, Updates, kubernetes};
use crate::backend::store::{Allowance, Batch, GaugeSnapshot, Report, Room, Source, Spent, StateCounts, Unlimited};
use crate::testkit::random_uuid;

/// The age of the day of the burst: two months ago.
pub(super) const BURST_AGE: i64 = 60;

/// The number of forged installations.
pub(super) const FORGED: usize = 400;

/// The number of them that count, which is the default of a sender's share of a day. All others are in bulk.
pub(super) const COUNTED: u32 = 20;

/// The percentages of the installations that are sent again on the days after the burst.
const SENT_AGAIN: [(i64, u8); 2] = [(BURST_AGE - 1, 60), (BURST_AGE - 2, 30)];

/// The share of the sender of the burst, over all of its days.
#[derive(Debug)]
pub(super) struct ForgersShare {
    left: AtomicU32,
}

impl Default for ForgersShare {
    fn default() -> Self {
        Self { left: AtomicU32::new(COUNTED) }
    }
}

impl Allowance for ForgersShare {
    fn sender(&self) -> u64 {
        // The sender of all others is 0.
        1
    }

    fn room(&self) -> Room {
        Room { installations: self.left.load(Ordering::Relaxed), ..Unlimited.room() }
    }

    fn spend(&self, Spent { installations, .. }: Spent) {
        let _ = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(installations)));
    }
}

/// Creates the UUIDs of the forged installations.
pub(super) fn installations(random: &mut Rng) -> Vec<Uuid> {
    (0..FORGED).map(|_| random_uuid(random)).collect()
}

/// Returns what is sent on the day `age`, if anything is.
pub(super) fn batch(
    random: &mut Rng,
    installations: &[Uuid],
    calendar: Calendar,
    age: i64,
    source: &Source,
) -> Option<Batch> {
    let sent_again = SENT_AGAIN.iter().find(|(day, _)| *day == age).map(|(_, percent)| *percent);
    let percent = if age == BURST_AGE { 100 } else { sent_again? };
    let mut batch = Batch::default();
    for installation in installations {
        if random.u8(0..100) >= percent {
            continue;
        }
        let report = Report {
            counts: StateCounts { running: random.u32(100..5_000), ..StateCounts::default() },
            source: source.clone(),
            kamaji_version: Channel::Stable.kamaji(BURST_AGE, Updates { last: BURST_AGE, interval: 1 }),
            kubernetes_version: kubernetes(BURST_AGE, 100),
            dimensions: Vec::new(),
        };
        batch.snapshots.push(GaugeSnapshot { installation: *installation, received: calendar.last_hour(age), report });
    }
    Some(batch)
}
