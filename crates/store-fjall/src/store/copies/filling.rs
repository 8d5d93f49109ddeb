//! Filling this store from pages of another.
//!
//! Nothing is synced before the end: the log keeps the order, so a crash loses the last pages and the places behind them
//! together.

use crate::{
    commit::Committer,
    error::{damaged, failed},
    tables::{
        batch::Batch,
        schema::{self, Ledger, Moved, Removed},
    },
};
use posta_mail::{Address, Domain, Secret};
use posta_store::{
    AccountId, Event, Folder, PieceKey, RemovedAccount, Rows, SecretOf, Source, StoreError,
    copies::{
        AccountRecord, Collecting, ContentRecord, CopyPlace, EntryRecord, Gone, LastNumbers,
        MovedRecord, Part, decode_alias, decode_domain, decode_events, decode_item,
        decode_retrieved, decode_source,
    },
};

impl Committer {
    pub(super) fn begin_copy(&mut self, of: &str) -> Result<Option<CopyPlace>, StoreError> {
        let begun = self.schema.meta.get(schema::COPY_OF).map_err(failed)?;
        match begun {
            Some(before) if *before == *of.as_bytes() => {
                let place = self.schema.meta.get(schema::COPY_PLACE).map_err(failed)?;
                return Ok(place.and_then(|place| CopyPlace::from_bytes(&place)));
            }
            Some(_) => return Err(StoreError::Occupied),
            None => {}
        }
        let tables = &self.schema;
        let all = [&tables.account, &tables.domain, &tables.place, &tables.kept, &tables.history];
        if all.iter().any(|table| table.first_key_value().is_some()) {
            return Err(StoreError::Occupied);
        }
        let mut batch = Batch::new(tables);
        batch.insert(&tables.meta, schema::COPY_OF, of);
        self.commit(batch)?;
        Ok(None)
    }

    pub(super) fn put_page(
        &mut self,
        part: Part,
        rows: &Rows,
        behind: &CopyPlace,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        // Contents go into the log while the batch is made.
        self.begin()?;
        for (key, value) in rows.iter() {
            self.put_row(part, key, value, &mut batch)?;
        }
        batch.insert(&self.schema.meta, schema::COPY_PLACE, behind.to_bytes());
        self.write(batch, false)?;
        self.wait_for_memory();
        Ok(())
    }

    fn put_row(
        &mut self,
        part: Part,
        key: &[u8],
        value: &[u8],
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        // The engine refuses an empty key by a panic.
        if key.is_empty() {
            return Err(damaged("a row of a copy"));
        }
        match part {
            Part::Accounts => self.put_account(&AccountRecord::decode(key, value)?, batch),
            Part::Domains => {
                let (name, added, stands_for) = decode_domain(key, value)?;
                let stands_for = stands_for.map(|it| it.parse::<Domain>()).transpose();
                let stands_for = stands_for.map_err(|_| damaged("a domain's name"))?;
                let value = match (stands_for, added) {
                    (Some(domain), _) => schema::encode_domain_alias(&domain),
                    (None, true) => schema::ADDED_BY_ITSELF.to_vec(),
                    (None, false) => schema::USED.to_vec(),
                };
                batch.insert(&self.schema.domain, name.as_str(), value);
            }
            Part::Aliases => {
                let (name, targets) = decode_alias(key, value)?;
                let targets =
                    targets.iter().map(|it| it.parse()).collect::<Result<Vec<Address>, _>>();
                let targets = targets.map_err(|_| damaged("an alias's target"))?;
                batch.insert(&self.schema.alias, name.as_str(), schema::encode_targets(&targets));
            }
            Part::Contents => self.put_copied_content(ContentRecord::decode(key, value)?, batch),
            Part::Entries => self.put_entry(EntryRecord::decode(key, value)?, batch),
            Part::Moved => self.put_moved(MovedRecord::decode(key, value)?, batch),
            Part::Retrieved => {
                let (account, folder, uid, time) = decode_retrieved(key, value)?;
                let key = schema::entry_key(account, folder, uid);
                batch.insert(&self.schema.expiring, schema::timed_key(time, &key), []);
            }
            Part::Items => self.put_item(&decode_item(value)?, batch)?,
            Part::History => self.put_events(&decode_events(value)?, batch)?,
            Part::Records => batch.insert(&self.schema.kept, key, value),
            Part::Sources => self.put_copied_source(&decode_source(key, value)?, batch)?,
            Part::Collected => {
                let Collecting { source, unique_id, time } = Collecting::decode(key, value)?;
                let key = [&source.0.to_be_bytes()[..], &unique_id].concat();
                batch.insert(&self.schema.collected, key, schema::encode_time(time));
            }
            Part::Secrets => {}
        }
        Ok(())
    }

