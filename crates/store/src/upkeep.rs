//! Upkeep: what a store needs done from time to time.

use crate::error::Pending;
use posta_mail::Timestamp;

/// What a store needs done from time to time, by whoever runs it.
pub trait Upkeep: Send + Sync + 'static {
    /// Purges some of the removed messages and accounts whose time has come; accounts with their secrets and
    /// sources. Returns the number purged: the caller goes on until that is 0.
    fn sweep(&self, now: Timestamp) -> Pending<'_, usize>;
}
