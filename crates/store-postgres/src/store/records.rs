//! The server's own records, and secrets.

use super::{PostgresStore, directory::tell_directory};
use crate::{
    connection::{Connection, Params},
    database::Durability,
    fault::DatabaseFault,
    node::Node,
};
use posta_mail::Secret;
use posta_store::{Pending, Records, SecretOf, StoreError, Subject, check_name, is_of_directory};
use std::{
    future::{Future, ready},
    sync::Arc,
};
use tokio_postgres::Row;

const KEEP: &str = "INSERT INTO record (kind, name, record) VALUES ($1, $2, $3) \
     ON CONFLICT (kind, name) DO UPDATE SET record = excluded.record";
const KEEP_FIRST: &str =
    "INSERT INTO record (kind, name, record) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
const REMOVE: &str = "DELETE FROM record WHERE kind = $1 AND name = $2";
const READ_ALL: &str = "SELECT name, record FROM record WHERE kind = $1 ORDER BY name";
const READ_PAGE: &str = "SELECT name, record FROM record WHERE kind = $1 AND name >= $2 \
     AND ($3::bytea IS NULL OR name < $3) AND ($4::bytea IS NULL OR name > $4) ORDER BY name LIMIT $5";
const READ_ONE: &str = "SELECT record FROM record WHERE kind = $1 AND name = $2";
const LOCK_ONE: &str = "SELECT record FROM record WHERE kind = $1 AND name = $2 FOR UPDATE";

impl Records for PostgresStore {
    fn keep(&self, kind: &'static str, name: &str, record: Option<Vec<u8>>) -> Pending<'_, ()> {
        if let Err(error) = check_name(name) {
            return Box::pin(ready(Err(error)));
        }
        let name = name.as_bytes().to_vec();
        self.run(move |node| {
            change(node, kind, move |connection, _| {
                let (name, record) = (name.clone(), record.clone());
                async move { put(&connection, kind, &name, record).await }
            })
        })
    }

    fn kept(&self, kind: &'static str) -> Pending<'_, Vec<(String, Vec<u8>)>> {
        self.read(move |connection| async move {
            Ok(named(&connection.query(READ_ALL, &[&kind]).await?))
        })
    }

    fn kept_page(
        &self,
        kind: &'static str,
        prefix: &str,
        after: Option<&str>,
        most: usize,
    ) -> Pending<'_, Vec<(String, Vec<u8>)>> {
        let prefix = prefix.as_bytes().to_vec();
        let end = end_of(&prefix);
        let after = after.map(|after| after.as_bytes().to_vec());
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.read(move |connection| {
            let (prefix, end, after) = (prefix.clone(), end.clone(), after.clone());
            async move {
                let params: Params<'_> = &[&kind, &prefix, &end, &after, &most];
                Ok(named(&connection.query(READ_PAGE, params).await?))
            }
        })
    }

    fn kept_one(&self, kind: &'static str, name: &str) -> Pending<'_, Option<Vec<u8>>> {
        let name = name.as_bytes().to_vec();
        self.read(move |connection| {
            let name = name.clone();
            async move {
                Ok(connection.row(READ_ONE, &[&kind, &name]).await?.map(|row| row.get(0)))
            }
        })
    }

    fn keep_with_secrets(
        &self,
        kind: &'static str,
        name: &str,
        expected: Option<Vec<u8>>,
        record: Option<Vec<u8>>,
        secrets: Vec<(SecretOf, Option<Secret>)>,
    ) -> Pending<'_, Option<Vec<u8>>> {
        if let Err(error) = check_name(name) {
            return Box::pin(ready(Err(error)));
        }
        let name = name.as_bytes().to_vec();
        let secrets = Arc::new(secrets);
        self.run(move |node| {
            change(node, kind, move |connection, node| {
                let (name, expected, record) = (name.clone(), expected.clone(), record.clone());
                let secrets = secrets.clone();
                async move {
                    if let Some(other) =
                        other_than(&connection, kind, &name, &expected, &record).await?
                    {
                        return Ok(other);
                    }
                    for (of, secret) in &*secrets {
                        node.seals.keep(&connection, *of, secret.as_ref()).await?;
                    }
                    put(&connection, kind, &name, record.clone()).await?;
                    Ok(record)
                }
            })
        })
    }

    fn check_seals(&self) -> Pending<'_, ()> {
        self.run(|node| async move {
            let check = |connection| {
                let seals = node.seals.clone();
                async move { seals.check(&connection).await }
            };
            node.database.read(check).await
        })
    }

    fn secret(&self, of: SecretOf) -> Pending<'_, Option<Secret>> {
        self.run(move |node| async move {
            let read = |connection| {
                let seals = node.seals.clone();
                async move { seals.read(&connection, of).await }
            };
            node.database.read(read).await
        })
    }
}

/// Carries out a change of records of a kind, and tells of it if they are part of the directory.
async fn change<T, F>(
    node: Arc<Node>,
    kind: &'static str,
    work: impl Fn(Arc<Connection>, Arc<Node>) -> F + Send + Sync,
) -> Result<T, StoreError>
where
    T: Send,
    F: Future<Output = Result<T, DatabaseFault>> + Send,
{
    let changed = node.database.change(Durability::Synced, |connection| {
        let worked = work(connection.clone(), node.clone());
        let node = node.clone();
        async move {
            let worked = worked.await?;
            if is_of_directory(kind) {
                tell_directory(&connection, &node).await?;
            }
            Ok(worked)
        }
    });
    let changed = changed.await?;
    if is_of_directory(kind) {
        node.watchers.tell(Subject::Directory);
    }
    Ok(changed)
}

async fn put(
    connection: &Arc<Connection>,
    kind: &str,
    name: &[u8],
    record: Option<Vec<u8>>,
) -> Result<(), DatabaseFault> {
    match record {
        Some(record) => connection.execute(KEEP, &[&kind, &name, &record]).await?,
        None => connection.execute(REMOVE, &[&kind, &name]).await?,
    };
    Ok(())
}

/// Locks a record, and returns what is there if that is not as expected. Where no record is expected, the new one is
/// stored at once, since what does not exist cannot be locked.
async fn other_than(
    connection: &Arc<Connection>,
    kind: &str,
    name: &[u8],
    expected: &Option<Vec<u8>>,
    record: &Option<Vec<u8>>,
) -> Result<Option<Option<Vec<u8>>>, DatabaseFault> {
    if expected.is_none()
        && let Some(record) = record
    {
        let kept = connection.execute(KEEP_FIRST, &[&kind, &name, record]).await?;
        if kept == 1 {
            return Ok(None);
        }
    }
    let there = connection.row(LOCK_ONE, &[&kind, &name]).await?;
    let there: Option<Vec<u8>> = there.map(|row| row.get(0));
    Ok((there != *expected).then_some(there))
}

/// Returns what follows all names with a prefix; none if nothing does.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

fn named(rows: &[Row]) -> Vec<(String, Vec<u8>)> {
    let name = |row: &Row| String::from_utf8_lossy(row.get(0)).into_owned();
    rows.iter().map(|row| (name(row), row.get(1))).collect()
}
