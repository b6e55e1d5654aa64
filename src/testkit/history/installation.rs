//! A simulated installation: its lifetime, size and versions.

use std::collections::HashMap;

use fastrand::Rng;
use uuid::Uuid;

use super::DAYS;
use super::datastores::Datastores;
use super::deck::deal;
use super::releases::{BAD_RELEASE_AGE, Channel, PATCH_AGE, Updates, agent, is_bad, kubernetes};
use super::size::SIZES;
use super::tenants::Tenants;
use super::trouble::Proneness;
use crate::backend::store::{Dimension, Report, Source, StateCounts};
use crate::catalog::{Event, KamajiVersion, KubernetesVersion};
use crate::testkit::random_uuid;

/// The lines, with the percentage of installations on each.
const LINES: [(usize, Channel); 4] =
    [(52, Channel::Edge), (44, Channel::Stable), (3, Channel::Latest), (1, Channel::Unknown)];

/// The ages between which stable installations were last updated, with their percentages: to the patch of the bad release,
/// to the bad release, to the one before it, and earlier.
const STABLE_UPDATES: [(usize, (i64, i64)); 4] =
    [(20, (1, PATCH_AGE)), (34, (PATCH_AGE + 1, BAD_RELEASE_AGE)), (34, (BAD_RELEASE_AGE + 1, 110)), (12, (125, 290))];

/// The lags between which management clusters follow a release of Kubernetes, with their percentages.
const KUBERNETES_LAGS: [(usize, (i64, i64)); 3] = [(60, (10, 120)), (30, (120, 300)), (10, (300, 380))];

/// The ages between which installations were last seen, with their percentages: most are seen today, others are gone.
const LAST_SEEN: [(usize, (i64, i64)); 6] =
    [(89, (0, 0)), (1, (1, 1)), (1, (2, 6)), (2, (7, 29)), (3, (30, 89)), (4, (90, 200))];

/// The versions on which management clusters stay for long.
const OLD_KUBERNETES: [&str; 4] = ["v1.30.8", "v1.31.8", "v1.31.8", "v1.31.4"];

/// The percentage of installations that stay on an old Kubernetes for long. They are among the oldest.
const SLOW_PERCENT: usize = 12;

/// The days between the maintenance windows in which slow clusters are upgraded: the pace is not the same in all weeks.
const MAINTENANCE_INTERVAL: i64 = 28;

/// The percentage of installations that the history begins with.
const FIRST_DAY_PERCENT: usize = 38;

/// An installation. The age of a day is the number of days before today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Installation {
    pub(super) uuid: Uuid,
    pub(super) first: i64,
    last: i64,
    line: Channel,
    kamaji_updates: Updates,
    kubernetes_lag: i64,
    /// The old version of the management cluster, and the age at which it was upgraded; negative if it was not yet.
    old_kubernetes: Option<(&'static str, i64)>,
    agent_lag: i64,
    /// The number of control planes today, and the percentage of them that a year of growth has added.
    size: u32,
    growth: u32,
    /// The percentage of control planes that are scaled to zero.
    sleeping: u32,
    trouble: Proneness,
    datastores: Datastores,
    /// True if the extended signals are on.
    pub(super) extended: bool,
}

/// Creates `count` installations that live for more than a day.
pub(super) fn fleet(random: &mut Rng, count: usize) -> Vec<Installation> {
    let lines = deal(random, count, &LINES);
    let sizes = deal(random, count, &SIZES);
    let stable_updates = deal(random, count, &STABLE_UPDATES);
    let lags = deal(random, count, &KUBERNETES_LAGS);
    let last_seen = deal(random, count, &LAST_SEEN);
    let extended = deal(random, count, &[(20, true), (80, false)]);
    let sleepers = deal(random, count, &[(20, 50), (80, 1)]);
    let slow_upgrades = deal(random, count, &[(8, true), (92, false)]);
    let slow = count * SLOW_PERCENT / 100;
    let create = |index: usize| {
        let first = first_age(index, count);
        let old_kubernetes = (index < slow).then(|| (OLD_KUBERNETES[index % 4], upgrade_age(index, slow)));
        let (from, to) = if old_kubernetes.is_some() { (0, 0) } else { last_seen[index] };
        let last = random.i64(from..=to).min(first - 1).max(0);
        let (from, to) = lags[index];
        Installation {
            uuid: random_uuid(random),
            first,
            last,
            line: lines[index],
            kamaji_updates: updates(random, lines[index], stable_updates[index], first),
            kubernetes_lag: random.i64(from..to),
            old_kubernetes,
            agent_lag: random.i64(0..90),
            size: sizes[index].size(random),
            growth: random.u32(0..60),
            sleeping: random.u32(0..sleepers[index]),
            trouble: Proneness::new(sizes[index], slow_upgrades[index]),
            datastores: Datastores::new(random),
            extended: extended[index],
        }
    };
    let mut fleet: Vec<_> = (0..count).map(create).collect();
    spread_trouble(&mut fleet);
    fleet
}

