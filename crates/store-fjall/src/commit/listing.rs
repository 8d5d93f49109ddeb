//! What maildrops list, packed: when blocks are written and dropped, and when views of maildrops are given up.

use super::Committer;
use crate::{
    disk::Room,
    tables::{batch::Batch, listing::listing_key},
};
use posta_store::{AccountId, Block, Entry, FolderId, StoreError};

impl Committer {
    /// Notes that an entry comes into a folder, as the last there. A range of UIDs that it ends is closed then.
    pub(super) fn list_in(&self, account: AccountId, entry: &Entry, batch: &mut Batch) {
        if entry.folder != FolderId::INBOX {
            return;
        }
        if batch.arrived.last() != Some(&account) {
            batch.arrived.push(account);
        }
        let range = Block::range(entry.uid);
        if *Block::uids(range).end() == entry.uid {
            self.views.want_packed(account, [range]);
        }
    }

    /// Drops the blocks of the ranges that a batch takes messages out of, together with these. A range that is
    /// not closed has none.
    pub(super) fn drop_listings(&self, batch: &mut Batch) {
        for (account, range) in batch.left.clone() {
            let next = self.next_uid(account, FolderId::INBOX);
            if next.is_ok_and(|next| range == Block::range(next)) {
                continue;
            }
            batch.remove(&self.schema.listing, listing_key(account, range));
        }
    }

    /// Packs a range that is closed by now, if there is one that somebody asked for. Returns whether there was
    /// something to do. It takes about two milliseconds.
    pub(super) fn pack_some(&mut self) -> bool {
        if self.room < Room::Everything {
            return false;
        }
        let Some((account, range)) = self.views.next_to_pack() else { return false };
        if let Err(error) = self.pack(account, range) {
            tracing::warn!(%error, "what a maildrop lists could not be packed: it is read the long way");
        }
        true
    }

    fn pack(&mut self, account: AccountId, range: u32) -> Result<(), StoreError> {
        if !self.accounts.contains(&account) || !self.load_folder(account, FolderId::INBOX)? {
            return Ok(());
        }
        if range >= Block::range(self.next_uid(account, FolderId::INBOX)?) {
            return Ok(());
        }
        let Some(value) = self.schema.pack(account, range)? else { return Ok(()) };
        let mut batch = Batch::new(&self.schema);
        batch.derive(&self.schema.listing, listing_key(account, range), value);
        batch.apply().map_err(crate::error::failed)
    }

    /// Gives up views of maildrops that nobody has used for a while. About what time it is is known from
    /// changes, and from the seconds in which nothing was to do.
    pub(crate) fn let_time_pass(&mut self, seconds: u64) {
        self.second = (self.second + seconds).max(self.last_mod_seq.0 / 1_000_000);
        self.views.give_up_unused(self.second);
    }
}

#[cfg(test)]
mod tests;
