//! Copies in a folder: one is added, and the oldest beyond a number go.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{BackupCause, BackupError, JOURNAL, Lock, LockError, PART, backup};

/// How the name of a copy begins; the time follows, by which names sort, then [`END`].
const BEGIN: &str = "telemetry-";

/// How the name of a copy ends.
const END: &str = ".db";

/// The file by whose lock a folder is taken.
const LOCKED: &str = "telemetry";

/// A folder of copies of one store, which nobody else adds to meanwhile.
#[derive(Debug)]
pub struct BackupFolder {
    path: PathBuf,
    store: PathBuf,
    _lock: Lock,
}

impl BackupFolder {
    /// Takes a folder that is there for copies of `store`, and leaves `telemetry.lock` in it. Blocks.
    ///
    /// Fails where another process adds to it, or where `store` is in it under a name that is a copy's or the lock's.
    pub fn open(path: &Path, store: &Path) -> Result<Self, BackupError> {
        let error = |cause| BackupError { path: path.to_owned(), cause };
        if let Some(name) = mistaken(path, store) {
            return Err(error(BackupCause::HoldsStore(name)));
        }
        let lock = Lock::exclusive(&path.join(LOCKED)).map_err(|cause| match cause {
            LockError::Used => error(BackupCause::FolderInUse),
            LockError::File(cause) if cause.kind() == ErrorKind::NotFound => error(BackupCause::NoFolder),
            LockError::File(cause) => error(cause.into()),
        })?;
        Ok(Self { path: path.to_owned(), store: store.to_owned(), _lock: lock })
    }

    /// Copies the store into a new file that is named after `now`, as [`backup`] does, and gives that. Blocks.
    ///
    /// What a killed process left of a copy is deleted before, as the new one may need its room.
    pub fn add(&self, now: Timestamp) -> Result<PathBuf, BackupError> {
        for part in self.files(is_part)? {
            delete(&self.path.join(part))?;
        }
        let copy = self.path.join(name(now));
        backup(&self.store, &copy)?;
        Ok(copy)
    }

    /// Deletes the oldest copies, so that `keep` are left with `newest` among them, which stays whatever its name says.
    /// Gives their names, newest first. Blocks.
    pub fn keep(&self, newest: &Path, keep: usize) -> Result<Vec<String>, BackupError> {
        let mut others = self.files(is_copy)?;
        others.retain(|name| self.path.join(name) != newest);
        others.sort_unstable_by(|one, other| other.cmp(one));
        let old = others.split_off(others.len().min(keep.saturating_sub(1)));
        for name in &old {
            delete(&self.path.join(name))?;
        }
        Ok(old)
    }

    /// Names of the files that are meant; of nothing else in the folder.
    fn files(&self, is_meant: fn(&str) -> bool) -> Result<Vec<String>, BackupError> {
        let error = |cause: io::Error| BackupError { path: self.path.clone(), cause: cause.into() };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(error)? {
            let entry = entry.map_err(error)?;
            let name = entry.file_name().into_string().ok().filter(|name| is_meant(name));
            if entry.file_type().map_err(error)?.is_file() {
                names.extend(name);
            }
        }
        Ok(names)
    }
}

/// The name by which a store would be taken for something else in a folder; `None` where it would not. A store that is not
/// there is for others to tell.
fn mistaken(folder: &Path, store: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    // Its lock is beside the path that is given, its file where links lead to.
    let parent = store.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let given = parent.canonicalize().ok()?.join(store.file_name()?);
    let file = store.canonicalize().ok()?;
    let name_of = |path: &Path| {
        let name = path.file_name()?.to_str()?.to_owned();
        (path.parent() == Some(&folder)).then_some(name)
    };
    name_of(&given).filter(|name| name == LOCKED).or_else(|| name_of(&file).filter(|name| is_copy(name)))
}

fn delete(path: &Path) -> Result<(), BackupError> {
    super::remove(path).map_err(|cause| BackupError { path: path.to_owned(), cause: cause.into() })
}

fn name(now: Timestamp) -> String {
    format!("{BEGIN}{}{END}", now.strftime("%Y%m%dT%H%M%SZ"))
}

/// Whether a file of this name is a copy: `telemetry-20261124T031500Z.db`.
fn is_copy(name: &str) -> bool {
    let time = name.strip_prefix(BEGIN).and_then(|name| name.strip_suffix(END));
    time.is_some_and(|time| {
        let form = b"00000000T000000Z";
        let fits = |(byte, form): (u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == *form };
        time.len() == form.len() && time.bytes().zip(form).all(fits)
    })
}

fn is_part(name: &str) -> bool {
    name.strip_suffix(JOURNAL).unwrap_or(name).strip_suffix(PART).is_some_and(is_copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_known_by_its_name_and_nothing_else_is_one() {
        let now = "2026-11-24T03:15:09.9Z".parse().unwrap();
        assert_eq!(name(now), "telemetry-20261124T031509Z.db");
        assert!(is_copy(&name(now)) && is_part(&format!("{}.part", name(now))));
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
            assert!(!is_copy(other), "{other}");
        }
        assert!(!is_part("copy.db.part") && !is_part(&name(now)) && is_part(&format!("{}.part-journal", name(now))));
    }
}
