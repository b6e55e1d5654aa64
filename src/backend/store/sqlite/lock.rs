//! TokenRef uses a file: any number of processes that write and read, or one that replaces it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::file::{MODE, beside};

/// A lock on the file `PATH.lock`, which stays there. The system lets it go with the process, however that ends.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held, and never read")] File);

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    #[error("another process uses it")]
    Used,
    #[error(transparent)]
    File(#[from] io::Error),
}

impl Lock {
    /// For one of many that use the file.
    pub(super) fn shared(path: &Path) -> Result<Self, LockError> {
        let file = open(path)?;
        file.try_lock_shared()?;
        Ok(Self(file))
    }

    /// For the one that replaces it.
    pub(super) fn exclusive(path: &Path) -> Result<Self, LockError> {
        let file = open(path)?;
        file.try_lock()?;
        Ok(Self(file))
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(beside(path, ".lock"))
}

impl From<TryLockError> for LockError {
    fn from(error: TryLockError) -> Self {
        match error {
            TryLockError::WouldBlock => Self::Used,
            TryLockError::Error(error) => Self::File(error),
        }
    }
}
