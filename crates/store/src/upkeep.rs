//! Upkeep: the work that a store needs from time to time.

use crate::error::Pending;
use posta_mail::Timestamp;

/// The work that a store needs from time to time. The process that runs the store calls this.
pub trait Upkeep: Send + Sync + 'static {
    /// Purges some of the removed messages and accounts whose time has come; accounts with their secrets
    /// and sources. Returns the number purged; the caller repeats the call until that is 0.
    fn sweep(&self, now: Timestamp) -> Pending<'_, usize>;
}