    fn put_account(&self, record: &AccountRecord, batch: &mut Batch) {
        let AccountRecord { account, removed, next_folder, uid_validity, horizon, folders } =
            record;
        let tables = &self.schema;
        match *removed {
            None => {
                let key = account.address.as_str();
                batch.insert(&tables.account, key, schema::encode_account(account));
                self.index(account, batch);
            }
            Some((time, purge)) => {
                let removed = RemovedAccount { account: account.clone(), time, purge };
                let key = schema::removed_account_key(account.id);
                batch.insert(&tables.kept, key, schema::encode_removed_account(&removed));
            }
        }
        for folder in folders {
            self.put_folder(account.id, folder, batch);
        }
        let (next, uid_validity, horizon) = (*next_folder, *uid_validity, *horizon);
        let ledger = schema::encode_ledger(Ledger { next, uid_validity, horizon });
        batch.insert(&tables.folder, schema::ledger_key(account.id), ledger);
    }

    fn put_folder(&self, account: AccountId, folder: &Folder, batch: &mut Batch) {
        let key = schema::folder_key(account, folder.id);
        batch.insert(&self.schema.folder, key, schema::encode_folder(folder));
    }

    fn put_copied_content(&mut self, record: ContentRecord, batch: &mut Batch) {
        let ContentRecord { id, refs, whole, .. } = record;
        if let Some(octets) = whole {
            self.put_content(schema::content_key(id, 0), &[&octets], batch);
        }
        if refs > 1 {
            let refs = u64::from(refs).to_be_bytes();
            batch.insert(&self.schema.shown, id.to_bytes(), refs);
        }
    }

    fn put_entry(&self, record: EntryRecord, batch: &mut Batch) {
        let EntryRecord { account, entry, gone } = record;
        let tables = &self.schema;
        let key = schema::entry_key(account, entry.folder, entry.uid);
        let name = schema::encode_name(entry.folder, entry.uid);
        match gone {
            None => {
                if entry.mod_seq != entry.created {
                    let changed = schema::changed_key(account, entry.mod_seq);
                    batch.insert(&tables.changed, changed, name);
                }
                batch.insert(&tables.entry, key, schema::encode_entry(&entry));
            }
            Some(Gone { time, purge, mod_seq }) => {
                if mod_seq.0 > 0 {
                    batch.insert(&tables.changed, schema::changed_key(account, mod_seq), name);
                }
                batch.insert(&tables.purging, schema::timed_key(purge, &key), []);
                let removed = Removed { time, purge, mod_seq, entry };
                batch.insert(&tables.expunged, key, schema::encode_removed(&removed));
            }
        }
    }

    fn put_moved(&self, record: MovedRecord, batch: &mut Batch) {
        let MovedRecord { account, old: (from, old), mod_seq, purge, new: (folder, uid) } = record;
        let tables = &self.schema;
        let key = schema::entry_key(account, from, old);
        if mod_seq.0 > 0 {
            let changed = schema::changed_key(account, mod_seq);
            batch.insert(&tables.changed, changed, schema::encode_name(from, old));
        }
        batch.insert(&tables.purging, schema::timed_key(purge, &key), []);
        let moved = Moved { mod_seq, folder, uid };
        batch.insert(&tables.moved, key, schema::encode_moved(moved));
    }

    fn put_events(&self, events: &[Event], batch: &mut Batch) -> Result<(), StoreError> {
        for (number, event) in events.iter().enumerate() {
            let key = schema::event_key(event, number as u32);
            batch.insert(&self.schema.history, key, schema::encode_json(&event.what)?);
        }
        Ok(())
    }

    fn put_copied_source(&self, source: &Source, batch: &mut Batch) -> Result<(), StoreError> {
        self.put_source(source, batch)?;
        if let Some(visit) = &source.last {
            let key = source.id.0.to_be_bytes();
            batch.insert(&self.schema.visit, key, schema::encode_json(visit)?);
        }
        Ok(())
    }

    pub(super) fn put_copied_piece(
        &mut self,
        key: PieceKey,
        octets: &[u8],
    ) -> Result<(), StoreError> {
        let key = key.to_bytes();
        if self.schema.place(key)?.is_some() {
            return Ok(());
        }
        self.begin()?;
        let mut batch = Batch::new(&self.schema);
        self.put_content(key, &[octets], &mut batch);
        self.write(batch, false)?;
        self.wait_for_memory();
        Ok(())
    }

    pub(super) fn put_copied_secret(
        &mut self,
        of: SecretOf,
        secret: &Secret,
    ) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        let old = self.put_secret(of, secret, &mut batch)?;
        self.commit(batch)?;
        self.wipe(of, old);
        Ok(())
    }

    pub(super) fn end_copy(&mut self, numbers: LastNumbers) -> Result<(), StoreError> {
        let LastNumbers { account, source, mod_seq, .. } = numbers;
        let mut batch = Batch::new(&self.schema);
        for (name, number) in [
            (schema::LAST_ACCOUNT, account),
            (schema::LAST_SOURCE, source),
            (schema::UID_CEILING, mod_seq),
        ] {
            batch.insert(&self.schema.meta, name, number.to_be_bytes());
        }
        self.commit(batch)
    }

    pub(super) fn complete_copy(&mut self) -> Result<(), StoreError> {
        let mut batch = Batch::new(&self.schema);
        batch.remove(&self.schema.meta, schema::COPY_OF);
        batch.remove(&self.schema.meta, schema::COPY_PLACE);
        self.commit(batch)
    }
}
