//! The pages of this store.

use crate::{
    commit::Committer,
    error::{damaged, failed},
    log::{Place, Segments},
    tables::{
        key_and_value,
        schema::{self, Moved, Removed, Schema},
        secrets,
        table::Table,
    },
};
use fjall::Guard;
use posta_mail::MailId;
use posta_store::{
    Account, Flags, Item, PieceKey, Rows, SourceId, StoreError,
    copies::{
        AccountRecord, Collecting, ContentRecord, EntryRecord, Gone, MovedRecord, Page, Part,
        push_alias, push_domain, push_item, push_retrieved, push_secret,
    },
};
use std::ops::Bound;

/// The most records that are looked at for a page.
const LOOKED_AT: usize = 20_000;

/// What marks the second half of the entries in the place behind a page: the messages that were removed.
const REMOVED: u8 = 1;

/// Returns a page of a part other than accounts, histories and sources.
pub(super) fn page(
    schema: &Schema,
    segments: &Segments,
    part: Part,
    after: Option<&[u8]>,
    octets: usize,
) -> Result<Page, StoreError> {
    let walk = |table, put: Put<'_>| walk(table, after, octets, put);
    match part {
        Part::Domains => walk(&schema.domain, &mut |key, value, rows| {
            let stands_for = schema::domain_alias_in(value)?;
            let added = value == schema::ADDED_BY_ITSELF;
            let name = schema::decode_domain(key)?;
            push_domain(rows, name.as_str(), added, stands_for.as_ref().map(|it| it.as_str()));
            Ok(())
        }),
        Part::Aliases => walk(&schema.alias, &mut |key, value, rows| {
            let name = str::from_utf8(key).map_err(|_| damaged("an alias's key"))?;
            let targets = schema::decode_targets(value)?;
            let targets: Vec<_> = targets.iter().map(ToString::to_string).collect();
            push_alias(rows, name, &targets);
            Ok(())
        }),
        Part::Contents => contents(schema, segments, after, octets),
        Part::Entries => entries(schema, after, octets),
        Part::Moved => walk(&schema.purging, &mut |key, _, rows| moved(schema, key, rows)),
        Part::Retrieved => walk(&schema.expiring, &mut |key, _, rows| retrieved(schema, key, rows)),
        Part::Items => walk(&schema.queue, &mut |_, value, rows| {
            let item: Item = schema::decode_json(value, "an item of the queue")?;
            push_item(rows, item)
        }),
        Part::Records => walk(&schema.kept, &mut |key, value, rows| {
            if !schema::is_of_accounts(key) {
                rows.push(key, value);
            }
            Ok(())
        }),
        Part::Collected => walk(&schema.collected, &mut |key, value, rows| {
            let (source, unique_id) =
                key.split_first_chunk().ok_or_else(|| damaged("a collected message"))?;
            let source = SourceId(u64::from_be_bytes(*source));
            let (unique_id, time) = (unique_id.to_vec(), schema::decode_time(value)?);
            Collecting { source, unique_id, time }.push(rows);
            Ok(())
        }),
        Part::Secrets => walk(&schema.secret, &mut |key, _, rows| {
            let of = secrets::of_key(key).ok_or_else(|| damaged("the key of a secret"))?;
            push_secret(rows, of);
            Ok(())
        }),
        Part::Accounts | Part::History | Part::Sources => Ok(Page::default()),
    }
}

/// Puts a record into rows.
type Put<'a> = &'a mut dyn FnMut(&[u8], &[u8], &mut Rows) -> Result<(), StoreError>;

/// Walks over a table from a key on, until there are enough rows.
fn walk(
    table: &Table,
    after: Option<&[u8]>,
    octets: usize,
    put: Put<'_>,
) -> Result<Page, StoreError> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    take(table.range::<&[u8], _>((from, Bound::Unbounded)), octets, put)
}

fn take(
    records: impl Iterator<Item = Guard>,
    octets: usize,
    put: Put<'_>,
) -> Result<Page, StoreError> {
    let mut rows = Rows::default();
    for (count, guard) in records.enumerate() {
        let (key, value) = key_and_value(guard)?;
        put(&key, &value, &mut rows)?;
        if rows.octets().len() >= octets || count >= LOOKED_AT {
            return Ok(Page { rows, next: Some(key.to_vec()) });
        }
    }
    Ok(Page { rows, next: None })
}

/// Returns the messages in folders, then those that were removed.
fn entries(schema: &Schema, after: Option<&[u8]>, octets: usize) -> Result<Page, StoreError> {
    let removed = after.and_then(|after| after.split_first()).filter(|(half, _)| **half == REMOVED);
    if let Some((_, after)) = removed {
        let from = if after.is_empty() { Bound::Unbounded } else { Bound::Excluded(after) };
        let records = schema.expunged.range::<&[u8], _>((from, Bound::Unbounded));
        let mut page = take(records, octets, &mut |key, value, rows| {
            let (account, ..) = schema::names_of(key)?;
            let Removed { time, purge, mod_seq, entry } = schema::decode_removed(key, value)?;
            let gone = Some(Gone { time, purge, mod_seq });
            EntryRecord { account, entry, gone }.push(rows)
        })?;
        page.next = page.next.map(|key| [&[REMOVED][..], &key].concat());
        return Ok(page);
    }
    let after = after.map(|after| &after[1..]);
    let mut page = walk(&schema.entry, after, octets, &mut |key, value, rows| {
        let (account, ..) = schema::names_of(key)?;
        let entry = schema::decode_entry(key, value)?;
        EntryRecord { account, entry, gone: None }.push(rows)
    })?;
    page.next = Some(page.next.map_or(vec![REMOVED], |key| [&[0][..], &key].concat()));
    Ok(page)
}

