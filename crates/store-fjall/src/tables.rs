//! The tables over the log: the small records that show the contents, how they lie, and how they are read.
//! Only the committing thread changes them, with batches.

pub(crate) mod batch;
mod changes;
mod contents;
mod history;
pub(crate) mod lanes;
pub(crate) mod listing;
pub(crate) mod mailboxes;
mod queue;
mod records;
pub(crate) mod removals;
pub(crate) mod schema;
pub(crate) mod secrets;
mod sources;
pub(crate) mod table;
pub(crate) mod usage;
pub(crate) mod views;

use crate::error::failed;
use fjall::Guard;
use posta_store::StoreError;

pub(crate) fn key_and_value(
    guard: Guard,
) -> Result<(fjall::UserKey, fjall::UserValue), StoreError> {
    guard.into_inner().map_err(failed)
}
