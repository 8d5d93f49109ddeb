//! The sources, and what was collected from them.

use super::{PostgresStore, directory};
use crate::{
    background::heartbeat,
    columns::{json, nanos, time, to_json},
    connection::Connection,
    database::Durability,
    fault::DatabaseFault,
    heart::live,
    node::Node,
    seals::Seals,
};
use posta_mail::{Secret, Timestamp};
use posta_store::{
    ClaimedSource, Lease, Pending, SecretOf, Source, SourceId, Sources, StoreError, Token, Visit,
};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};
use tokio_postgres::Row;

const HAS_ACCOUNT: &str = "SELECT FROM ledger WHERE account = $1 AND NOT removed FOR SHARE";
const ADD: &str =
    "INSERT INTO source (id, account, record) VALUES (nextval('source_id'), $1, $2) RETURNING id";
const CHANGE: &str = "UPDATE source SET account = $2, record = $3 WHERE id = $1 RETURNING last";
const SET_DUE: &str = "UPDATE source SET due = $2 WHERE id = $1";
const ALL: &str = "SELECT s.id, s.record, s.last FROM source s ORDER BY s.id";
/// Claims sources, unless another node takes them at the same moment: those that are due, or one by its number. A lease
/// ends, as a time by the holder's clock, for the holder alone; what a dead node had claimed is freed with a heartbeat.
const CLAIM: &str = concat!(
    "WITH mine AS ( \
         SELECT s.id FROM source s JOIN account a ON a.id = s.account AND a.removed IS NULL \
         WHERE EXISTS (SELECT FROM node n WHERE n.id = $5 AND ",
    live!(),
    ") AND (s.lease IS NULL OR s.holder = $5 AND s.lease <= $1) AND \
             CASE WHEN $4::bigint IS NULL THEN s.due IS NULL OR s.due <= $1 ELSE s.id = $4 END \
         ORDER BY s.due NULLS FIRST, s.id LIMIT $3 FOR UPDATE OF s SKIP LOCKED \
     ) UPDATE source s SET lease = $2, holder = $5, token = nextval('token') FROM mine WHERE s.id = mine.id \
     RETURNING s.id, s.record, s.last, s.token, s.due, s.account"
);
const RENEW: &str = "UPDATE source SET lease = $3, holder = $4 WHERE id = $1 AND token = $2";
const VISITED: &str = "UPDATE source SET last = $3, due = $4, lease = NULL, holder = NULL, token = NULL \
     WHERE id = $1 AND token = $2";
const EVERY: &str =
    "SELECT s.id, s.record, s.last FROM source s WHERE s.id = $1 AND s.token = $2 FOR UPDATE";
const REMOVE: &str = "DELETE FROM source WHERE id = $1";
const FORGET_ALL: &str = "DELETE FROM collected WHERE source = $1";
const COLLECTED: &str = "SELECT unique_id, time FROM collected WHERE source = $1";
const HAS: &str = "SELECT unique_id FROM collected WHERE source = $1 AND unique_id = ANY ($2)";
const FORGET: &str = "DELETE FROM collected WHERE source = $1 AND unique_id = ANY ($2)";

