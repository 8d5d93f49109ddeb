//! Errors of the engine and the file system, in this store's words.

use crate::disk;
use posta_store::StoreError;
use std::{error::Error, io};

/// Returns the engine's error in our words, since it prints only its types.
pub(crate) fn failed(error: fjall::Error) -> StoreError {
    use fjall::Error;
    StoreError::Failed(match error {
        Error::Io(error) => return io_failed(error),
        Error::Storage(error) => return table_failed(&error),
        Error::Poisoned => {
            "a write failed before, and what the disk holds since then is unknown: look \
                            at the disk, then restart"
                .to_owned()
        }
        Error::JournalRecovery(_) | Error::InvalidTrailer | Error::InvalidTag(_) => {
            return damaged("the journal of the tables");
        }
        Error::InvalidVersion(_) => "another version of the engine wrote the tables".to_owned(),
        Error::Decompress(_) | Error::Unrecoverable => return damaged("a table"),
        Error::KeyspaceDeleted => "a table was deleted".to_owned(),
        Error::Locked => "another process has the tables open".to_owned(),
        _ => "the engine has an error that this program does not know".to_owned(),
    })
}

/// The same for the file of a table.
pub(crate) fn table_failed(error: &dyn std::error::Error) -> StoreError {
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(error) if disk::is_full(error) => StoreError::Full,
        Some(error) => StoreError::Failed(error.to_string()),
        None => damaged("a table"),
    }
}

/// Returns the file system's error in our words.
pub(crate) fn io_failed(error: io::Error) -> StoreError {
    if disk::is_full(&error) { StoreError::Full } else { StoreError::Failed(error.to_string()) }
}

pub(crate) fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} cannot be read"))
}

/// Returns the error for tables that cannot be opened. A missing or short file is damage; any other refusal of the
/// system is not.
pub(crate) fn tables_failed(error: fjall::Error) -> StoreError {
    use std::io::ErrorKind::{AlreadyExists, InvalidData, InvalidInput, NotFound, UnexpectedEof};
    let cause = match &error {
        fjall::Error::InvalidVersion(_) => {
            let words =
                "its file `version` is damaged, or a newer program wrote it (then use that)";
            return StoreError::Damaged(words.to_owned());
        }
        fjall::Error::Io(error) => Some(error),
        fjall::Error::Storage(error) => error.source().and_then(|it| it.downcast_ref()),
        _ => None,
    };
    match cause.map(io::Error::kind) {
        Some(NotFound) => StoreError::Damaged("a file of a table is missing".to_owned()),
        Some(AlreadyExists | InvalidData | InvalidInput | UnexpectedEof) => {
            damaged("a file of a table")
        }
        _ => failed(error),
    }
}
