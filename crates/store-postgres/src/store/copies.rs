//! Copies of whole stores, from this one and into it (`posta_store::copies`).
//!
//! The table `copying` exists only while this store is being made of another: it has the name of that one and the place
//! behind the last page, which is written in the transaction of the page. Every other program refuses the store
//! meanwhile.

mod filling;
mod reading;

use super::{
    PostgresStore,
    contents::{self, PiecePlace},
};
use crate::{
    connection::Connection,
    database::Durability,
    fault::{DatabaseFault, damaged},
};
use bytes::Bytes;
use posta_mail::Secret;
use posta_store::{
    Pending, PieceKey, Rows, SecretOf, StoreError,
    copies::{Copies, CopyPlace, LastNumbers, Page, Part, history_page, sources_page},
};
use std::{collections::HashMap, sync::Arc};

const IS_COPYING: &str = "SELECT FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename = 'copying'";
const COPYING: &str = "SELECT source, place FROM copying";
const BEGIN: &str = "INSERT INTO copying (source, place) VALUES ($1, NULL)";
const IS_OCCUPIED: &str = "SELECT EXISTS (SELECT FROM account) OR EXISTS (SELECT FROM domain) OR EXISTS (SELECT FROM alias) \
     OR EXISTS (SELECT FROM content) OR EXISTS (SELECT FROM item) OR EXISTS (SELECT FROM event) \
     OR EXISTS (SELECT FROM record) OR EXISTS (SELECT FROM source) OR EXISTS (SELECT FROM secret)";
const COMPLETE: &str = "DROP TABLE copying";
/// All that a copy fills.
const EMPTY: &str = "TRUNCATE account, ledger, folder, domain, alias, content, piece, arriving, entry, moved, item, \
     event, record, source, collected, secret; UPDATE copying SET place = NULL";
const NUMBERS: &str = "SELECT \
     (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM account_id), \
     (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM source_id), \
     (SELECT coalesce(max(modseq), 0) FROM ledger), \
     (SELECT coalesce(sum(pg_table_size(name::regclass)), 0)::bigint FROM unnest(ARRAY['content', 'piece']) AS name)";

/// Returns the name of the store that is being copied into this one; none if this store is complete.
pub(crate) async fn copying_of(
    connection: &Arc<Connection>,
) -> Result<Option<String>, DatabaseFault> {
    if connection.row(IS_COPYING, &[]).await?.is_none() {
        return Ok(None);
    }
    Ok(connection.row(COPYING, &[]).await?.map(|row| row.get(0)))
}

impl Copies for PostgresStore {
    fn page(&self, part: Part, after: Option<Vec<u8>>, octets: usize) -> Pending<'_, Page> {
        match part {
            Part::History => return Box::pin(history_page(self, after)),
            Part::Sources => return Box::pin(sources_page(self)),
            _ => {}
        }
        self.read(move |connection| {
            let after = after.clone();
            async move { reading::page(&connection, part, after.as_deref(), octets).await }
        })
    }

    fn last_numbers(&self) -> Pending<'_, LastNumbers> {
        self.read(|connection| async move {
            let row = connection.row(NUMBERS, &[]).await?;
            let row = row.ok_or_else(|| damaged("the last numbers"))?;
            let number = |column: usize| row.get::<_, i64>(column) as u64;
            let (account, source) = (number(0), number(1));
            Ok(LastNumbers { account, source, mod_seq: number(2), octets: number(3) })
        })
    }

    fn begin_copy(&self, of: &str) -> Pending<'_, Option<CopyPlace>> {
        let of = of.to_owned();
        self.change(Vec::new(), move |connection| {
            let of = of.clone();
            async move { begin(&connection, &of).await }
        })
    }

    fn put_page(&self, part: Part, rows: Rows, behind: CopyPlace) -> Pending<'_, ()> {
        self.run(move |node| async move {
            // What a transaction names is there before it, as when mail arrives.
            let large = match part {
                Part::Contents => filling::put_large(&node, &rows).await?,
                _ => HashMap::new(),
            };
            let page = Arc::new((rows, large, behind.to_bytes()));
            let put = move |connection: Arc<Connection>| {
                let page = page.clone();
                async move { filling::put(&connection, part, &page.0, &page.1, &page.2).await }
            };
            node.database.change(Durability::Synced, put).await
        })
    }

    fn put_piece(&self, key: PieceKey, octets: Bytes) -> Pending<'_, ()> {
        self.run(move |node| async move {
            let object = filling::put_if_large(&node, key, &octets).await?;
            let piece =
                Arc::new(object.map_or_else(|| PiecePlace::Row(octets), PiecePlace::Object));
            // The page that refers to it is synced behind it.
            let put = |connection: Arc<Connection>| {
                let piece = piece.clone();
                async move { contents::put_piece(&connection, key, &piece).await }
            };
            node.database.change(Durability::Soon, put).await
        })
    }

    fn put_secret(&self, of: SecretOf, secret: Secret) -> Pending<'_, ()> {
        let (seals, secret) = (self.node.seals.clone(), Arc::new(secret));
        self.change(Vec::new(), move |connection| {
            let (seals, secret) = (seals.clone(), secret.clone());
            async move { seals.keep(&connection, of, Some(&secret)).await }
        })
    }

    fn end_copy(&self, numbers: LastNumbers) -> Pending<'_, ()> {
        self.change(Vec::new(), move |connection| async move {
            filling::end(&connection, numbers).await
        })
    }

    fn complete_copy(&self) -> Pending<'_, ()> {
        self.change(Vec::new(), |connection| async move { connection.run(COMPLETE).await })
    }
}

impl PostgresStore {
    /// Empties a store into which a copy was begun, so that the copy begins anew.
    ///
    /// # Errors
    /// [`StoreError::Occupied`] if no copy was begun.
    pub async fn empty_copy(&self) -> Result<(), StoreError> {
        let empty = self.change(Vec::new(), |connection| async move {
            if copying_of(&connection).await?.is_none() {
                return Err(StoreError::Occupied.into());
            }
            connection.run(EMPTY).await
        });
        empty.await
    }
}

async fn begin(connection: &Arc<Connection>, of: &str) -> Result<Option<CopyPlace>, DatabaseFault> {
    if connection.row(IS_COPYING, &[]).await?.is_some() {
        let row = connection.row(COPYING, &[]).await?;
        let row = row.ok_or_else(|| damaged("the place of a copy"))?;
        if row.get::<_, &str>(0) != of {
            return Err(StoreError::Occupied.into());
        }
        let place: Option<&[u8]> = row.get(1);
        return Ok(place.and_then(CopyPlace::from_bytes));
    }
    if connection.row(IS_OCCUPIED, &[]).await?.is_none_or(|row| row.get(0)) {
        return Err(StoreError::Occupied.into());
    }
    connection.run("CREATE TABLE copying (source text NOT NULL, place bytea)").await?;
    connection.execute(BEGIN, &[&of]).await?;
    Ok(None)
}
