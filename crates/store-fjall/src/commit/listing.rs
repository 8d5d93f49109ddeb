//! When packed blocks of maildrops are written and dropped ([`crate::tables::listing`]), and when views of
//! maildrops and the memory of the tables are given up.

mod memory;

pub(super) use memory::Held;

use super::Committer;
use crate::{
    disk::Room,
    error::failed,
    tables::{batch::Batch, listing::listing_key},
};
use posta_store::{AccountId, Block, Entry, FolderId, StoreError};

/// Records in a batch that an entry leaves its folder.
pub(super) fn list_out(account: AccountId, entry: &Entry, batch: &mut Batch) {
    batch.left.insert(((account, entry.folder), Block::range(entry.uid)));
}

impl Committer {
    /// Records that an entry arrives in a folder, as the last there. If it has the last UID of its range, the range
    /// is closed then.
    pub(super) fn list_in(&self, account: AccountId, entry: &Entry, batch: &mut Batch) {
        let folder = (account, entry.folder);
        if batch.arrived.last() != Some(&folder) {
            batch.arrived.push(folder);
        }
        let range = Block::range(entry.uid);
        if entry.folder == FolderId::INBOX && *Block::uids(range).end() == entry.uid {
            self.views.want_packed(account, [range]);
        }
    }

    /// Drops the blocks of the ranges of inboxes that a batch takes messages out of, in the same batch. A range that is not
    /// closed has no block.
    pub(super) fn drop_listings(&self, batch: &mut Batch) {
        for ((account, folder), range) in batch.left.clone() {
            if folder != FolderId::INBOX {
                continue;
            }
            let next = self.next_uid(account, FolderId::INBOX);
            if next.is_ok_and(|next| range == Block::range(next)) {
                continue;
            }
            batch.remove(&self.schema.listing, listing_key(account, range));
        }
    }

    /// Packs the next range that [`Views::want_packed`](crate::tables::views::Views::want_packed) was told of,
    /// which takes about two milliseconds. Returns whether there was one.
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
        batch.apply().map_err(failed)
    }

    /// Drops unused views of maildrops, gives memory back, and makes room on a full disk, as time passes. The time is
    /// known, roughly, from changes and from the seconds in which the thread was idle.
    pub(crate) fn let_time_pass(&mut self, seconds: u64) {
        self.second = (self.second + seconds).max(self.last_mod_seq.0 / 1_000_000);
        self.views.give_up_unused(self.second);
        self.give_back();
        self.cut_history();
    }
}

#[cfg(test)]
mod tests;
