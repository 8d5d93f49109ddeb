//! Carrying out a removal that is decided, in pieces that record their progress.

use crate::{
    commit::Committer,
    error::failed,
    tables::{
        batch::Batch,
        key_and_value,
        removals::{Progress, Removal},
        schema::{self, Removed, Schema},
    },
};
use posta_mail::Timestamp;
use posta_store::{AccountId, Entry, ModSeq, StoreError, Uid};

/// Pieces of entries that are passed over at a time, where few of many are removed.
const PASSED: usize = 4;

/// How many entries in a row are passed over before the next name is looked for instead.
const IN_A_ROW: usize = 32;

impl Committer {
    /// Carries out a piece of a removal. Returns the progress, or none if that was the last piece.
    pub(super) fn carry_out_some(
        &mut self,
        removal: &Removal,
        progress: Progress,
    ) -> Result<Option<Progress>, StoreError> {
        let (entries, next) = self.schema.standing_of(removal, progress.next, self.piece)?;
        let mut batch = Batch::new(&self.schema);
        let Removal { account, time, purge, first, .. } = *removal;
        let mut mod_seq = progress.mod_seq;
        for entry in entries {
            self.expunge(account, entry, (time, purge), mod_seq, &mut batch);
            mod_seq = ModSeq(mod_seq.0 + 1);
        }
        let progress = next.map(|next| Progress { next, mod_seq });
        match progress {
            Some(progress) => {
                let head = schema::encode_progress(removal, progress);
                batch.insert(&self.schema.removing, schema::removing_key(first, 0), head);
            }
            None => {
                for guard in self.schema.removing.prefix(first.0.to_be_bytes()) {
                    batch.remove(&self.schema.removing, guard.key().map_err(failed)?);
                }
            }
        }
        // Not synced: a piece that a crash undoes is done again.
        self.begin()?;
        self.write(batch, false)?;
        Ok(progress)
    }

    /// Moves a removed entry from its folder to `expunged`. The folder's counts are left to the caller.
    pub(crate) fn expunge(
        &self,
        account: AccountId,
        entry: Entry,
        (time, purge): (Timestamp, Timestamp),
        mod_seq: ModSeq,
        batch: &mut Batch,
    ) {
        let key = schema::entry_key(account, entry.folder, entry.uid);
        batch.remove(&self.schema.entry, key);
        self.note_change(account, &entry, mod_seq, batch);
        batch.insert(&self.schema.purging, schema::timed_key(purge, &key), []);
        let removed = Removed { time, purge, mod_seq, entry };
        batch.insert(&self.schema.expunged, key, schema::encode_removed(&removed));
    }
}

impl Schema {
    /// Returns some of the entries that a removal takes out, from a UID on, and the UID to go on from; none if
    /// there are no more.
    fn standing_of(
        &self,
        removal: &Removal,
        mut from: Uid,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<Uid>), StoreError> {
        let key = |uid| schema::entry_key(removal.account, removal.folder, uid);
        let mut entries = Vec::new();
        let mut passed = 0;
        while let Some(first) = removal.names.next(from) {
            let mut in_a_row = 0;
            let mut is_end = true;
            for guard in self.entry.range(key(first)..=key(Uid(u32::MAX))) {
                let (key, value) = key_and_value(guard)?;
                let (.., uid) = schema::names_of(&key)?;
                if entries.len() == limit || passed == PASSED * limit {
                    return Ok((entries, Some(uid)));
                }
                from = Uid(uid.0.saturating_add(1));
                if removal.names.contains(uid) {
                    entries.push(schema::decode_entry(&key, &value)?);
                    in_a_row = 0;
                } else {
                    (passed, in_a_row) = (passed + 1, in_a_row + 1);
                }
                if in_a_row == IN_A_ROW {
                    is_end = false;
                    break;
                }
            }
            if is_end {
                break;
            }
        }
        Ok((entries, None))
    }
}
