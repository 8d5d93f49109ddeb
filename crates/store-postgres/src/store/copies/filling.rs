//! Filling this store from pages of another. A page goes as arrays, one statement for each of the tables.

use crate::{
    accept::state,
    columns::{id, keywords, lane, nanos, to_json},
    connection::{Connection, Params},
    fault::{DatabaseFault, damaged},
    node::Node,
    objects::{Object, SMALL},
    store::{
        contents::{PiecePlace, put_piece},
        history,
    },
};
use bytes::Bytes;
use posta_mail::MailId;
use posta_store::{
    AliasName, PieceKey, Role, Rows, StoreError,
    copies::{
        AccountRecord, Collecting, ContentRecord, EntryRecord, Gone, LastNumbers, MovedRecord,
        Part, decode_alias, decode_domain, decode_events, decode_item, decode_named,
        decode_retrieved, decode_source,
    },
};
use std::{collections::HashMap, sync::Arc};

const NOTE_PLACE: &str = "UPDATE copying SET place = $1";
const ACCOUNTS: &str = "INSERT INTO account (id, address, local_part, domain, password_hash, scram, quota, send_as, \
         forwards, disabled, marks_junk, send_only, removed, purge) \
     SELECT a.id, a.address, a.local_part, a.domain, a.password_hash, a.scram, a.quota, \
         CASE a.send_as WHEN '' THEN '{}' ELSE string_to_array(a.send_as, E'\\n') END, \
         a.forwards, a.disabled, a.marks_junk, a.send_only, a.removed, a.purge \
     FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], \
                 $9::boolean[], $10::boolean[], $11::boolean[], $12::boolean[], $13::bigint[], $14::bigint[]) \
         AS a (id, address, local_part, domain, password_hash, scram, quota, send_as, forwards, disabled, marks_junk, \
               send_only, removed, purge)";
const LEDGERS: &str = "INSERT INTO ledger (account, removed, next_folder, uid_validity, horizon) \
     SELECT * FROM unnest($1::bigint[], $2::boolean[], $3::integer[], $4::bigint[], $5::bigint[])";
/// What a node knows of a list is compared with `altered`; nobody knows this one yet.
const FOLDERS: &str = "INSERT INTO folder (account, id, name, role, uid_validity, uid_next, modseq, altered, messages, \
         octets, unseen) \
     SELECT f.account, f.id, f.name, f.role, f.uid_validity, f.uid_next, f.modseq, f.modseq, f.messages, f.octets, \
         f.unseen \
     FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], \
                 $8::bigint[], $9::bigint[], $10::bigint[]) \
         AS f (account, id, name, role, uid_validity, uid_next, modseq, messages, octets, unseen)";
const DOMAINS: &str = "INSERT INTO domain (name, added, stands_for) \
     SELECT * FROM unnest($1::text[], $2::boolean[], $3::text[])";
const ALIASES: &str = "INSERT INTO alias (name, domain, targets) \
     SELECT a.name, a.domain, string_to_array(a.targets, E'\\n') \
     FROM unnest($1::text[], $2::text[], $3::text[]) AS a (name, domain, targets)";
const CONTENTS: &str = "INSERT INTO content (id, refs, octets) \
     SELECT * FROM unnest($1::bytea[], $2::integer[], $3::bytea[])";
const ENTRIES: &str = "INSERT INTO entry (account, folder, uid, content, thread, octets, added, head, time, flags, \
         keywords, created, modseq, number, imported, shared, prefix, removed, purge, gone) \
     SELECT * FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bigint[], \
         $7::bigint[], $8::integer[], $9::bigint[], $10::integer[], $11::text[], $12::bigint[], $13::bigint[], \
         $14::bigint[], $15::text[], $16::boolean[], $17::bytea[], $18::bigint[], $19::bigint[], $20::bigint[])";
const MOVED: &str = "INSERT INTO moved (account, folder, uid, modseq, purge, to_folder, to_uid) \
     SELECT * FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::integer[], \
         $7::bigint[])";
const RETRIEVED: &str = "UPDATE entry e SET retrieved = r.time \
     FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[]) AS r (account, folder, uid, time) \
     WHERE e.account = r.account AND e.folder = r.folder AND e.uid = r.uid";
const ITEMS: &str = "INSERT INTO item (content, index, record, destination, priority, due, state, wake) \
     SELECT i.content, i.index, i.record, i.destination, i.priority, i.due, i.state, i.due \
     FROM unnest($1::bytea[], $2::integer[], $3::text[], $4::text[], $5::integer[], $6::bigint[], $7::integer[]) \
         AS i (content, index, record, destination, priority, due, state)";
