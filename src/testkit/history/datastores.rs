//! The datastores of an installation, and the extended gauges.

use fastrand::Rng;

use super::releases::kubernetes;
use crate::backend::store::Dimension;
use crate::catalog::{BY_VERSION, DATASTORE_COUNT, DATASTORE_USED_BY, DRIVERS, Metric};

/// The days between two minor versions of Kubernetes, by which the tenants of an installation are apart.
const MINOR_DAYS: i64 = 120;

/// The percentages of an installation's tenants by age of their minor version.
const TENANT_MINORS: [u32; 3] = [45, 35, 20];

/// The datastores of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Datastores {
    /// The driver of most control planes.
    first: &'static str,
    /// The driver of every fourth control plane.
    second: Option<&'static str>,
}

impl Datastores {
    /// Creates datastores: most are etcd, and one in five installations has two.
    pub(super) fn new(random: &mut Rng) -> Self {
        let other = DRIVERS[random.usize(1..DRIVERS.len())];
        let first = if random.u8(0..4) == 0 { other } else { DRIVERS[0] };
        let second = (random.u8(0..5) == 0 && first != other).then_some(other);
        Self { first, second }
    }

    /// Returns the points of the gauges of datastores, for an installation with `size` control planes.
    pub(super) fn dimensions(self, size: u32) -> Vec<(Dimension, u32)> {
        let of_second = if self.second.is_some() { size / 4 } else { 0 };
        let drivers = [(Some(self.first), size - of_second), (self.second, of_second)];
        let mut dimensions = Vec::new();
        for (driver, used_by) in drivers {
            let Some(driver) = driver else { continue };
            push(&mut dimensions, &DATASTORE_COUNT, driver, 1);
            push(&mut dimensions, &DATASTORE_USED_BY, driver, used_by);
        }
        dimensions
    }

    /// Returns the points of all extended gauges on the day `age`. The tenants run three minor versions, of which the
    /// newest has been out for `lag` days at least.
    pub(super) fn extended(self, age: i64, lag: i64, size: u32) -> Vec<(Dimension, u32)> {
        let mut dimensions = self.dimensions(size);
        let mut rest = size;
        for (index, percent) in (0..).zip(TENANT_MINORS) {
            let minor = kubernetes(age, lag + MINOR_DAYS * index).to_minor().to_string();
            let part = if percent == TENANT_MINORS[TENANT_MINORS.len() - 1] { rest } else { size * percent / 100 };
            rest -= part;
            let known = dimensions.iter_mut().find(|(dimension, _)| dimension.value() == minor);
            match known {
                Some((_, count)) => *count += part,
                None if part > 0 => push(&mut dimensions, &BY_VERSION, &minor, part),
                None => {}
            }
        }
        dimensions
    }
}

fn push(dimensions: &mut Vec<(Dimension, u32)>, metric: &'static Metric, value: &str, count: u32) {
    let dimension = Dimension::new(metric, value).expect("the catalog allows its own drivers and the releases' minors");
    dimensions.push((dimension, count));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_points_of_each_gauge_add_up_to_the_control_planes() {
        let mut random = Rng::with_seed(1);
        for size in [0, 1, 7, 2_000] {
            let dimensions = Datastores::new(&mut random).extended(10, 30, size);
            for metric in [&BY_VERSION, &DATASTORE_USED_BY] {
                let of_metric = dimensions.iter().filter(|(dimension, _)| dimension.metric() == metric);
                assert_eq!(of_metric.map(|(_, count)| count).sum::<u32>(), size, "{dimensions:?}");
            }
        }
    }
}