/// Spreads trouble over the installations of each version, from the smallest to the largest, so that each release has its
/// share of it for every seed.
fn spread_trouble(fleet: &mut [Installation]) {
    fleet.sort_by_key(|installation| installation.size);
    let mut numbers = HashMap::new();
    for installation in fleet {
        let number = numbers.entry(installation.kamaji(0)).or_insert(0);
        *number += 1;
        installation.trouble = installation.trouble.spread(*number);
    }
}

/// Returns the age of the first day: that of the history for many, and more and more often later.
fn first_age(index: usize, count: usize) -> i64 {
    let at_first = count * FIRST_DAY_PERCENT / 100;
    let Some(later) = index.checked_sub(at_first) else { return DAYS - 1 };
    // The number of installations grows with the square of the time.
    let days = usize::try_from(DAYS - 1).unwrap_or_default();
    let since = (days * days * (2 * later + 1) / (2 * (count - at_first))).isqrt();
    DAYS - 1 - i64::try_from(since).unwrap_or_default()
}

/// Returns the age at which a slow management cluster is upgraded. They are spread over a year and the eleven months after it,
/// so that the share of old versions declines at a pace.
fn upgrade_age(index: usize, slow: usize) -> i64 {
    let share = i64::try_from(1_000 * index / slow.max(1)).unwrap_or_default();
    let age = DAYS - (DAYS + 330) * share / 1_000;
    age.div_euclid(MAINTENANCE_INTERVAL) * MAINTENANCE_INTERVAL
}

fn updates(random: &mut Rng, line: Channel, (from, to): (i64, i64), first: i64) -> Updates {
    let (last, interval) = match line {
        // Who updates every two weeks has had the bad release, and has its patch.
        Channel::Stable if to <= PATCH_AGE => (random.i64(from..=to), BAD_RELEASE_AGE - PATCH_AGE),
        Channel::Stable => (random.i64(from..=to), random.i64(60..120)),
        Channel::Edge | Channel::Latest | Channel::Unknown => {
            let interval = [7, 14, 30, 60][random.usize(..4)];
            (random.i64(0..interval), interval)
        }
    };
    // An installation begins with the newest release.
    Updates { last: last.min(first), interval }
}

impl Installation {
    /// Returns whether the installation sends gauges on the day `age`.
    pub(super) fn is_active(&self, age: i64) -> bool {
        (self.last..=self.first).contains(&age)
    }

    /// Returns the version of Kamaji on the day `age`.
    pub(super) fn kamaji(&self, age: i64) -> KamajiVersion {
        self.line.kamaji(age, self.kamaji_updates)
    }

    /// Returns the version of the management cluster on the day `age`.
    pub(super) fn kubernetes(&self, age: i64) -> KubernetesVersion {
        match self.old_kubernetes {
            Some((version, upgraded)) if age > upgraded => KubernetesVersion::normalize(version),
            _ => kubernetes(age, self.kubernetes_lag),
        }
    }

    /// Returns the source of what its agent sends on the day `age`.
    pub(super) fn agent(&self, age: i64) -> Source {
        agent(age, self.agent_lag)
    }

    /// Returns the report of its agent on the day `age`.
    pub(super) fn report(&self, age: i64) -> Report {
        let size = self.size(age);
        let lag = self.kubernetes_lag / 2;
        Report {
            counts: self.counts(age),
            source: self.agent(age),
            kamaji_version: self.kamaji(age),
            kubernetes_version: self.kubernetes(age),
            dimensions: if self.extended { self.datastores.extended(age, lag, size) } else { Vec::new() },
        }
    }

    /// Returns the points of the gauges of datastores on the day `age`.
    pub(super) fn datastores(&self, age: i64) -> Vec<(Dimension, u32)> {
        self.datastores.dimensions(self.size(age))
    }

    /// Returns the counts of control planes on the day `age`.
    pub(super) fn counts(&self, age: i64) -> StateCounts {
        let size = self.size(age);
        let sleeping = size * self.sleeping / 100;
        let not_ready = self.trouble.not_ready(age, size - sleeping, self.has_bad_release(age));
        let awake = size - sleeping - not_ready;
        let upgrading = self.trouble.upgrading(age, awake);
        StateCounts { running: awake - upgrading, sleeping, not_ready, upgrading }
    }

    /// Returns whether control planes are stuck on the day `age`.
    pub(super) fn is_stuck(&self, age: i64) -> bool {
        self.trouble.is_stuck(age, self.has_bad_release(age))
    }

    /// Returns the events of the day `age`.
    pub(super) fn events(&self, random: &mut Rng, age: i64) -> Vec<Event> {
        let size = self.size(age);
        // What was there at the beginning is no news.
        let before = if age == self.first { size } else { self.size(age + 1) };
        let (is_bad, extended) = (self.has_bad_release(age), self.extended);
        Tenants { size, added: size - before, is_bad, extended }.events(random, age)
    }

    /// Returns whether the bad release runs on the day `age`, and has run on the day before, as trouble takes a day.
    fn has_bad_release(&self, age: i64) -> bool {
        is_bad(self.kamaji(age)) && (age == self.first || is_bad(self.kamaji(age + 1)))
    }

    fn size(&self, age: i64) -> u32 {
        let age = u32::try_from(age).unwrap_or_default();
        self.size - self.size * self.growth * age / (100 * 365)
    }
}
