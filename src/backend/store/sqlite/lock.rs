//! The locks of a store's file: one for many processes that use it, or for one that replaces it, and one for the process
//! that serves it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::file::{MODE, beside};

/// A lock on a file beside the store's, which is not deleted. The store's own file has the locks of `SQLite`. The system
/// releases the lock when the process ends in any way.
#[derive(Debug)]
pub(super) struct Lock(File);

/// An error that kept a lock from being taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    #[error("another process uses it")]
    Used,
    #[error(transparent)]
    File(#[from] io::Error),
}

impl Lock {
    /// Locks the file for one of many processes that use it.
    pub(super) fn shared(path: &Path) -> Result<Self, LockError> {
        let file = open(path, ".lock")?;
        file.try_lock_shared()?;
        Ok(Self(file))
    }

    /// Locks the file for the process that replaces it.
    pub(super) fn exclusive(path: &Path) -> Result<Self, LockError> {
        let file = open(path, ".lock")?;
        file.try_lock()?;
        Ok(Self(file))
    }

    /// Locks the file for the one process that serves it.
    pub(super) fn serving(path: &Path) -> Result<Self, LockError> {
        let file = open(path, ".serve.lock")?;
        file.try_lock()?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    /// Releases the lock. Closing the file is not enough: a process that was just started beside this one has it open as well,
    /// until it runs its program.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::debug!(%error, "failed to release the lock of a store; the system does so when the file is closed");
        }
    }
}

/// Opens the file of a lock. All names of a store that are links have the same one.
fn open(path: &Path, suffix: &str) -> io::Result<File> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(beside(&path, suffix))
}

impl From<TryLockError> for LockError {
    fn from(error: TryLockError) -> Self {
        match error {
            TryLockError::WouldBlock => Self::Used,
            TryLockError::Error(error) => Self::File(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_with_its_owner_though_a_child_has_the_file_open_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("telemetry.db");
        let lock = Lock::serving(&path).unwrap();
        let inherited = lock.0.try_clone().unwrap();
        assert!(matches!(Lock::serving(&path), Err(LockError::Used)));
        drop(lock);
        drop(Lock::serving(&path).unwrap());
        drop(inherited);
    }
}
