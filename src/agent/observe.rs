//! The observed control planes: a pure fold from watch events to counts and changes.
//!
//! [`Index`] holds one small row per control plane: what was last reported of it, and its status. Each watch event is
//! compared with the row, which yields the events in between. If the outbox has no room for them, the latest state of the
//! object goes to a backlog and is compared again later. Changes in the meantime coalesce: A→B→C becomes A→C, and a
//! control plane that was created and deleted is never reported. Changes during an outage of the watch coalesce the same
//! way.
//!
//! Until the first complete list of a new state, and while there are more control planes than the journal can hold, the
//! index records what exists without reporting it. The counts are always complete.

mod control_plane;
mod row;
mod backlog;
mod counts;
mod index;

pub use control_plane::{ControlPlane, WatcherEvent};
pub use counts::Counts;
pub use index::{Index, IndexOptions, SharedIndex};
pub use row::{Change, PersistedRow};
