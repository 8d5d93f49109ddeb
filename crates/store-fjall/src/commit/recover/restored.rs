//! Filling a new store from a backup.
//!
//! What was given out after the backup is unknown here, but not to clients: they may have seen messages, changes and
//! accounts that this store has never heard of. So nothing that names one is given out again (RFC 1939 §7, RFC 9051
//! §2.3.1.1, RFC 7162 §3.1): unique-ids and mod-sequences follow the time, and go on an hour ahead of it; ids of accounts
//! and sources go on a million ahead; and each folder has another UIDVALIDITY, so that no UID means what it meant.

use crate::{
    commit::Committer,
    error::damaged,
    tables::{batch::Batch, key_and_value, schema},
};
use bytes::Bytes;
use posta_mail::Timestamp;
use posta_store::{AccountId, Item, ItemState, ModSeq, PieceKey, Rows, StoreError};

/// Microseconds from the time of a restore to the first mod-sequence that is given out after it: clocks differ, and
/// many changes at a time push mod-sequences ahead of the time.
const AHEAD: u64 = 3_600 * 1_000_000;

/// The ids that may have been given to accounts and sources after the backup.
const IDS: u64 = 1_000_000;

/// About the octets of the records of one transaction.
const PIECE: usize = 1024 * 1024;

impl Committer {
    /// Puts rows of a backup into a table; of tables about mailboxes, only those of one account, if it is given.
    pub(crate) fn restore_rows(
        &mut self,
        table: &str,
        rows: &Rows,
        of: Option<AccountId>,
    ) -> Result<(), StoreError> {
        let tables = self.schema.tables();
        let known = tables.into_iter().find(|known| known.name() == table);
        let known = known.ok_or_else(|| damaged("a table of the backup"))?.clone();
        let schema = &self.schema;
        let of_mailboxes =
            [&schema.folder, &schema.entry, &schema.changed, &schema.moved, &schema.expunged];
        let of = of.filter(|_| of_mailboxes.iter().any(|table| table.number == known.number));
        let of = of.map(|id| id.0.to_be_bytes());
        let mut batch = Batch::new(schema);
        for (key, value) in rows.iter() {
            // No row that this program wrote has an empty key, which the engine refuses by a panic.
            if key.is_empty() {
                return Err(damaged("a row of the backup"));
            }
            if of.is_none_or(|of| key.starts_with(&of)) {
                batch.insert(&known, key, value);
            }
        }
        self.put_unsynced(batch)
    }

    /// Puts pieces of messages into the log.
    pub(crate) fn restore_pieces(
        &mut self,
        pieces: &[(PieceKey, Bytes)],
    ) -> Result<(), StoreError> {
        self.begin()?;
        let mut batch = Batch::new(&self.schema);
        for (key, piece) in pieces {
            self.put_content(key.to_bytes(), &[piece], &mut batch);
        }
        self.write(batch, false)?;
        self.wait_for_memory();
        Ok(())
    }

    pub(crate) fn put_unsynced(&mut self, batch: Batch) -> Result<(), StoreError> {
        if !batch.is_empty() {
            self.begin()?;
            self.write(batch, false)?;
            self.wait_for_memory();
        }
        Ok(())
    }

    pub(crate) fn put_if_full(&mut self, batch: Batch) -> Result<Batch, StoreError> {
        if batch.records().len() < PIECE {
            return Ok(batch);
        }
        self.put_unsynced(batch)?;
        Ok(Batch::new(&self.schema))
    }

    /// Finishes a store that was filled and opened again since, and makes it durable.
    pub(crate) fn finish_restore(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.hold_queue()?;
        self.go_on_ahead(now)
    }

    /// Sees to it that nothing is given out again that clients may know.
    pub(crate) fn go_on_ahead(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let micros = u64::try_from(now.as_microsecond()).unwrap_or_default() + AHEAD;
        let before = self.schema.number(schema::UID_CEILING)?.unwrap_or_default();
        let ceiling = ModSeq(micros.max(before));
        let seconds = u32::try_from(now.as_second()).unwrap_or(u32::MAX);
        for account in self.schema.all_accounts() {
            self.renumber(account?.id, ceiling, seconds)?;
        }
        for removed in self.schema.removed_accounts()? {
            self.renumber(removed.account.id, ceiling, seconds)?;
        }
        let mut batch = Batch::new(&self.schema);
        for name in [schema::LAST_ACCOUNT, schema::LAST_SOURCE] {
            let last = self.schema.number(name)?.unwrap_or_default() + IDS;
            batch.insert(&self.schema.meta, name, last.to_be_bytes());
        }
        batch.insert(&self.schema.meta, schema::UID_CEILING, ceiling.0.to_be_bytes());
        self.commit(batch)
    }

    /// Holds all items of the queue: what they carry may have been sent after the backup.
    pub(crate) fn hold_queue(&mut self) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        for guard in self.schema.queue.iter() {
            let (key, value) = key_and_value(guard)?;
            let mut item: Item = schema::decode_json(&value, "an item of the queue")?;
            if !item.state.is_kept_back() {
                item.state = ItemState::Held;
                batch.insert(&self.schema.queue, key, schema::encode_json(&item)?);
            }
            batch = self.put_if_full(batch)?;
        }
        self.put_unsynced(batch)
    }

    /// Gives all folders of an account another UIDVALIDITY, and forgets since when changes are known.
    fn renumber(
        &mut self,
        account: AccountId,
        ceiling: ModSeq,
        seconds: u32,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        let mut ledger = self.schema.ledger(account)?;
        ledger.horizon = ceiling;
        for id in self.schema.folder_ids(account)? {
            let Some(mut folder) = self.schema.folder(account, id)? else { continue };
            folder.uid_validity = seconds.max(folder.uid_validity.saturating_add(1));
            folder.mod_seq = ceiling;
            ledger.uid_validity = ledger.uid_validity.max(folder.uid_validity);
            let key = schema::folder_key(account, id);
            batch.insert(&self.schema.folder, key, schema::encode_folder(&folder));
        }
        let key = schema::ledger_key(account);
        batch.insert(&self.schema.folder, key, schema::encode_ledger(ledger));
        self.put_unsynced(batch)
    }
}
