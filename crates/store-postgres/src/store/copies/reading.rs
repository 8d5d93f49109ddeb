//! The pages of this store. Each begins behind the key of the last row of the one before.

use crate::{
    columns::{self, entry_columns, folder, mail_id, time, uid},
    connection::{Connection, Params},
    fault::{DatabaseFault, damaged},
    store::{directory, folders, queue},
};
use posta_mail::MailId;
use posta_store::{
    AccountId, FolderId, ItemId, KeyId, ModSeq, Rows, SecretOf, SourceId, StoreError,
    copies::{
        AccountRecord, Collecting, ContentRecord, EntryRecord, Gone, MovedRecord, Page, Part,
        push_alias, push_domain, push_item, push_named, push_retrieved, push_secret,
    },
};
use std::{collections::HashMap, sync::Arc};
use tokio_postgres::Row;

/// The rows of a page at most, by what one has.
const FEW: i64 = 500;
const MANY: i64 = 2_000;

const ACCOUNTS: &str = "SELECT a.id, a.address, a.password_hash, a.scram, a.quota, a.send_as, a.forwards, a.disabled, \
     a.marks_junk, a.send_only, a.removed, a.purge, l.next_folder, l.uid_validity, l.horizon \
     FROM account a JOIN ledger l ON l.account = a.id WHERE a.id > $1 ORDER BY a.id LIMIT $2";
const FOLDERS: &str = "SELECT id, name, role, uid_validity, uid_next, modseq, messages, octets, unseen, account \
     FROM folder WHERE account = ANY ($1) ORDER BY account, id";
const DOMAINS: &str =
    "SELECT name, added, stands_for FROM domain WHERE name > $1 ORDER BY name LIMIT $2";
const ALIASES: &str = "SELECT name, targets FROM alias WHERE name > $1 ORDER BY name LIMIT $2";
/// Contents until there are enough octets, at least one.
const CONTENTS: &str = "SELECT c.id, c.refs, c.octets, \
         CASE WHEN c.octets IS NULL THEN (SELECT count(*) FROM piece p WHERE p.content = c.id) ELSE 1 END \
     FROM ( \
         SELECT c.id, c.refs, c.octets, coalesce(octet_length(c.octets), 0) AS length, \
             sum(coalesce(octet_length(c.octets), 0)) OVER (ORDER BY c.id) AS total \
         FROM content c WHERE c.id > $1 ORDER BY c.id LIMIT $2 \
     ) AS c WHERE c.total - c.length <= $3 ORDER BY c.id";
const ENTRIES: &str = concat!(
    "SELECT ",
    entry_columns!(),
    ", e.account, e.removed, e.purge, coalesce(e.gone, 0) FROM entry e \
     WHERE (e.account, e.folder, e.uid) > ($1, $2, $3) ORDER BY e.account, e.folder, e.uid LIMIT $4"
);
const MOVED: &str = "SELECT account, folder, uid, modseq, purge, to_folder, to_uid FROM moved \
     WHERE (account, folder, uid) > ($1, $2, $3) ORDER BY account, folder, uid LIMIT $4";
const RETRIEVED: &str = "SELECT account, folder, uid, retrieved FROM entry \
     WHERE retrieved IS NOT NULL AND removed IS NULL AND flags & 1 = 1 \
     AND (retrieved, account, folder, uid) > ($5, $1, $2, $3) ORDER BY retrieved, account, folder, uid LIMIT $4";
const ITEMS: &str = "SELECT record, due, state, NULL::bigint FROM item WHERE (content, index) > ($1, $2) \
     ORDER BY content, index LIMIT $3";
const RECORDS: &str = "SELECT kind, name, record FROM record WHERE (kind, name) > ($1, $2) ORDER BY kind, name LIMIT $3";
const COLLECTED: &str = "SELECT source, unique_id, time FROM collected WHERE (source, unique_id) > ($1, $2) \
     ORDER BY source, unique_id LIMIT $3";
const SECRETS: &str =
    "SELECT kind, id FROM secret WHERE (kind, id) > ($1, $2) ORDER BY kind, id LIMIT $3";

/// Returns a page of a part other than histories and sources.
pub(super) async fn page(
    connection: &Arc<Connection>,
    part: Part,
    after: Option<&[u8]>,
    octets: usize,
) -> Result<Page, DatabaseFault> {
    match part {
        Part::Accounts => accounts(connection, after).await,
        Part::Domains => domains(connection, after).await,
        Part::Aliases => aliases(connection, after).await,
        Part::Contents => contents(connection, after, octets).await,
        Part::Entries => entries(connection, after).await,
        Part::Moved => moved(connection, after).await,
        Part::Retrieved => retrieved(connection, after).await,
        Part::Items => items(connection, after).await,
        Part::Records => records(connection, after).await,
        Part::Collected => collected(connection, after).await,
        Part::Secrets => secrets(connection, after).await,
        Part::History | Part::Sources => Ok(Page::default()),
    }
}

