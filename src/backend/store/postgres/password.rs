//! The password of the database: in a file of its own, or in the file of `PGPASSFILE`, whose format is that of libpq.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use super::address::PostgresAddress;

/// The variable that names a file of passwords.
const PGPASSFILE: &str = "PGPASSFILE";

/// An error that kept a password from being read.
#[derive(Debug, thiserror::Error)]
#[error("the file of the database's password, {}, cannot be read: {error}; expected a file that this user may read", path.display())]
pub(super) struct PasswordError {
    path: PathBuf,
    error: io::Error,
}

/// Reads the password for an address; `None` if no file has one. Read for each connection, so that a new password is used
/// without a restart.
pub(super) fn read(address: &PostgresAddress) -> Result<Option<String>, PasswordError> {
    if let Some(path) = &address.password_file {
        let text = read_file(path)?;
        return Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()));
    }
    let Some(path) = env::var_os(PGPASSFILE).map(PathBuf::from) else { return Ok(None) };
    Ok(find(&read_file(&path)?, address))
}

fn read_file(path: &Path) -> Result<String, PasswordError> {
    fs::read_to_string(path).map_err(|error| PasswordError { path: path.to_owned(), error })
}

/// Returns the password of the first line that is for one of the servers, the database and the user.
fn find(text: &str, address: &PostgresAddress) -> Option<String> {
    let config = address.config();
    let (database, user) = (config.get_dbname()?, config.get_user()?);
    let is_for = |pattern: &str, value: &str| pattern == "*" || pattern == value;
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let [host, port, of_database, of_user, password] = fields(line)?;
        let is_of_server = |(name, number): &(String, u16)| is_for(&host, name) && is_for(&port, &number.to_string());
        let matches = address.servers().iter().any(is_of_server) && is_for(&of_database, database);
        (matches && is_for(&of_user, user)).then_some(password)
    })
}

/// Returns the fields of a line, which are separated by colons; a backslash makes the next character part of a field. The last
/// field takes the rest.
fn fields(line: &str) -> Option<[String; 5]> {
    let (mut fields, mut field) = (Vec::new(), String::new());
    let mut chars = line.chars();
    while let Some(character) = chars.next() {
        match character {
            '\\' => field.extend(chars.next()),
            ':' if fields.len() < 4 => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    fields.push(field);
    fields.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_matches_has_the_password() {
        let text = "# comment\nother:*:*:*:wrong\nb.example:5432:telemetry:kt:a\\:b\\\\c:d\n*:*:*:*:late\n";
        let find = |address: &str| find(text, &address.parse().unwrap());
        assert_eq!(find("postgres://kt@a.example,b.example/telemetry").as_deref(), Some("a:b\\c:d"));
        assert_eq!(find("postgres://kt@b.example:5433/telemetry").as_deref(), Some("late"));
        assert_eq!(find("postgres://else@b.example/telemetry").as_deref(), Some("late"));
    }

    #[test]
    fn a_line_that_is_no_entry_is_skipped() {
        let address = "postgres://kt@a/t".parse().unwrap();
        assert_eq!(find("\na:5432\n::::\n", &address), None);
    }

    #[test]
    fn a_file_of_one_password_ends_with_a_line_break_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let mut address: PostgresAddress = "postgres://kt@a/t".parse().unwrap();
        address.password_file = Some(path.clone());
        for text in ["secret", "secret\n", "secret\r\n"] {
            fs::write(&path, text).unwrap();
            assert_eq!(read(&address).unwrap().as_deref(), Some("secret"));
        }
        fs::remove_file(&path).unwrap();
        let error = read(&address).unwrap_err().to_string();
        assert!(error.contains("password") && error.contains("expected a file"), "{error}");
    }
}
