//! The contents. Their large pieces are in the object store, if there is one.

use super::PostgresStore;
use crate::{
    columns::id,
    connection::Connection,
    database::Durability,
    fault::DatabaseFault,
    node::Node,
    objects::{Object, SMALL},
};
use bytes::Bytes;
use posta_mail::MailId;
use posta_store::{Acceptance, CHUNK, Contents, Pending, PieceKey, StoreError};
use std::sync::Arc;

const BEGIN: &str = "INSERT INTO arriving (content) VALUES ($1) ON CONFLICT DO NOTHING";
const APPEND: &str = "INSERT INTO piece (content, index, octets, key, sha256) VALUES ($1, $2, $3, $4, $5) \
     ON CONFLICT DO NOTHING";
const DISCARD: &str = "WITH a AS (DELETE FROM arriving WHERE content = $1) \
     DELETE FROM piece p WHERE p.content = $1 AND NOT EXISTS (SELECT FROM content c WHERE c.id = $1)";
const FIND: &str = "SELECT octets, NULL, NULL FROM content WHERE id = $1 AND $2 = 0 AND octets IS NOT NULL \
     UNION ALL SELECT octets, key, sha256 FROM piece WHERE content = $1 AND index = $2";
/// Locks contents in the order of their ids, so that two transactions with the same ones wait for each other.
const LOCK: &str = "SELECT FROM content WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE";
const REFER: &str = "UPDATE content c SET refs = c.refs + n.refs FROM unnest($1::bytea[], $2::integer[]) AS n (id, refs) \
     WHERE c.id = n.id";
const DROP_UNUSED: &str = "WITH c AS (DELETE FROM content WHERE id = ANY ($1) AND refs <= 0 RETURNING id) \
     DELETE FROM piece p USING c WHERE p.content = c.id";

/// Changes the number of entries and items that refer to contents, each of which is named once. What nothing refers to
/// any more is removed.
pub(super) async fn refer(
    connection: &Arc<Connection>,
    contents: &[Vec<u8>],
    refs: &[i32],
) -> Result<(), DatabaseFault> {
    connection.query(LOCK, &[&contents]).await?;
    connection.execute(REFER, &[&contents, &refs]).await?;
    if refs.iter().any(|refs| *refs < 0) {
        connection.execute(DROP_UNUSED, &[&contents]).await?;
    }
    Ok(())
}

/// Puts the last piece of a message that is about to be accepted into the object store, if it is large.
pub(super) async fn put_last(
    node: &Node,
    acceptance: &Acceptance,
) -> Result<Option<Object>, StoreError> {
    let Some(objects) = &node.objects else { return Ok(None) };
    if !has_large_last(acceptance) {
        return Ok(None);
    }
    let octets = Bytes::from([above_last(acceptance), &acceptance.rest].concat());
    objects.put(acceptance.id, acceptance.chunks, octets).await.map(Some)
}

/// Returns whether the last piece of a message goes to the object store, where there is one.
pub(super) fn has_large_last(acceptance: &Acceptance) -> bool {
    above_last(acceptance).len() + acceptance.rest.len() > SMALL
}

/// Returns the part of the last piece that is the head.
fn above_last(acceptance: &Acceptance) -> &[u8] {
    if acceptance.layout().has_own_head() { &[] } else { &acceptance.head }
}

/// Where the octets of a piece are.
pub(super) enum PiecePlace {
    Row(Bytes),
    Object(Object),
}

/// Puts a piece of a content into its row, unless it has one.
pub(super) async fn put_piece(
    connection: &Arc<Connection>,
    piece: PieceKey,
    place: &PiecePlace,
) -> Result<(), DatabaseFault> {
    let (octets, object) = match place {
        PiecePlace::Row(octets) => (Some(&octets[..]), None),
        PiecePlace::Object(object) => (None, Some(object)),
    };
    let (key, sha256) = object.map(|it| (it.key.as_str(), &it.sha256[..])).unzip();
    let (content, index) = (id(piece.content), piece.index as i32);
    connection.execute(APPEND, &[&content, &index, &octets, &key, &sha256]).await.map(drop)
}

impl Contents for PostgresStore {
    fn append(&self, content: MailId, index: u32, chunk: &[u8]) -> Pending<'_, ()> {
        let chunk = Bytes::copy_from_slice(chunk);
        self.run(move |node| async move {
            // What is shorter is not a chunk of a message: it is read back soon.
            let object = match &node.objects {
                Some(objects) if chunk.len() == CHUNK => {
                    Some(objects.put(content, index, chunk.clone()).await?)
                }
                _ => None,
            };
            let place = Arc::new(object.map_or_else(|| PiecePlace::Row(chunk), PiecePlace::Object));
            let append = |connection: Arc<Connection>| {
                let place = place.clone();
                async move {
                    if index == 0 {
                        connection.execute(BEGIN, &[&id(content)]).await?;
                    }
                    put_piece(&connection, PieceKey { content, index }, &place).await
                }
            };
            node.database.change(Durability::Soon, append).await
        })
    }

    fn discard(&self, content: MailId) -> Pending<'_, ()> {
        let content = id(content);
        self.read(move |connection| {
            let content = content.clone();
            async move { connection.execute(DISCARD, &[&content]).await.map(drop) }
        })
    }

    fn chunk(&self, content: MailId, index: u32) -> Pending<'_, Option<Bytes>> {
        let (content, index) = (id(content), index as i32);
        self.run(move |node| async move {
            let find = |connection: Arc<Connection>| {
                let content = content.clone();
                async move {
                    let row = connection.row(FIND, &[&content, &index]).await?;
                    Ok(row.map(|row| match row.get::<_, Option<String>>(1) {
                        Some(key) => PiecePlace::Object(Object { key, sha256: row.get(2) }),
                        None => PiecePlace::Row(Bytes::from(row.get::<_, Vec<u8>>(0))),
                    }))
                }
            };
            match node.database.read(find).await? {
                None => Ok(None),
                Some(PiecePlace::Row(octets)) => Ok(Some(octets)),
                // No connection to the database is held meanwhile.
                Some(PiecePlace::Object(object)) => node.objects()?.get(&object).await.map(Some),
            }
        })
    }
}
