//! Making a new store of what is whole.

use super::{
    Damage,
    gather::Gathered,
    references::{lost_account, named},
};
use crate::{
    commit::Committer,
    error::{damaged, failed},
    log::Segments,
    store::{LOG, with_committer},
    tables::{
        batch::Batch,
        key_and_value,
        mailboxes::{FolderCounts, empty},
        schema::{self, AccountFolder},
        table::Table,
    },
};
use bytes::Bytes;
use posta_mail::{MailId, Timestamp};
use posta_store::{Account, Credentials, Item, PieceKey, Rows, StoreError};
use std::{collections::BTreeSet, path::Path};

/// About the octets of one transaction.
const PIECE: usize = 1024 * 1024;

/// Makes a store in the directory `partial`, with the key file `keys`, of what was gathered of the store in `directory`.
pub(super) fn store(
    gathered: &Gathered,
    damage: &Damage,
    directory: &Path,
    (partial, keys): (&Path, &Path),
    now: Timestamp,
) -> Result<(), StoreError> {
    let segments = Segments::open_closed(&directory.join(LOG));
    with_committer(partial, keys, |committer| {
        let rebuild = Rebuild { gathered, segments: &segments };
        for table in gathered.schema.backed_up() {
            rebuild.rows(table, committer)?;
        }
        rebuild.contents(committer)?;
        rebuild.queue(committer)?;
        rebuild.accounts(committer)?;
        rebuild.folders(committer)
    })?;
    // Opened again, the store knows what is in it.
    with_committer(partial, keys, |committer| {
        let schema = &gathered.schema;
        let is_damaged = |table: &Table| gathered.damaged.contains(&table.number);
        if is_damaged(&schema.queue) {
            committer.hold_queue()?;
        }
        // What the damage took may be known to clients.
        if !damage.files.is_empty() { committer.go_on_ahead(now) } else { Ok(()) }
    })
}

struct Rebuild<'a> {
    gathered: &'a Gathered,
    segments: &'a Segments,
}

