//! Upkeep.

use super::FjallStore;
use crate::commit::{mailboxes::Swept, removals::Until};
use posta_mail::Timestamp;
use posta_store::{Pending, Upkeep};

impl Upkeep for FjallStore {
    fn sweep(&self, now: Timestamp) -> Pending<'_, usize> {
        Box::pin(async move {
            loop {
                let swept = self.after(Until::Due(now), move |committer| committer.sweep(now));
                let Swept { count, is_all } = swept.await?;
                if count > 0 || is_all {
                    return Ok(count);
                }
            }
        })
    }
}
