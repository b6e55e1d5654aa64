//! Backups in a directory, of which only the newest are retained.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{BackupCause, BackupError, JOURNAL, Lock, LockError, PART, backup};

/// The start of a backup's name. The time follows, by which names sort, and then [`SUFFIX`].
const NAME_PREFIX: &str = "telemetry-";

/// The end of a backup's name.
const SUFFIX: &str = ".db";

/// The name of the file whose lock is that of the directory.
const LOCK_NAME: &str = "telemetry";

/// A directory of backups of one store, locked so that no other process adds to it.
#[derive(Debug)]
pub struct BackupDirectory {
    path: PathBuf,
    store: PathBuf,
    _lock: Lock,
}

impl BackupDirectory {
    /// Locks an existing directory for backups of `store`. The file `telemetry.lock` stays in it. Blocks.
    ///
    /// Fails if another process adds to it, or if `store` is in it under the name of a backup or of the lock.
    pub fn open(path: &Path, store: &Path) -> Result<Self, BackupError> {
        let error = |cause| BackupError { path: path.to_owned(), cause };
        if let Some(name) = conflicting_name(path, store) {
            return Err(error(BackupCause::HoldsStore(name)));
        }
        let lock = Lock::exclusive(&path.join(LOCK_NAME)).map_err(|cause| match cause {
            LockError::Used => error(BackupCause::DirectoryInUse),
            LockError::File(cause) if cause.kind() == ErrorKind::NotFound => error(BackupCause::NoDirectory),
            LockError::File(cause) => error(cause.into()),
        })?;
        Ok(Self { path: path.to_owned(), store: store.to_owned(), _lock: lock })
    }

    /// Backs up the store into a new file that is named after `now`, as [`backup`] does, and returns its path. Blocks.
    ///
    /// Incomplete backups of killed processes are deleted before, as the new one may need the space.
    pub fn add(&self, now: Timestamp) -> Result<PathBuf, BackupError> {
        for part in self.files(is_part)? {
            delete(&self.path.join(part))?;
        }
        let file = self.path.join(name(now));
        backup(&self.store, &file)?;
        Ok(file)
    }

    /// Deletes the oldest backups, so that `count` are left. `newest` is one of them, whatever the time in its name.
    /// Returns the names of deleted backups, newest first. Blocks.
    pub fn retain(&self, newest: &Path, count: usize) -> Result<Vec<String>, BackupError> {
        let mut others = self.files(is_backup)?;
        others.retain(|name| self.path.join(name) != newest);
        others.sort_unstable_by(|one, other| other.cmp(one));
        let old = others.split_off(others.len().min(count.saturating_sub(1)));
        for name in &old {
            delete(&self.path.join(name))?;
        }
        Ok(old)
    }

    /// Returns the names of the files that `is_included` selects.
    fn files(&self, is_included: fn(&str) -> bool) -> Result<Vec<String>, BackupError> {
        let error = |cause: io::Error| BackupError { path: self.path.clone(), cause: cause.into() };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(error)? {
            let entry = entry.map_err(error)?;
            let name = entry.file_name().into_string().ok().filter(|name| is_included(name));
            if entry.file_type().map_err(error)?.is_file() {
                names.extend(name);
            }
        }
        Ok(names)
    }
}

/// Returns the name of a store in the directory, if it is that of a backup or of the lock. A missing store is reported
/// by the backup.
fn conflicting_name(directory: &Path, store: &Path) -> Option<String> {
    let directory = directory.canonicalize().ok()?;
    // The store's lock is beside the path as given; its file is where links lead.
    let parent = store.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let given = parent.canonicalize().ok()?.join(store.file_name()?);
    let file = store.canonicalize().ok()?;
    let name_of = |path: &Path| {
        let name = path.file_name()?.to_str()?.to_owned();
        (path.parent() == Some(&directory)).then_some(name)
    };
    name_of(&given).filter(|name| name == LOCK_NAME).or_else(|| name_of(&file).filter(|name| is_backup(name)))
}

fn delete(path: &Path) -> Result<(), BackupError> {
    super::remove(path).map_err(|cause| BackupError { path: path.to_owned(), cause: cause.into() })
}

fn name(now: Timestamp) -> String {
    format!("{NAME_PREFIX}{}{SUFFIX}", now.strftime("%Y%m%dT%H%M%SZ"))
}

/// Returns whether a file of this name is a backup, such as `telemetry-20261124T031500Z.db`.
fn is_backup(name: &str) -> bool {
    let time = name.strip_prefix(NAME_PREFIX).and_then(|name| name.strip_suffix(SUFFIX));
    time.is_some_and(|time| {
        let form = b"00000000T000000Z";
        let fits = |(byte, form): (u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == *form };
        time.len() == form.len() && time.bytes().zip(form).all(fits)
    })
}

fn is_part(name: &str) -> bool {
    name.strip_suffix(JOURNAL).unwrap_or(name).strip_suffix(PART).is_some_and(is_backup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_known_by_its_name_and_nothing_else_is_one() {
        let now = "2026-11-24T03:15:09.9Z".parse().unwrap();
        assert_eq!(name(now), "telemetry-20261124T031509Z.db");
        assert!(is_backup(&name(now)) && is_part(&format!("{}.part", name(now))));
        for other in [
            "telemetry.db",
            "telemetry-20261124T031509Z.db.part",
            "telemetry-20261124T031509Z.db-wal",
            "telemetry-20261124T031509Z",
            "telemetry-20261124T031509.db",
            "telemetry-20261124-031509Z.db",
            "telemetry-20261124t031509z.db",
            "telemetry-2026112４T03150Z.db",
            "old-telemetry-20261124T031509Z.db",
            "telemetry-20261124T031509Z.db.db",
            "telemetry-before-upgrade.db",
            "",
        ] {
            assert!(!is_backup(other), "{other}");
        }
        assert!(!is_part("other.db.part") && !is_part(&name(now)) && is_part(&format!("{}.part-journal", name(now))));
    }
}