impl Rebuild<'_> {
    fn is_dropped(&self, table: &Table, key: &[u8]) -> Result<bool, StoreError> {
        self.gathered.dropped.contains_key(named(table, key)).map_err(failed)
    }

    /// Copies the rows of a table, but for those that are counted anew.
    fn rows(&self, table: &Table, committer: &mut Committer) -> Result<(), StoreError> {
        let schema = &self.gathered.schema;
        if table.number == schema.shown.number {
            return Ok(());
        }
        let is_meta = table.number == schema.meta.number;
        let mut rows = Rows::default();
        for guard in table.iter() {
            let (key, value) = key_and_value(guard)?;
            if (is_meta && schema::is_of_files(&key)) || self.is_dropped(table, &key)? {
                continue;
            }
            rows.push(&key, &value);
            if rows.octets().len() >= PIECE {
                committer.restore_rows(&table.name(), &std::mem::take(&mut rows), None)?;
            }
        }
        committer.restore_rows(&table.name(), &rows, None)
    }

    /// Copies the contents that records refer to, and counts these.
    fn contents(&self, committer: &mut Committer) -> Result<(), StoreError> {
        let (mut pieces, mut octets) = (Vec::new(), 0);
        let mut seen: Option<(MailId, u64)> = None;
        for guard in self.gathered.references.iter() {
            let content = schema::content_of(&guard.key().map_err(failed)?)?;
            if let Some((last, count)) = &mut seen
                && *last == content
            {
                *count += 1;
                continue;
            }
            show(seen.replace((content, 1)), committer)?;
            for guard in self.gathered.schema.place.prefix(content.to_bytes()) {
                let (key, value) = key_and_value(guard)?;
                let (key, place) = (schema::chunk_of(&key)?, schema::decode_place(&value)?);
                let piece: Option<Bytes> = self.segments.read(place, key)?;
                let Some(piece) = piece else { continue };
                octets += piece.len();
                pieces.push((PieceKey::from_bytes(key), piece));
            }
            if octets >= PIECE {
                committer.restore_pieces(&std::mem::take(&mut pieces))?;
                octets = 0;
            }
        }
        show(seen, committer)?;
        committer.restore_pieces(&pieces)
    }

    /// Makes the index of what is due in the queue.
    fn queue(&self, committer: &mut Committer) -> Result<(), StoreError> {
        let schema = committer.schema.clone();
        let mut batch = Batch::new(&schema);
        for guard in schema.queue.iter() {
            let (_, value) = key_and_value(guard)?;
            let item: Item = schema::decode_json(&value, "an item of the queue")?;
            if !item.state.is_kept_back() {
                batch.insert(&schema.due, schema::due_key(&item), []);
            }
            batch = committer.put_if_full(batch)?;
        }
        committer.put_unsynced(batch)
    }

    /// Makes the indexes of accounts, and brings accounts back whose records are lost.
    fn accounts(&self, committer: &mut Committer) -> Result<(), StoreError> {
        let schema = committer.schema.clone();
        let (mut batch, mut known) = (Batch::new(&schema), BTreeSet::new());
        for account in schema.all_accounts() {
            let account = account?;
            known.insert(account.id);
            committer.index(&account, &mut batch);
            batch = committer.put_if_full(batch)?;
        }
        known.extend(schema.removed_accounts()?.iter().map(|removed| removed.account.id));
        let mut last = schema.number(schema::LAST_ACCOUNT)?.unwrap_or_default();
        last = last.max(known.last().map_or(0, |id| id.0));
        let mut next = 0_u64;
        while let Some(guard) = schema.entry.range(next.to_be_bytes()..).next() {
            let (id, ..) = schema::names_of(&guard.key().map_err(failed)?)?;
            if known.insert(id) {
                let address = lost_account(id).parse().map_err(|_| damaged("an account's name"))?;
                let account = Account::new(id, address, Credentials::default());
                let key = account.address.as_str();
                batch.insert(&schema.account, key, schema::encode_account(&account));
                batch.insert(&schema.domain, account.address.domain(), schema::USED);
                committer.index(&account, &mut batch);
            }
            last = last.max(id.0);
            let Some(after) = id.0.checked_add(1) else { break };
            next = after;
        }
        batch.insert(&schema.meta, schema::LAST_ACCOUNT, last.to_be_bytes());
        committer.put_unsynced(batch)
    }

    /// FolderCounts the messages of each folder, and brings folders back whose records are lost.
    fn folders(&self, committer: &mut Committer) -> Result<(), StoreError> {
        let schema = committer.schema.clone();
        if schema.removing.iter().next().is_some() {
            // Their messages are counted as gone already.
            return Ok(());
        }
        without_messages(committer)?;
        let mut batch = Batch::new(&schema);
        let mut counted: Option<(AccountFolder, FolderCounts)> = None;
        for guard in schema.entry.iter() {
            let (key, value) = key_and_value(guard)?;
            let (account, folder, _) = schema::names_of(&key)?;
            let entry = schema::decode_entry(&key, &value)?;
            if counted.as_ref().is_none_or(|(of, _)| *of != (account, folder)) {
                put_counts(committer, counted.take(), &mut batch)?;
                counted = Some(((account, folder), FolderCounts::below(None)));
                batch = committer.put_if_full(batch)?;
            }
            if let Some((_, counts)) = &mut counted {
                counts.add(&entry);
            }
        }
        put_counts(committer, counted, &mut batch)?;
        committer.put_unsynced(batch)
    }
}

/// Sets the counts of the folders that have a record to nothing; those with messages get theirs afterwards.
fn without_messages(committer: &mut Committer) -> Result<(), StoreError> {
    let schema = committer.schema.clone();
    let mut batch = Batch::new(&schema);
    for guard in schema.folder.iter() {
        let (key, value) = key_and_value(guard)?;
        let Some(id) = schema::folder_of(&key)? else { continue };
        let mut folder = schema::decode_folder(id, &value)?;
        (folder.messages, folder.octets, folder.unseen) = (0, 0, 0);
        batch.insert(&schema.folder, key, schema::encode_folder(&folder));
        batch = committer.put_if_full(batch)?;
    }
    committer.put_unsynced(batch)
}

/// Notes how many records share a content.
fn show(seen: Option<(MailId, u64)>, committer: &mut Committer) -> Result<(), StoreError> {
    let Some((content, count)) = seen.filter(|(_, count)| *count > 1) else { return Ok(()) };
    let schema = committer.schema.clone();
    let mut batch = Batch::new(&schema);
    batch.insert(&schema.shown, content.to_bytes(), count.to_be_bytes());
    committer.put_unsynced(batch)
}

/// Writes the record of a folder with its counts.
fn put_counts(
    committer: &Committer,
    counted: Option<(AccountFolder, FolderCounts)>,
    batch: &mut Batch,
) -> Result<(), StoreError> {
    let Some(((account, id), counts)) = counted else { return Ok(()) };
    let schema = &committer.schema;
    let mut folder = match schema.folder(account, id)? {
        Some(folder) => folder,
        None => {
            let name = format!("Recovered {}", id.0).parse();
            empty(id, name.map_err(|_| damaged("a folder's name"))?, None)
        }
    };
    counts.put_into(&mut folder);
    let key = schema::folder_key(account, id);
    batch.insert(&schema.folder, key, schema::encode_folder(&folder));
    Ok(())
}