/// Adds an earlier name of a message. The names that are purged some time are those of removed messages and these.
fn moved(schema: &Schema, timed_key: &[u8], rows: &mut Rows) -> Result<(), StoreError> {
    let key = schema::timed(timed_key).ok_or_else(|| damaged("a purge time"))?;
    let Some(value) = schema.moved.get(key).map_err(failed)? else { return Ok(()) };
    let (account, folder, uid) = schema::names_of(&key)?;
    let purge = timed_key.get(..8).unwrap_or_default();
    let Moved { mod_seq, folder: to_folder, uid: to_uid } = schema::decode_moved(&value)?;
    MovedRecord {
        account,
        old: (folder, uid),
        mod_seq,
        purge: schema::decode_time(purge)?,
        new: (to_folder, to_uid),
    }
    .push(rows);
    Ok(())
}

/// Adds when a message was retrieved, if it is still where it was then.
fn retrieved(schema: &Schema, timed_key: &[u8], rows: &mut Rows) -> Result<(), StoreError> {
    let key = schema::timed(timed_key).ok_or_else(|| damaged("when a message expires"))?;
    let entry = schema.entry(key)?.filter(|entry| entry.flags.has(Flags::RETRIEVED));
    if entry.is_some() {
        let (account, folder, uid) = schema::names_of(&key)?;
        let time = schema::decode_time(timed_key.get(..8).unwrap_or_default())?;
        push_retrieved(rows, account, folder, uid, time);
    }
    Ok(())
}

/// Returns contents, those of one piece with it.
fn contents(
    schema: &Schema,
    segments: &Segments,
    after: Option<&[u8]>,
    octets: usize,
) -> Result<Page, StoreError> {
    let mut page = Page::default();
    let mut known: Option<OneContent> = None;
    // No index is greater than that of a head.
    let from = after.map(|after| [after, &u32::MAX.to_be_bytes()].concat());
    let from = from.map_or(Bound::Unbounded, Bound::Excluded);
    for guard in schema.place.range((from, Bound::Unbounded)) {
        let (key, value) = key_and_value(guard)?;
        let piece = PieceKey::from_bytes(schema::chunk_of(&key)?);
        let place = schema::decode_place(&value)?;
        match &mut known {
            Some(content) if content.id == piece.content => content.pieces += 1,
            _ => {
                if let Some(content) = known.take() {
                    content.push(schema, segments, &mut page)?;
                    if page.rows.octets().len() >= octets {
                        return Ok(page);
                    }
                }
                known = Some(OneContent { id: piece.content, pieces: 1, first: (piece, place) });
            }
        }
    }
    if let Some(content) = known {
        content.push(schema, segments, &mut page)?;
    }
    page.next = None;
    Ok(page)
}

/// A content whose pieces are being counted.
struct OneContent {
    id: MailId,
    pieces: u32,
    first: (PieceKey, Place),
}

impl OneContent {
    fn push(self, schema: &Schema, segments: &Segments, page: &mut Page) -> Result<(), StoreError> {
        let Self { id, pieces, first: (piece, place) } = self;
        let key = piece.to_bytes();
        let whole = if pieces == 1 && piece.index == 0 {
            let mut octets = segments.read(place, key)?;
            // The log may have moved it meanwhile.
            if octets.is_none()
                && let Some(moved) = schema.place(key)?
            {
                octets = segments.read(moved, key)?;
            }
            Some(octets.ok_or_else(|| damaged(&format!("the content of message {id}")))?)
        } else {
            None
        };
        let refs = u32::try_from(schema.shown(id)?).unwrap_or(u32::MAX);
        ContentRecord { id, refs, pieces, whole }.push(&mut page.rows);
        page.next = Some(id.to_bytes().to_vec());
        Ok(())
    }
}

impl Committer {
    /// Returns accounts, then those that were removed, with their folders as they are now.
    pub(super) fn copied_accounts(
        &mut self,
        after: Option<&[u8]>,
        octets: usize,
    ) -> Result<Page, StoreError> {
        let mut page = Page::default();
        let mut after = after.map(<[u8]>::to_vec);
        while let Some((key, account, removed)) = self.schema.next_account(after.as_deref())? {
            self.account_record(account, removed)?.push(&mut page.rows)?;
            after = Some(key);
            if page.rows.octets().len() >= octets {
                page.next = after;
                break;
            }
        }
        // The states of many folders.
        self.folders.trim();
        Ok(page)
    }

    fn account_record(
        &mut self,
        account: Account,
        removed: Option<(posta_mail::Timestamp, posta_mail::Timestamp)>,
    ) -> Result<AccountRecord, StoreError> {
        let schema::Ledger { next, uid_validity, horizon } = self.schema.ledger(account.id)?;
        let folders = self.all_folders(account.id)?;
        Ok(AccountRecord { account, removed, next_folder: next, uid_validity, horizon, folders })
    }
}
