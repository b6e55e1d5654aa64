//! What is counted and said of a file of tokens that is followed.

use std::fmt::Display;
use std::time::Duration;

use crate::backend::metrics::{self, TokenFile};

/// One of the files, as it was found last.
pub(super) struct Followed {
    file: TokenFile,
    every: Duration,
    is_broken: bool,
}

impl Followed {
    /// A file that is read again each time that `every` is over, and that could be used the first time.
    pub(super) fn new(file: TokenFile, every: Duration) -> Self {
        Self { file, every, is_broken: false }
    }

    /// Counts what was found, and gives it if it can be used; says that it can't, and that it can again.
    pub(super) fn take<C>(&mut self, found: Result<C, impl Display>) -> Option<C> {
        let Self { file, every, is_broken } = self;
        let (flag, whose) = match file {
            TokenFile::Reader => ("--reader-token-file", "readers'"),
            TokenFile::Ingest => ("--ingest-token-file", "senders'"),
        };
        metrics::token_file_reloaded(*file, found.is_ok());
        let was_broken = std::mem::replace(is_broken, found.is_err());
        match found {
            Ok(content) => {
                if was_broken {
                    tracing::info!("{flag} can be used again");
                }
                Some(content)
            }
            Err(error) => {
                tracing::error!(%error, "the {whose} tokens stay as they were; the file is read again every {every:?}");
                None
            }
        }
    }
}