/// Makes a page of rows from the database; `put` adds one, and returns the place behind it.
fn take(
    rows: &[Row],
    mut put: impl FnMut(&Row, &mut Rows) -> Result<Vec<u8>, StoreError>,
) -> Result<Page, DatabaseFault> {
    let mut page = Page::default();
    for row in rows {
        page.next = Some(put(row, &mut page.rows)?);
    }
    Ok(page)
}

/// Returns the number at the end of a place; `first` at the beginning.
fn number(after: Option<&[u8]>, first: i64) -> Result<i64, StoreError> {
    let Some(after) = after else { return Ok(first) };
    after.last_chunk().map(|it| i64::from_be_bytes(*it)).ok_or_else(|| damaged("a place"))
}

/// Returns the text of a place that has nothing else.
fn text(after: Option<&[u8]>) -> Result<String, StoreError> {
    String::from_utf8(after.unwrap_or_default().to_vec()).map_err(|_| damaged("a place"))
}

async fn accounts(
    connection: &Arc<Connection>,
    after: Option<&[u8]>,
) -> Result<Page, DatabaseFault> {
    let rows = connection.query(ACCOUNTS, &[&number(after, i64::MIN)?, &FEW]).await?;
    let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let mut of_accounts = HashMap::<i64, Vec<_>>::new();
    for row in connection.query(FOLDERS, &[&ids]).await? {
        of_accounts.entry(row.get(9)).or_default().push(folders::folder(&row)?);
    }
    take(&rows, |row, rows| {
        let id: i64 = row.get(0);
        let removed = row.get::<_, Option<i64>>(10).zip(row.get::<_, Option<i64>>(11));
        AccountRecord {
            account: directory::account(row, 0)?,
            removed: removed.map(|(removed, purge)| (time(removed), time(purge))),
            next_folder: folder(row.get(12)),
            uid_validity: row.get::<_, i64>(13) as u32,
            horizon: ModSeq(row.get::<_, i64>(14) as u64),
            folders: of_accounts.remove(&id).unwrap_or_default(),
        }
        .push(rows)?;
        Ok(id.to_be_bytes().to_vec())
    })
}

async fn domains(
    connection: &Arc<Connection>,
    after: Option<&[u8]>,
) -> Result<Page, DatabaseFault> {
    let rows = connection.query(DOMAINS, &[&text(after)?, &MANY]).await?;
    take(&rows, |row, rows| {
        let name: &str = row.get(0);
        push_domain(rows, name, row.get(1), row.get(2));
        Ok(name.as_bytes().to_vec())
    })
}

async fn aliases(
    connection: &Arc<Connection>,
    after: Option<&[u8]>,
) -> Result<Page, DatabaseFault> {
    let rows = connection.query(ALIASES, &[&text(after)?, &FEW]).await?;
    take(&rows, |row, rows| {
        let name: &str = row.get(0);
        push_alias(rows, name, &row.get::<_, Vec<String>>(1));
        Ok(name.as_bytes().to_vec())
    })
}

async fn contents(
    connection: &Arc<Connection>,
    after: Option<&[u8]>,
    octets: usize,
) -> Result<Page, DatabaseFault> {
    let octets = i64::try_from(octets).unwrap_or(i64::MAX);
    let params: Params<'_> = &[&after.unwrap_or_default(), &FEW, &octets];
    let rows = connection.query(CONTENTS, params).await?;
    take(&rows, |row, rows| {
        let id: &[u8] = row.get(0);
        let whole: Option<&[u8]> = row.get(2);
        ContentRecord {
            id: mail_id(id)?,
            refs: row.get::<_, i32>(1) as u32,
            pieces: row.get::<_, i64>(3) as u32,
            whole: whole.map(bytes::Bytes::copy_from_slice),
        }
        .push(rows);
        Ok(id.to_vec())
    })
}

/// The names behind which a page of entries begins, and what its place has in front of them.
struct Names(i64, i32, i64, i64);

impl Names {
    fn read(after: Option<&[u8]>) -> Result<Self, StoreError> {
        let Some(mut after) = after else { return Ok(Self(i64::MIN, 0, 0, i64::MIN)) };
        let mut next = || {
            let (field, rest) = after.split_first_chunk().ok_or_else(|| damaged("a place"))?;
            after = rest;
            Ok::<_, StoreError>(i64::from_be_bytes(*field))
        };
        let (account, folder, uid) = (next()?, next()? as i32, next()?);
        Ok(Self(account, folder, uid, next()?))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let Self(account, folder, uid, time) = *self;
        [account, folder.into(), uid, time].into_iter().flat_map(i64::to_be_bytes).collect()
    }

    fn of(&self) -> (AccountId, FolderId, posta_store::Uid) {
        (AccountId(self.0 as u64), folder(self.1), uid(self.2))
    }
}

async fn entries(
    connection: &Arc<Connection>,
    after: Option<&[u8]>,
) -> Result<Page, DatabaseFault> {
    let Names(account, folder, uid, _) = Names::read(after)?;
    let rows = connection.query(ENTRIES, &[&account, &folder, &uid, &MANY]).await?;
    take(&rows, |row, rows| {
        let names = Names(row.get(16), row.get(0), row.get(1), 0);
        let removed = row.get::<_, Option<i64>>(17).zip(row.get::<_, Option<i64>>(18));
        let mod_seq = ModSeq(row.get::<_, i64>(19) as u64);
        let gone = |(removed, purge)| Gone { time: time(removed), purge: time(purge), mod_seq };
        let (account, entry) = (names.of().0, columns::entry(row, 0)?);
        EntryRecord { account, entry, gone: removed.map(gone) }.push(rows)?;
        Ok(names.to_bytes())
    })
}

