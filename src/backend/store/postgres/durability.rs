//! The server's settings on which the promise rests that a committed record is not lost.

use tokio_postgres::{Client, Error};

/// The settings that are read for each connection: after a failover, another server has its own.
const SETTINGS: &str = "
    SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
           current_setting('synchronous_commit') AS synchronous_commit,
           current_setting('synchronous_standby_names') AS standby_names";

/// The settings of a server that say what its commits are worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Durability {
    fsync: bool,
    full_page_writes: bool,
    synchronous_commit: String,
    standby_names: String,
}

/// A server whose commits may be lost.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotDurable {
    #[error(
        "PostgreSQL has {setting} = {value}, so that a crash loses or destroys what was acknowledged; expected {expected}"
    )]
    Setting { setting: &'static str, value: String, expected: &'static str },
    #[error(
        "PostgreSQL has no synchronous standby (synchronous_standby_names = '{standby_names}', synchronous_commit = \
         {synchronous_commit}); expected one, with synchronous_commit = on, as --store-require-standby demands"
    )]
    NoStandby { standby_names: String, synchronous_commit: String },
}

/// Reads the settings of the connection's server.
pub(super) async fn read(client: &Client) -> Result<Durability, Error> {
    let row = client.query_one(SETTINGS, &[]).await?;
    Ok(Durability {
        fsync: row.try_get::<_, &str>("fsync")? == "on",
        full_page_writes: row.try_get::<_, &str>("full_page_writes")? == "on",
        synchronous_commit: row.try_get("synchronous_commit")?,
        standby_names: row.try_get("standby_names")?,
    })
}

impl Durability {
    /// Returns whether a commit is on a second server before it is acknowledged.
    pub(super) fn has_standby(&self) -> bool {
        !self.standby_names.trim().is_empty() && matches!(self.synchronous_commit.as_str(), "on" | "remote_apply")
    }

    /// Returns whether a page that a crash tears is repaired. A file system that never tears one makes up for it.
    pub(super) const fn has_full_page_writes(&self) -> bool {
        self.full_page_writes
    }

    /// Fails if commits may be lost, or if a standby is required and there is none.
    pub(super) fn check(&self, require_standby: bool) -> Result<(), NotDurable> {
        let setting =
            |setting, value: &str, expected| NotDurable::Setting { setting, value: value.to_owned(), expected };
        if !self.fsync {
            return Err(setting("fsync", "off", "on"));
        }
        if self.synchronous_commit == "off" {
            return Err(setting("synchronous_commit", "off", "on"));
        }
        if require_standby && !self.has_standby() {
            let (standby_names, synchronous_commit) = (self.standby_names.clone(), self.synchronous_commit.clone());
            return Err(NotDurable::NoStandby { standby_names, synchronous_commit });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn durability(synchronous_commit: &str, standby_names: &str) -> Durability {
        Durability {
            fsync: true,
            full_page_writes: true,
            synchronous_commit: synchronous_commit.to_owned(),
            standby_names: standby_names.to_owned(),
        }
    }

    #[test]
    fn a_server_that_may_lose_a_commit_is_refused_with_the_setting() {
        let off = |setting: &str| {
            let mut durability = durability(if setting == "synchronous_commit" { "off" } else { "on" }, "b");
            durability.fsync = setting != "fsync";
            durability.check(false).unwrap_err().to_string()
        };
        for setting in ["fsync", "synchronous_commit"] {
            assert!(off(setting).contains(&format!("{setting} = off")), "{}", off(setting));
        }
    }

    #[test]
    fn a_standby_counts_if_commits_wait_until_it_has_stored_them() {
        for (synchronous_commit, standby_names, expected) in [
            ("on", "b", true),
            ("remote_apply", "ANY 1 (b, c)", true),
            ("remote_write", "b", false),
            ("local", "b", false),
            ("on", " ", false),
        ] {
            let durability = durability(synchronous_commit, standby_names);
            assert_eq!(durability.has_standby(), expected, "{synchronous_commit} {standby_names}");
            assert_eq!(durability.check(true).is_ok(), expected);
            assert!(durability.check(false).is_ok());
        }
    }
}