impl Sources for PostgresStore {
    fn add_source(&self, source: Source, password: Secret) -> Pending<'_, SourceId> {
        let (seals, given) = (self.node.seals.clone(), Arc::new((source, password)));
        self.change(Vec::new(), move |connection| {
            let (seals, given) = (seals.clone(), given.clone());
            async move { add(&connection, &seals, &given.0, &given.1).await }
        })
    }

    fn change_source(&self, source: Source, password: Secret) -> Pending<'_, bool> {
        let (seals, given) = (self.node.seals.clone(), Arc::new((source, password)));
        self.change(Vec::new(), move |connection| {
            let (seals, given) = (seals.clone(), given.clone());
            async move { change(&connection, &seals, &given.0, &given.1).await }
        })
    }

    fn sources(&self) -> Pending<'_, Vec<Source>> {
        self.read(|connection| async move {
            connection.query(ALL, &[]).await?.iter().map(source).collect()
        })
    }

    fn claim_sources(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Pending<'_, Vec<ClaimedSource>> {
        self.run(move |node| async move { claim(&node, (now, until), limit, None).await })
    }

    fn claim_source(
        &self,
        source: SourceId,
        now: Timestamp,
        until: Timestamp,
    ) -> Pending<'_, Option<ClaimedSource>> {
        self.run(
            move |node| async move { Ok(claim(&node, (now, until), 1, Some(source)).await?.pop()) },
        )
    }

    fn renew_source(&self, source: SourceId, token: Token, until: Timestamp) -> Pending<'_, bool> {
        let (source, token, until) = (source.0 as i64, token.0 as i64, nanos(until));
        let holder = self.node.news.node.clone();
        self.read(move |connection| {
            let holder = holder.clone();
            async move {
                Ok(connection.execute(RENEW, &[&source, &token, &until, &holder]).await? == 1)
            }
        })
    }

    fn visited(&self, source: SourceId, token: Token, visit: Visit) -> Pending<'_, bool> {
        let visit = Arc::new(visit);
        self.change(Vec::new(), move |connection| {
            let visit = visit.clone();
            async move { visited(&connection, source, token, &visit).await }
        })
    }

    fn remove_source(&self, source: SourceId) -> Pending<'_, bool> {
        let seals = self.node.seals.clone();
        self.change(Vec::new(), move |connection| {
            let seals = seals.clone();
            async move { remove(&connection, &seals, source).await }
        })
    }

    fn collected(&self, source: SourceId) -> Pending<'_, BTreeMap<String, Timestamp>> {
        let source = source.0 as i64;
        self.read(move |connection| async move {
            let mut collected = BTreeMap::new();
            let take = |row: &Row| {
                collected.insert(unique_id(row), time(row.get(1)));
                Ok(())
            };
            connection.each(COLLECTED, &[&source], take).await?;
            Ok(collected)
        })
    }

    fn has_collected(&self, source: SourceId, unique_ids: Vec<String>) -> Pending<'_, Vec<bool>> {
        let source = source.0 as i64;
        let unique_ids: Arc<[String]> = unique_ids.into();
        self.read(move |connection| {
            let unique_ids = unique_ids.clone();
            async move {
                let rows = connection.query(HAS, &[&source, &octets(&unique_ids)]).await?;
                let known: HashSet<_> = rows.iter().map(unique_id).collect();
                Ok(unique_ids.iter().map(|unique_id| known.contains(unique_id)).collect())
            }
        })
    }

    fn forget_collected(&self, source: SourceId, unique_ids: Vec<String>) -> Pending<'_, ()> {
        let source = source.0 as i64;
        let unique_ids: Arc<[String]> = unique_ids.into();
        self.change(Vec::new(), move |connection| {
            let unique_ids = unique_ids.clone();
            async move {
                connection.execute(FORGET, &[&source, &octets(&unique_ids)]).await.map(drop)
            }
        })
    }
}

fn octets(unique_ids: &[String]) -> Vec<&[u8]> {
    unique_ids.iter().map(String::as_bytes).collect()
}

fn unique_id(row: &Row) -> String {
    String::from_utf8_lossy(row.get(0)).into_owned()
}

/// Reads a source from the columns id, record and last.
fn source(row: &Row) -> Result<Source, DatabaseFault> {
    let source: Source = json(row.get(1), "a source")?;
    let last: Option<&str> = row.get(2);
    let last = last.map(|last| json(last, "the visit of a source")).transpose()?;
    Ok(Source { id: SourceId(row.get::<_, i64>(0) as u64), last, ..source })
}