async fn moved(connection: &Arc<Connection>, after: Option<&[u8]>) -> Result<Page, DatabaseFault> {
    let Names(account, from, old, _) = Names::read(after)?;
    let rows = connection.query(MOVED, &[&account, &from, &old, &MANY]).await?;
    take(&rows, |row, rows| {
        let names = Names(row.get(0), row.get(1), row.get(2), 0);
        let (account, from, old) = names.of();
        let mod_seq = ModSeq(row.get::<_, i64>(3) as u64);
        let new = (folder(row.get(5)), uid(row.get(6)));
        let purge = time(row.get(4));
        MovedRecord { account, old: (from, old), mod_seq, purge, new }.push(rows);
        Ok(names.to_bytes())
    })
}

async fn retrieved(
    connection: &Arc<Connection>,
    after: Option<&[u8]>,
) -> Result<Page, DatabaseFault> {
    let Names(account, from, old, since) = Names::read(after)?;
    let params: Params<'_> = &[&account, &from, &old, &MANY, &since];
    let rows = connection.query(RETRIEVED, params).await?;
    take(&rows, |row, rows| {
        let names = Names(row.get(0), row.get(1), row.get(2), row.get(3));
        let (account, folder, uid) = names.of();
        push_retrieved(rows, account, folder, uid, time(names.3));
        Ok(names.to_bytes())
    })
}

async fn items(connection: &Arc<Connection>, after: Option<&[u8]>) -> Result<Page, DatabaseFault> {
    let (content, index) = match after {
        // Only the octets of an id and of an index.
        Some(after) => {
            let (content, index) =
                after.split_first_chunk::<12>().ok_or_else(|| damaged("a place"))?;
            let index = index.first_chunk().map(|it| i32::from_be_bytes(*it));
            (content.to_vec(), index.ok_or_else(|| damaged("a place"))?)
        }
        None => (Vec::new(), 0),
    };
    let rows = connection.query(ITEMS, &[&content, &index, &MANY]).await?;
    take(&rows, |row, rows| {
        let item = queue::item(row)?;
        let ItemId { content, index } = item.id;
        push_item(rows, item)?;
        Ok([&MailId::to_bytes(content)[..], &(index as i32).to_be_bytes()].concat())
    })
}

async fn records(
    connection: &Arc<Connection>,
    after: Option<&[u8]>,
) -> Result<Page, DatabaseFault> {
    let after = after.unwrap_or_default();
    let end = after.iter().position(|&octet| octet == 0).unwrap_or(after.len());
    let kind = text(Some(&after[..end]))?;
    let name = after.get(end + 1..).unwrap_or_default();
    let rows = connection.query(RECORDS, &[&kind, &name, &FEW]).await?;
    take(&rows, |row, rows| {
        let (kind, name): (&str, &[u8]) = (row.get(0), row.get(1));
        push_named(rows, kind.as_bytes(), name, row.get(2));
        Ok([kind.as_bytes(), &[0], name].concat())
    })
}

async fn collected(
    connection: &Arc<Connection>,
    after: Option<&[u8]>,
) -> Result<Page, DatabaseFault> {
    let (source, unique_id) = match after.and_then(<[u8]>::split_first_chunk) {
        Some((source, unique_id)) => (i64::from_be_bytes(*source), unique_id),
        None => (i64::MIN, &[][..]),
    };
    let rows = connection.query(COLLECTED, &[&source, &unique_id, &MANY]).await?;
    take(&rows, |row, rows| {
        let (source, unique_id): (i64, Vec<u8>) = (row.get(0), row.get(1));
        let place = [&source.to_be_bytes()[..], &unique_id].concat();
        let (source, time) = (SourceId(source as u64), time(row.get(2)));
        Collecting { source, unique_id, time }.push(rows);
        Ok(place)
    })
}

async fn secrets(
    connection: &Arc<Connection>,
    after: Option<&[u8]>,
) -> Result<Page, DatabaseFault> {
    let kind = after.and_then(<[u8]>::first_chunk).map_or(0, |kind| i32::from_be_bytes(*kind));
    let rows = connection.query(SECRETS, &[&kind, &number(after, i64::MIN)?, &MANY]).await?;
    take(&rows, |row, rows| {
        let (kind, id): (i32, i64) = (row.get(0), row.get(1));
        let number = id as u64;
        let of = match kind {
            1 => SecretOf::Source(SourceId(number)),
            2 => SecretOf::Apop(AccountId(number)),
            3 => SecretOf::Key(KeyId(number)),
            _ => return Err(damaged("a secret")),
        };
        push_secret(rows, of);
        Ok([&kind.to_be_bytes()[..], &id.to_be_bytes()].concat())
    })
}