const RECORDS: &str = "INSERT INTO record (kind, name, record) \
     SELECT * FROM unnest($1::text[], $2::bytea[], $3::bytea[])";
const SOURCES: &str = "INSERT INTO source (id, account, record, last, due) \
     SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[])";
const COLLECTED: &str = "INSERT INTO collected (source, unique_id, time) \
     SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[])";
const LAST_ACCOUNT: &str = "SELECT setval('account_id', greatest($1::bigint, 1), $1::bigint > 0)";
const LAST_SOURCE: &str = "SELECT setval('source_id', greatest($1::bigint, 1), $1::bigint > 0)";
const ANALYZE: &str = "ANALYZE account, ledger, folder, domain, alias, content, piece, entry, moved, item, event, record, \
     source, collected, secret";
const LAST_MOD_SEQ: &str = "UPDATE ledger SET modseq = greatest(modseq, $1)";

/// Puts a page, and notes the place behind it. The `large` ones of its contents are in the object store.
pub(super) async fn put(
    connection: &Arc<Connection>,
    part: Part,
    rows: &Rows,
    large: &HashMap<MailId, Object>,
    behind: &[u8],
) -> Result<(), DatabaseFault> {
    match part {
        Part::Accounts => accounts(connection, rows).await?,
        Part::Domains => domains(connection, rows).await?,
        Part::Aliases => aliases(connection, rows).await?,
        Part::Contents => contents(connection, rows, large).await?,
        Part::Entries => entries(connection, rows).await?,
        Part::Moved => moved(connection, rows).await?,
        Part::Retrieved => retrieved(connection, rows).await?,
        Part::Items => items(connection, rows).await?,
        Part::History => histories(connection, rows).await?,
        Part::Records => records(connection, rows).await?,
        Part::Sources => sources(connection, rows).await?,
        Part::Collected => collected(connection, rows).await?,
        Part::Secrets => {}
    }
    connection.execute(NOTE_PLACE, &[&behind]).await.map(drop)
}

/// Reads all rows of a page.
fn all<T>(
    rows: &Rows,
    read: impl Fn(&[u8], &[u8]) -> Result<T, StoreError>,
) -> Result<Vec<T>, DatabaseFault> {
    rows.iter().map(|(key, value)| read(key, value).map_err(DatabaseFault::from)).collect()
}

/// Returns a column of records.
fn column<'a, R, T>(records: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    records.iter().map(of).collect()
}

async fn accounts(connection: &Arc<Connection>, rows: &Rows) -> Result<(), DatabaseFault> {
    let all = all(rows, AccountRecord::decode)?;
    let ids = column(&all, |it| it.account.id.0 as i64);
    let send_as = |it: &AccountRecord| {
        it.account.send_as.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let params: Params<'_> = &[
        &ids,
        &column(&all, |it| it.account.address.as_str()),
        &column(&all, |it| it.account.address.local_part()),
        &column(&all, |it| it.account.address.domain()),
        &column(&all, |it| it.account.credentials.password_hash.as_str()),
        &column(&all, |it| it.account.credentials.scram.as_deref()),
        &column(&all, |it| it.account.quota.map(|quota| quota as i64)),
        &column(&all, send_as),
        &column(&all, |it| it.account.forwards),
        &column(&all, |it| it.account.disabled),
        &column(&all, |it| it.account.marks_junk),
        &column(&all, |it| it.account.send_only),
        &column(&all, |it| it.removed.map(|(time, _)| nanos(time))),
        &column(&all, |it| it.removed.map(|(_, purge)| nanos(purge))),
    ];
    connection.execute(ACCOUNTS, params).await?;
    let params: Params<'_> = &[
        &ids,
        &column(&all, |it| it.removed.is_some()),
        &column(&all, |it| it.next_folder.0 as i32),
        &column(&all, |it| i64::from(it.uid_validity)),
        &column(&all, |it| it.horizon.0 as i64),
    ];
    connection.execute(LEDGERS, params).await?;
    folders(connection, &all).await
}

async fn folders(
    connection: &Arc<Connection>,
    accounts: &[AccountRecord],
) -> Result<(), DatabaseFault> {
    let of_account = |it: &AccountRecord| {
        let id = it.account.id.0 as i64;
        it.folders.iter().cloned().map(move |folder| (id, folder)).collect::<Vec<_>>()
    };
    let all: Vec<_> = accounts.iter().flat_map(of_account).collect();
    let params: Params<'_> = &[
        &column(&all, |(account, _)| *account),
        &column(&all, |(_, it)| it.id.0 as i32),
        &column(&all, |(_, it)| it.name.as_str()),
        &column(&all, |(_, it)| it.role.map(Role::name)),
        &column(&all, |(_, it)| i64::from(it.uid_validity)),
        &column(&all, |(_, it)| i64::from(it.uid_next.0)),
        &column(&all, |(_, it)| it.mod_seq.0 as i64),
        &column(&all, |(_, it)| it.messages as i64),
        &column(&all, |(_, it)| it.octets as i64),
        &column(&all, |(_, it)| it.unseen as i64),
    ];
    connection.execute(FOLDERS, params).await.map(drop)
}

