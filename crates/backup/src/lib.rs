//! The form of backups on a disk: what `posta backup` writes and `posta restore` reads.
//!
//! ```text
//! DIR/posta-backup.json        the format, and to whom the backup is encrypted
//! DIR/snapshots/TIME.json      a snapshot: which packs it needs, and where in them its tables are
//! DIR/packs/ID.pack[.age]      packs: blobs, one behind the other, each compressed by itself
//! DIR/lock                     held by the program that writes
//! ```
//!
//! A *blob* is a piece of a message or a stretch of a table's rows ([`posta_store::Rows`]). The rows of a table are cut
//! where a hash of the key says so, so that a change leaves all other stretches as they were, and a snapshot shares them
//! with the one before. Pieces never change, so a snapshot takes those that the one before had from there, unread. A
//! pack is never changed either: it is removed when no snapshot needs it.
//!
//! **Encryption** is that of age (`age.rs`): each pack is an age file, which any other program for age can open, too. The
//! machine that makes backups needs the public key only. It has to know what the last snapshot had, so two things are
//! readable without the private key: the snapshots, with sizes and times, and the list of pieces, which holds ids of
//! messages and octet counts. Neither names an address.
//!
//! Every pack has its SHA-256 in each snapshot that needs it, each stretch of rows and each snapshot has its own, and each
//! piece has a checksum.

mod age;
mod disk;
mod manifest;
mod pack;
pub mod parts;
mod reader;
mod repository;
mod verify;
mod writer;

pub use age::{AgeKeyError, AgeRecipient, Identity};
pub use manifest::{Manifest, PieceAt};
pub use reader::SnapshotReader;
pub use repository::Repository;
pub use verify::Verified;
pub use writer::{SnapshotWriter, Written};

use std::{io, path::PathBuf};

/// Why a backup cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file cannot be read or written.
    #[error("{}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
    /// The directory holds something else.
    #[error("{} holds other files, but no backup of Posta: name a directory of its own, which is made if it is not \
             there", .0.display())]
    Other(PathBuf),
    /// There is no backup.
    #[error("{} holds no backup: `posta backup {}` makes one", .0.display(), .0.display())]
    None(PathBuf),
    /// A newer program wrote the backup.
    #[error("the backup in {} has format {}, this program knows {}: use a newer posta", .0.display(), .1, .2)]
    TooNew(PathBuf, u32, u32),
    /// Another program writes the backup.
    #[error("another program is writing to {}: wait until it is done", .0.display())]
    Locked(PathBuf),
    /// The recipients are others than those that the backup began with.
    #[error("the backup in {} is encrypted to {}: leave --encrypt out, or name a new directory: how a backup is encrypted is settled by its first run", .0.display(), .1)]
    OtherRecipients(PathBuf, String),
    /// No snapshot is as old as was asked for.
    #[error("no snapshot in {} is of {} or earlier; the first is of {}", .0.display(), .1, .2)]
    NoneThen(PathBuf, posta_mail::Timestamp, posta_mail::Timestamp),
    /// The private key is needed.
    #[error(
        "the backup is encrypted to {0}: give the file with the private key with --identity FILE"
    )]
    NeedsIdentity(String),
    /// None of the private keys opens the backup.
    #[error("none of the private keys given opens the backup, which is encrypted to {0}")]
    WrongIdentity(String),
    /// Something in the backup is not as it was written.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// The system has no randomness.
    #[error("the system has no randomness")]
    Randomness,
}

pub(crate) fn damaged(words: impl Into<String>) -> BackupError {
    BackupError::Damaged(words.into())
}
