//! The file beside a store that names the last week of the public page, so that a restored backup does not publish a
//! week again: it is in no backup, and a restore leaves it as it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::civil::Date;

use super::file::{MODE, beside};
use crate::backend::store::hour::Day;

/// The file, which holds the Monday of the week and a line break.
#[derive(Debug, Clone)]
pub(super) struct PublishedWeekFile(PathBuf);

impl PublishedWeekFile {
    /// Returns the file beside the store at `path`. All names of a store that are links have the same one.
    pub(super) fn of(path: &Path) -> Self {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Self(beside(&path, ".published-week"))
    }

    /// Returns the later of the week in the file and the last one in the store. Writes the file if there is none
    /// although the store has weeks: it was lost, or the store was copied without it. Blocks.
    pub(super) fn last(&self, stored: Option<Day>) -> io::Result<Option<Day>> {
        let named = self.read()?;
        if let (None, Some(stored)) = (named, stored) {
            self.write(stored)?;
        }
        Ok(named.max(stored))
    }

    /// Returns whether there is a file.
    pub(super) fn exists(&self) -> io::Result<bool> {
        self.0.try_exists()
    }

    fn read(&self) -> io::Result<Option<Day>> {
        let text = match fs::read_to_string(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            result => result?,
        };
        let week = text.trim().parse::<Date>().map(Day::of).ok().filter(|day| *day == day.monday());
        let invalid = || {
            let path = self.0.display();
            let problem = format!(
                "{path}: not the Monday of a week: expected the last one that was published, such as 2026-11-16; write it there"
            );
            io::Error::new(ErrorKind::InvalidData, problem)
        };
        week.map(Some).ok_or_else(invalid)
    }

    /// Replaces the file, and returns once it is durable. Blocks.
    pub(super) fn write(&self, week: Day) -> io::Result<()> {
        let part = beside(&self.0, ".part");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&part)?;
        writeln!(file, "{}", week.date())?;
        file.sync_all()?;
        fs::rename(&part, &self.0)?;
        let directory = self.0.parent().filter(|directory| !directory.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn day(text: &str) -> Day {
        Day::of(text.parse().unwrap())
    }

    #[test]
    fn the_later_of_file_and_store_is_the_last_week() {
        let folder = tempfile::tempdir().unwrap();
        let file = PublishedWeekFile::of(&folder.path().join("telemetry.db"));
        assert_eq!(file.last(None).unwrap(), None);
        assert!(!file.0.exists());
        let [first, second] = ["2026-11-09", "2026-11-16"].map(day);
        assert_eq!(file.last(Some(first)).unwrap(), Some(first));
        assert_eq!(fs::read_to_string(&file.0).unwrap(), "2026-11-09\n");
        assert_eq!(file.0.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        file.write(second).unwrap();
        assert_eq!(file.last(Some(first)).unwrap(), Some(second), "the store was restored");
        assert_eq!(file.last(None).unwrap(), Some(second), "the store is new");
        file.write(first).unwrap();
        assert_eq!(file.last(Some(second)).unwrap(), Some(second), "the file is old");
    }

    #[test]
    fn a_file_that_names_no_week_is_an_error_that_says_what_was_expected() {
        let folder = tempfile::tempdir().unwrap();
        let file = PublishedWeekFile::of(&folder.path().join("telemetry.db"));
        for text in ["", "tomorrow", "2026-11-17"] {
            fs::write(&file.0, text).unwrap();
            let error = file.last(None).unwrap_err().to_string();
            assert!(error.contains("published-week") && error.contains("such as 2026-11-16"), "{error}");
        }
    }
}