async fn domains(connection: &Arc<Connection>, rows: &Rows) -> Result<(), DatabaseFault> {
    let all = all(rows, decode_domain)?;
    let params: Params<'_> = &[
        &column(&all, |(name, ..)| name.as_str()),
        &column(&all, |(_, added, _)| *added),
        &column(&all, |(.., stands_for)| stands_for.as_deref()),
    ];
    connection.execute(DOMAINS, params).await.map(drop)
}

async fn aliases(connection: &Arc<Connection>, rows: &Rows) -> Result<(), DatabaseFault> {
    let all = all(rows, |key, value| {
        let (name, targets) = decode_alias(key, value)?;
        let parsed: AliasName = name.parse().map_err(|_| damaged("an alias's name"))?;
        Ok((parsed.domain().to_owned(), name, targets.join("\n")))
    })?;
    let params: Params<'_> = &[
        &column(&all, |(_, name, _)| name.as_str()),
        &column(&all, |(domain, ..)| domain.as_str()),
        &column(&all, |(.., targets)| targets.as_str()),
    ];
    connection.execute(ALIASES, params).await.map(drop)
}

/// Puts a piece into the object store, if there is one and the piece is large.
pub(super) async fn put_if_large(
    node: &Node,
    key: PieceKey,
    octets: &Bytes,
) -> Result<Option<Object>, StoreError> {
    match &node.objects {
        Some(objects) if octets.len() > SMALL => {
            objects.put(key.content, key.index, octets.clone()).await.map(Some)
        }
        _ => Ok(None),
    }
}

/// Puts the large ones of a page's contents into the object store, if there is one. Returns them by their ids.
pub(super) async fn put_large(
    node: &Node,
    rows: &Rows,
) -> Result<HashMap<MailId, Object>, StoreError> {
    let mut large = HashMap::new();
    for (key, value) in rows.iter() {
        let record = ContentRecord::decode(key, value)?;
        let Some(octets) = &record.whole else { continue };
        let piece = PieceKey { content: record.id, index: 0 };
        if let Some(object) = put_if_large(node, piece, octets).await? {
            large.insert(record.id, object);
        }
    }
    Ok(large)
}

async fn contents(
    connection: &Arc<Connection>,
    rows: &Rows,
    large: &HashMap<MailId, Object>,
) -> Result<(), DatabaseFault> {
    let all = all(rows, ContentRecord::decode)?;
    let params: Params<'_> = &[
        &column(&all, |it| id(it.id)),
        &column(&all, |it| it.refs as i32),
        &column(&all, |it| it.whole.as_deref().filter(|_| !large.contains_key(&it.id))),
    ];
    connection.execute(CONTENTS, params).await?;
    for (&content, object) in large {
        let piece = PieceKey { content, index: 0 };
        put_piece(connection, piece, &PiecePlace::Object(object.clone())).await?;
    }
    Ok(())
}

async fn entries(connection: &Arc<Connection>, rows: &Rows) -> Result<(), DatabaseFault> {
    let all = all(rows, EntryRecord::decode)?;
    let gone = |of: fn(&Gone) -> i64| column(&all, |it| it.gone.as_ref().map(of));
    let params: Params<'_> = &[
        &column(&all, |it| it.account.0 as i64),
        &column(&all, |it| it.entry.folder.0 as i32),
        &column(&all, |it| i64::from(it.entry.uid.0)),
        &column(&all, |it| id(it.entry.content)),
        &column(&all, |it| it.entry.thread.0 as i64),
        &column(&all, |it| it.entry.octets as i64),
        &column(&all, |it| it.entry.added as i64),
        &column(&all, |it| it.entry.head as i32),
        &column(&all, |it| nanos(it.entry.time)),
        &column(&all, |it| it.entry.flags.0 as i32),
        &column(&all, |it| keywords(&it.entry.keywords)),
        &column(&all, |it| it.entry.created.0 as i64),
        &column(&all, |it| it.entry.mod_seq.0 as i64),
        &column(&all, |it| it.entry.unique_id.number as i64),
        &column(&all, |it| it.entry.unique_id.imported.as_deref()),
        &column(&all, |it| it.entry.shared),
        &column(&all, |it| it.entry.prefix.as_slice()),
        &gone(|it| nanos(it.time)),
        &gone(|it| nanos(it.purge)),
        &gone(|it| it.mod_seq.0 as i64),
    ];
    connection.execute(ENTRIES, params).await.map(drop)
}

