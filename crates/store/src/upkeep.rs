//! Upkeep: the work that a store needs from time to time, backups, and the nodes that share a store.

mod backups;
pub(crate) mod figures;
pub(crate) mod nodes;

pub use backups::{Backups, PIECES, PieceKey, Restores, Rows, SNAPSHOT_IDLE, Snapshot, SnapshotId};

use crate::error::Pending;
use figures::StoreFigures;
use posta_mail::Timestamp;

/// The work that a store needs from time to time. The process that runs the store calls this.
pub trait Upkeep: Send + Sync + 'static {
    /// Purges some of the removed messages and accounts whose time has come; accounts with their secrets
    /// and sources. Returns the number purged; the caller repeats the call until that is 0.
    fn sweep(&self, now: Timestamp) -> Pending<'_, usize>;

    /// Returns what the store counted of its own work, without waiting; nothing, if it does not count.
    fn figures(&self) -> StoreFigures {
        StoreFigures::default()
    }

    /// Returns the means to back the store up, if it is backed up through this program.
    fn backups(&self) -> Option<&dyn Backups> {
        None
    }

    /// Returns whether mail would be accepted now. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Full`](crate::StoreError::Full) when the disk has no room for mail;
    /// [`StoreError::Failed`](crate::StoreError::Failed) when no change can be made durable until a restart.
    fn ready(&self) -> Pending<'_, ()>;
}
