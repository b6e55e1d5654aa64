//! Questions about the stored rows, and their answers, and single rows for admins. No I/O.

pub mod answer;
pub mod away;
pub mod coverage;
pub mod definitions;
pub mod deprecation;
mod events;
pub mod features;
pub mod health;
mod installations;
pub mod intervals;
pub mod masking;
pub mod overview;
pub mod parameters;
pub mod questions;
pub mod render;
pub mod statistics;
pub mod test_matrix;
pub mod upgrades;
pub mod version_days;
pub mod versions;
pub mod weeks;
pub mod wording;

#[cfg(test)]
mod test_facts;

pub mod public_week;
pub use events::{EventEntry, EventList, ListedEvent};
pub use installations::{InstallationList, ListedInstallation};