async fn moved(connection: &Arc<Connection>, rows: &Rows) -> Result<(), DatabaseFault> {
    let all = all(rows, MovedRecord::decode)?;
    let params: Params<'_> = &[
        &column(&all, |it| it.account.0 as i64),
        &column(&all, |it| it.old.0.0 as i32),
        &column(&all, |it| i64::from(it.old.1.0)),
        &column(&all, |it| it.mod_seq.0 as i64),
        &column(&all, |it| nanos(it.purge)),
        &column(&all, |it| it.new.0.0 as i32),
        &column(&all, |it| i64::from(it.new.1.0)),
    ];
    connection.execute(MOVED, params).await.map(drop)
}

async fn retrieved(connection: &Arc<Connection>, rows: &Rows) -> Result<(), DatabaseFault> {
    let all = all(rows, decode_retrieved)?;
    let params: Params<'_> = &[
        &column(&all, |(account, ..)| account.0 as i64),
        &column(&all, |(_, folder, ..)| folder.0 as i32),
        &column(&all, |(_, _, uid, _)| i64::from(uid.0)),
        &column(&all, |(.., time)| nanos(*time)),
    ];
    connection.execute(RETRIEVED, params).await.map(drop)
}

async fn items(connection: &Arc<Connection>, rows: &Rows) -> Result<(), DatabaseFault> {
    let all = all(rows, |_, value| {
        let item = decode_item(value)?;
        Ok((to_json(&item)?, item))
    })?;
    let params: Params<'_> = &[
        &column(&all, |(_, it)| id(it.id.content)),
        &column(&all, |(_, it)| it.id.index as i32),
        &column(&all, |(record, _)| record.as_str()),
        &column(&all, |(_, it)| lane(&it.destination)),
        &column(&all, |(_, it)| i32::from(it.envelope.priority)),
        &column(&all, |(_, it)| nanos(it.due)),
        &column(&all, |(_, it)| state(it.state)),
    ];
    connection.execute(ITEMS, params).await.map(drop)
}

async fn histories(connection: &Arc<Connection>, rows: &Rows) -> Result<(), DatabaseFault> {
    let all = all(rows, |_, value| decode_events(value))?;
    let (ids, records) = history::columns(&all.concat())?;
    connection.execute(history::NOTE, &[&ids, &records]).await.map(drop)
}

async fn records(connection: &Arc<Connection>, rows: &Rows) -> Result<(), DatabaseFault> {
    let all = all(rows, |key, value| Ok((decode_named(key)?, value.to_vec())))?;
    let params: Params<'_> = &[
        &column(&all, |((kind, _), _)| kind.as_str()),
        &column(&all, |((_, name), _)| name.as_slice()),
        &column(&all, |(_, record)| record.as_slice()),
    ];
    connection.execute(RECORDS, params).await.map(drop)
}

async fn sources(connection: &Arc<Connection>, rows: &Rows) -> Result<(), DatabaseFault> {
    let all = all(rows, |key, value| {
        let source = decode_source(key, value)?;
        let last = source.last.as_ref().map(to_json).transpose()?;
        Ok((to_json(&source)?, last, source))
    })?;
    let params: Params<'_> = &[
        &column(&all, |(.., it)| it.id.0 as i64),
        &column(&all, |(.., it)| it.account.0 as i64),
        &column(&all, |(record, ..)| record.as_str()),
        &column(&all, |(_, last, _)| last.as_deref()),
        &column(&all, |(.., it)| it.next_visit().map(nanos)),
    ];
    connection.execute(SOURCES, params).await.map(drop)
}

async fn collected(connection: &Arc<Connection>, rows: &Rows) -> Result<(), DatabaseFault> {
    let all = all(rows, Collecting::decode)?;
    let params: Params<'_> = &[
        &column(&all, |it| it.source.0 as i64),
        &column(&all, |it| it.unique_id.as_slice()),
        &column(&all, |it| nanos(it.time)),
    ];
    connection.execute(COLLECTED, params).await.map(drop)
}

/// Ends a copy: numbers go on behind those of the other store.
pub(super) async fn end(
    connection: &Arc<Connection>,
    numbers: LastNumbers,
) -> Result<(), DatabaseFault> {
    connection.query(LAST_ACCOUNT, &[&(numbers.account as i64)]).await?;
    connection.query(LAST_SOURCE, &[&(numbers.source as i64)]).await?;
    connection.execute(LAST_MOD_SEQ, &[&(numbers.mod_seq as i64)]).await?;
    // The planner knows nothing of what was put in yet.
    connection.run(ANALYZE).await
}
