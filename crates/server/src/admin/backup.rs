//! The operator's requests about backups: reading a snapshot of the store in pieces, and bringing accounts and messages
//! back. Files are written and read by the command, which may write where the server may not.

pub(super) mod restore;

pub use restore::{RestoreRequest, RestoredAccount, RestoredMessage};

use super::{Admin, AdminError, Response};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use posta_mail::Timestamp;
use posta_store::{Backups, PieceKey, SnapshotId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// About the octets in one response.
const OCTETS: usize = 1024 * 1024;

/// The most pieces that one request names.
const PIECES: usize = 16_384;

/// The kind and the name of the record about the last backup.
pub const LAST_BACKUP: (&str, &str) = ("backup", "last");

/// The record about the last backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LastBackup {
    /// The moment of its snapshot.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// Its directory, on the machine where the command ran.
    pub to: PathBuf,
}

/// An action for a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum BackupRequest {
    /// Takes a snapshot of the store.
    Begin,
    /// Returns rows of a table of the snapshot.
    Rows {
        /// The snapshot.
        snapshot: u64,
        /// The table's name.
        table: String,
        /// Only rows after this key, in base64.
        #[serde(default)]
        after: Option<String>,
    },
    /// Returns pieces of messages: the first ones, as many as fit into a response.
    Pieces {
        /// The snapshot.
        snapshot: u64,
        /// The keys, of 16 octets each, one behind the other, in base64.
        keys: String,
    },
    /// Gives a snapshot up.
    End {
        /// The snapshot.
        snapshot: u64,
    },
    /// Notes that a backup was made.
    Made(LastBackup),
}

/// A response about a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackupResponse {
    /// A snapshot was taken.
    Begun {
        /// The snapshot.
        snapshot: u64,
        /// Its moment.
        #[schemars(with = "String", extend("format" = "date-time"))]
        at: Timestamp,
        /// The format of its rows.
        format: u64,
        /// The tables.
        tables: Vec<String>,
        /// The store's key file, in base64.
        key_file: Option<String>,
        /// The octets of messages, about.
        octets: u64,
    },
    /// Rows of a table, in base64 ([`posta_store::Rows`]); empty if there are no more.
    Rows(String),
    /// Pieces of messages.
    Pieces {
        /// The number of octets of each; none for one that cannot be read.
        lengths: Vec<Option<u32>>,
        /// The octets, one piece behind the other, in base64.
        octets: String,
    },
    /// The unique-ids that no message of the account has.
    Absent(Vec<String>),
    /// The id for a message that is brought back in several pieces.
    Id(posta_mail::MailId),
}

impl Admin {
    pub(super) async fn backup(&self, request: BackupRequest) -> Result<Response, AdminError> {
        let now = self.clock.now();
        let backups = self.backups()?;
        let response = match request {
            BackupRequest::Begin => {
                let taken = backups.snapshot(now).await?;
                BackupResponse::Begun {
                    snapshot: taken.id.0,
                    at: now,
                    format: taken.format,
                    tables: taken.tables,
                    key_file: taken.key_file.map(|file| BASE64.encode(file)),
                    octets: taken.octets,
                }
            }
            BackupRequest::Rows { snapshot, table, after } => {
                let after = after.map(|after| octets(&after)).transpose()?;
                let rows = backups.rows(SnapshotId(snapshot), &table, after, OCTETS, now).await?;
                BackupResponse::Rows(BASE64.encode(rows.octets()))
            }
            BackupRequest::Pieces { snapshot, keys } => {
                let keys = octets(&keys)?;
                let keys = keys.as_chunks().0.iter().map(|key| PieceKey::from_bytes(*key));
                let keys = keys.take(PIECES).collect();
                let pieces = backups.pieces(SnapshotId(snapshot), keys, OCTETS, now).await?;
                let length = |piece: &Option<bytes::Bytes>| Some(piece.as_ref()?.len() as u32);
                let lengths = pieces.iter().map(length).collect();
                let octets = pieces.into_iter().flatten().fold(Vec::new(), |mut all, piece| {
                    all.extend_from_slice(&piece);
                    all
                });
                BackupResponse::Pieces { lengths, octets: BASE64.encode(octets) }
            }
            BackupRequest::End { snapshot } => {
                backups.release(SnapshotId(snapshot)).await?;
                return Ok(Response::Done);
            }
            BackupRequest::Made(made) => {
                // The command's clock may be another machine's.
                let last = LastBackup { at: made.at.min(now), ..made };
                let record = serde_json::to_vec(&last).unwrap_or_default();
                let (kind, name) = LAST_BACKUP;
                self.store.keep(kind, name, Some(record)).await?;
                tracing::info!(to = %last.to.display(), at = %last.at, "a backup was made");
                return Ok(Response::Done);
            }
        };
        Ok(Response::Backup(response))
    }

    fn backups(&self) -> Result<&dyn Backups, AdminError> {
        let none = "this store is not backed up by Posta, but by the means of its database: pg_basebackup or pg_dump, and \
                    a copy of the key file";
        self.store.backups().ok_or_else(|| AdminError::Backup(none.to_owned()))
    }
}

/// Returns the octets of a text in base64.
fn octets(text: &str) -> Result<Vec<u8>, AdminError> {
    BASE64.decode(text).map_err(|_| AdminError::Backup("the request is not in base64".to_owned()))
}
