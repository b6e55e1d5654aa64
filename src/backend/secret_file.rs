//! Files that hold secrets, and their modes.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::process::reload;

/// The bits of a mode by which users other than the owner and the group may read, and write.
const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;

/// The content of a file that is for its owner and its group alone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Secret<C> {
    /// The content.
    pub(super) content: C,
    /// The mode of the file, if every user of the system may read it.
    readable_mode: Option<u32>,
}

/// Reads a whole file that holds secrets.
///
/// Fails if every user of the system may write it, and thus choose the secrets. The group may: it is the one that Kubernetes
/// gives the files of a volume. The mode is that of the file that a link leads to, as in a volume of a Secret.
pub(super) fn read(path: &Path) -> io::Result<Secret<Vec<u8>>> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & OTHERS_WRITE != 0 {
        let problem = format!("any user may write it (its mode is {mode:03o}): run `chmod o-rw` on it");
        return Err(io::Error::new(ErrorKind::PermissionDenied, problem));
    }
    let readable_mode = (mode & OTHERS_READ != 0).then_some(mode);
    Ok(Secret { content: reload::read_open(&file)?, readable_mode })
}

impl<C> Secret<C> {
    /// Converts the content.
    pub(super) fn try_map<D, E>(self, convert: impl FnOnce(C) -> Result<D, E>) -> Result<Secret<D>, E> {
        Ok(Secret { content: convert(self.content)?, readable_mode: self.readable_mode })
    }

    /// Logs a warning if every user of the system may read the file, which `flag` names.
    pub(super) fn warn(&self, flag: &str) {
        if let Some(mode) = self.readable_mode {
            let mode = format!("{mode:03o}");
            tracing::warn!(flag, mode, "any user of this system may read a file of secrets; run `chmod o-r` on it");
        }
    }
}

/// Converts the content of a file to text.
pub(super) fn text(content: Vec<u8>) -> io::Result<String> {
    String::from_utf8(content).map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is no text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_secrets_may_be_read_by_others_and_not_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("tokens"), folder.path().join("link"));
        std::fs::write(&file, "secret").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for (mode, readable) in
            [(0o600, None), (0o440, None), (0o660, None), (0o644, Some(0o644)), (0o444, Some(0o444))]
        {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            for path in [&file, &link] {
                assert_eq!(read(path).unwrap(), Secret { content: b"secret".into(), readable_mode: readable });
            }
        }
        for mode in [0o666, 0o602, 0o777] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            for path in [&file, &link] {
                let error = read(path).unwrap_err().to_string();
                assert!(error.contains(&format!("{mode:03o}")) && !error.contains("secret"), "{error}");
            }
        }
    }
}