async fn add(
    connection: &Arc<Connection>,
    seals: &Seals,
    source: &Source,
    password: &Secret,
) -> Result<SourceId, DatabaseFault> {
    let account = source.account.0 as i64;
    let found = connection.row(HAS_ACCOUNT, &[&account]).await?;
    found.map(drop).ok_or(StoreError::NoSuchAccount)?;
    let row = connection.row(ADD, &[&account, &to_json(source)?]).await?;
    let row = row.ok_or_else(|| crate::fault::damaged("the number of a source"))?;
    let id = SourceId(row.get::<_, i64>(0) as u64);
    seals.keep(connection, SecretOf::Source(id), Some(password)).await?;
    Ok(id)
}

async fn change(
    connection: &Arc<Connection>,
    seals: &Seals,
    source: &Source,
    password: &Secret,
) -> Result<bool, DatabaseFault> {
    let (id, account) = (source.id.0 as i64, source.account.0 as i64);
    let row = connection.row(CHANGE, &[&id, &account, &to_json(source)?]).await?;
    let Some(row) = row else { return Ok(false) };
    let last: Option<&str> = row.get(0);
    let last = last.map(|last| json(last, "the visit of a source")).transpose()?;
    connection.execute(SET_DUE, &[&id, &due(&Source { last, ..source.clone() })]).await?;
    seals.keep(connection, SecretOf::Source(source.id), Some(password)).await?;
    Ok(true)
}

fn due(source: &Source) -> Option<i64> {
    source.next_visit().map(nanos)
}

async fn claim(
    node: &Arc<Node>,
    (now, until): (Timestamp, Timestamp),
    limit: usize,
    one: Option<SourceId>,
) -> Result<Vec<ClaimedSource>, StoreError> {
    if !heartbeat::may_claim(node).await? {
        return Ok(Vec::new());
    }
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let one = one.map(|one| one.0 as i64);
    let holder = Arc::<str>::from(&*node.news.node);
    let claim = move |connection| {
        let holder = holder.clone();
        async move { claim_in(&connection, (now, until), limit, one, &holder).await }
    };
    node.database.change(Durability::Synced, claim).await
}

async fn claim_in(
    connection: &Arc<Connection>,
    (now, until): (Timestamp, Timestamp),
    limit: i64,
    one: Option<i64>,
    holder: &str,
) -> Result<Vec<ClaimedSource>, DatabaseFault> {
    let (ours, theirs) = (nanos(now), nanos(until));
    let params = &[&ours as _, &theirs as _, &limit as _, &one as _, &holder as _];
    let rows = connection.query(CLAIM, params).await?;
    let mut claimed = Vec::new();
    for row in &rows {
        let source = source(row)?;
        let token = Token(row.get::<_, i64>(3) as u64);
        // The account was there when the source was claimed; if it is removed since, so is its mail.
        if let Some(account) = directory::account_by_id(connection, source.account).await? {
            claimed.push(ClaimedSource { source, account, lease: Lease { token, until } });
        }
    }
    claimed.sort_by_key(|claimed| (claimed.source.next_visit(), claimed.source.id));
    Ok(claimed)
}

async fn visited(
    connection: &Arc<Connection>,
    id: SourceId,
    token: Token,
    visit: &Visit,
) -> Result<bool, DatabaseFault> {
    let (id, token) = (id.0 as i64, token.0 as i64);
    let Some(row) = connection.row(EVERY, &[&id, &token]).await? else { return Ok(false) };
    let source = Source { last: Some(visit.clone()), ..source(&row)? };
    connection.execute(VISITED, &[&id, &token, &to_json(visit)?, &due(&source)]).await?;
    Ok(true)
}

/// Removes a source with its password and the list of what was collected from it. Returns whether there was one.
pub(super) async fn remove(
    connection: &Arc<Connection>,
    seals: &Seals,
    source: SourceId,
) -> Result<bool, DatabaseFault> {
    let id = source.0 as i64;
    connection.execute(FORGET_ALL, &[&id]).await?;
    seals.keep(connection, SecretOf::Source(source), None).await?;
    Ok(connection.execute(REMOVE, &[&id]).await? == 1)
}
