//! The heartbeat of this node: joining the others, telling them every few seconds that it lives, leaving.

use crate::{
    connection::Connection,
    database::Durability,
    fault::DatabaseFault,
    heart::{BeatAnswer, EVERY, dead, live, log_change},
    node::Node,
};
use posta_store::{StoreError, Subject};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// The time that a heartbeat may take.
const LONGEST: Duration = Duration::from_secs(5);

/// The time from a failed heartbeat to the next.
const AGAIN: Duration = Duration::from_millis(500);

/// The time that a node has to beat without a failure before it takes others for dead. After the database was away for
/// longer than a heartbeat lasts, every node looks dead to the first that comes back; the others need [`LONGEST`] and
/// [`AGAIN`] to be heard, and what they work on would be relayed a second time.
const STEADY: Duration = Duration::from_secs(10);

/// A heartbeat that a crash of the database forgets is no loss.
const SESSION: &str = "SET synchronous_commit TO off; SET statement_timeout TO 5000";

const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
/// Also tells whether this node was dead to the others until now.
const BEAT: &str = concat!(
    "UPDATE node SET beat = clock_timestamp(), sessions = $2, ahead = $3 \
     FROM (SELECT n.id, ",
    dead!(),
    " AS was_dead FROM node n WHERE n.id = $1 FOR UPDATE) AS before WHERE node.id = before.id \
     RETURNING draining, was_dead"
);
const JOIN: &str = "INSERT INTO node (id, name, version, sessions, ahead, draining) VALUES ($1, $2, $3, $4, $5, $6) \
     ON CONFLICT (id) DO NOTHING";
const COUNT: &str =
    concat!("SELECT count(*), count(*) FILTER (WHERE n.id < $1) FROM node n WHERE ", live!());
/// Frees what nodes that died, or are not even known, had claimed. What somebody else is about to take is passed over.
const FREE_OF_DEAD: &str = concat!(
    "WITH s AS (UPDATE source SET lease = NULL, holder = NULL \
         WHERE holder IS NOT NULL AND NOT EXISTS (SELECT FROM node n WHERE n.id = holder AND ",
    live!(),
    ")) UPDATE item i SET lease = NULL, holder = NULL, wake = i.due FROM ( \
         SELECT content, index FROM item \
         WHERE holder IS NOT NULL AND NOT EXISTS (SELECT FROM node n WHERE n.id = holder AND ",
    live!(),
    ") FOR UPDATE SKIP LOCKED \
     ) AS l WHERE i.content = l.content AND i.index = l.index"
);
/// Frees what a node had claimed, and its duties.
const FREE: &str = "WITH s AS (UPDATE source SET lease = NULL, holder = NULL WHERE holder = $1), \
     d AS (DELETE FROM duty WHERE node = $1) \
     UPDATE item SET lease = NULL, holder = NULL, wake = due WHERE holder = $1";
/// Frees what this node had claimed itself, since it was late. Nobody else is known to have taken it, and the database may
/// have been away for everybody: so items stay out of reach for ten seconds, in which the ends of attempts get through that
/// wait for the store. They carry the old token, which is good until somebody claims the item.
const FREE_OWN: &str = "WITH s AS (UPDATE source SET lease = NULL, holder = NULL WHERE holder = $1), \
     d AS (DELETE FROM duty WHERE node = $1) \
     UPDATE item SET lease = NULL, holder = NULL, \
         wake = greatest(due, ((extract(epoch FROM clock_timestamp()) + 10) * 1000000000)::bigint) WHERE holder = $1";
/// Forgets earlier runs of this node that died, and what has been dead for a day.
const FORGET_DEAD: &str = concat!(
    "DELETE FROM node n WHERE ",
    dead!(),
    " AND n.id <> $1 AND (n.name = $2 OR n.beat < clock_timestamp() - interval '1 day')"
);
const FORGET: &str = "DELETE FROM node WHERE id = $1";

/// The result of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beaten {
    Done,
    /// The answer came so late that the node has to begin anew.
    Late,
    /// The operator has removed this node.
    Removed,
}

/// Makes this process a node, if it is none.
pub(crate) async fn join(node: &Arc<Node>) -> Result<(), StoreError> {
    let mut beating = node.heart.beating.lock().await;
    if beating.is_some() {
        return Ok(());
    }
    // It may have left before.
    node.heart.begin();
    let mut pulse =
        Pulse { node: node.clone(), connection: None, forgotten: 0, steady_since: None };
    pulse.beat().await?;
    *beating = Some(tokio::spawn(pulse.run()));
    Ok(())
}

/// Returns whether this node may claim something. It joins first, if it has not.
pub(crate) async fn may_claim(node: &Arc<Node>) -> Result<bool, StoreError> {
    if !node.heart.has_joined() {
        join(node).await?;
    }
    Ok(node.heart.standing().takes_work())
}

/// Ends the heartbeat, and frees what this node had claimed.
pub(crate) async fn leave(node: &Arc<Node>) -> Result<(), StoreError> {
    let Some(beating) = node.heart.beating.lock().await.take() else { return Ok(()) };
    beating.abort();
    node.heart.stop();
    forget(node, &node.news.node).await
}

/// Forgets a node, and frees what it had claimed.
pub(crate) async fn forget(node: &Arc<Node>, id: &str) -> Result<(), StoreError> {
    let forgotten = node.database.change(Durability::Synced, |connection| {
        let id = id.to_owned();
        async move {
            connection.execute(FORGET, &[&id]).await?;
            connection.execute(FREE, &[&id]).await.map(drop)
        }
    });
    forgotten.await?;
    node.tell(&[Subject::Queue]);
    Ok(())
}

/// What beats, on a connection that nobody else has to wait for.
struct Pulse {
    node: Arc<Node>,
    connection: Option<Arc<Connection>>,
    /// How often the pool had given up its connections when this one was made: after that, the database may be another, and
    /// an old primary that does not know it goes on answering.
    forgotten: u64,
    /// When the first of the heartbeats was answered that have succeeded without a failure between them.
    steady_since: Option<Instant>,
}

impl Pulse {
    async fn run(mut self) {
        let mut is_missing = false;
        loop {
            let next = Instant::now() + EVERY;
            match self.beat().await {
                Ok(Beaten::Done) => {
                    is_missing = false;
                    sleep_until(next).await;
                }
                Ok(Beaten::Late) => {}
                Ok(Beaten::Removed) => {
                    tracing::warn!(
                        "this node was removed from the cluster, and takes no part until it is started again"
                    );
                    return;
                }
                Err(fault) => {
                    if !is_missing {
                        tracing::warn!("no heartbeat: {}", StoreError::from(fault));
                    }
                    is_missing = true;
                    sleep(AGAIN).await;
                }
            }
        }
    }

    /// Tells the database that this node lives.
    async fn beat(&mut self) -> Result<Beaten, DatabaseFault> {
        let beaten = timeout(LONGEST, self.exchange()).await.unwrap_or_else(|_| {
            let silent = format!("the database has not answered for {} s", LONGEST.as_secs());
            Err(DatabaseFault::Away(silent))
        });
        match beaten {
            Ok(Beaten::Done) => self.steady_since = self.steady_since.or(Some(Instant::now())),
            Ok(Beaten::Late | Beaten::Removed) => self.steady_since = None,
            Err(_) => (self.connection, self.steady_since) = (None, None),
        }
        beaten
    }

    async fn connection(&mut self) -> Result<Arc<Connection>, DatabaseFault> {
        let forgotten = self.node.database.pool().forgotten();
        let usable = |it: &&Arc<Connection>| !it.is_closed() && forgotten == self.forgotten;
        if let Some(connection) = self.connection.as_ref().filter(usable) {
            return Ok(connection.clone());
        }
        self.forgotten = forgotten;
        let connection = Connection::open(self.node.database.pool().settings(), |_| ()).await?;
        connection.run(SESSION).await?;
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    async fn exchange(&mut self) -> Result<Beaten, DatabaseFault> {
        let connection = self.connection().await?;
        let (heart, id) = (&self.node.heart, &self.node.news.node);
        let (sessions, clock_ahead) = self.measure(&connection).await?;
        let (standing, has_joined) = (heart.standing(), heart.has_joined());
        let sent = Instant::now();
        let known = connection.row(BEAT, &[id, &sessions, &clock_ahead]).await?;
        let was_dead = known.as_ref().is_none_or(|row| row.get(1));
        let is_draining = match &known {
            Some(row) => row.get(0),
            None if has_joined && standing.is_live && standing.is_draining => {
                heart.stop();
                return Ok(Beaten::Removed);
            }
            None => {
                let version = env!("CARGO_PKG_VERSION");
                let draining = standing.is_draining;
                let params = &[
                    id as _,
                    &heart.name as _,
                    &version as _,
                    &sessions as _,
                    &clock_ahead as _,
                    &draining as _,
                ];
                connection.execute(JOIN, params).await?;
                draining
            }
        };
        // Others may have taken what an unknown or a late node had claimed. It may have been late without knowing, if its
        // heartbeats went to a primary that was one no more.
        let begins_anew = has_joined && (was_dead || !standing.is_live);
        if begins_anew {
            connection.execute(FREE_OWN, &[id]).await?;
        }
        let counted = connection.row(COUNT, &[id]).await?;
        let (nodes, rank) = counted.map_or((1, 0), |row| (row.get(0), row.get(1)));
        let (nodes, rank) = (i64::unsigned_abs(nodes), i64::unsigned_abs(rank));
        let answer = BeatAnswer { sent, is_draining, nodes, rank, clock_ahead, begins_anew };
        let Some((before, now)) = heart.answered(answer) else { return Ok(Beaten::Late) };
        log_change(before, now);
        if has_joined && (before.takes_work(), before.term) != (now.takes_work(), now.term) {
            self.node.watchers.tell(Subject::Queue);
        }
        if !begins_anew && self.steady_since.is_some_and(|since| since.elapsed() >= STEADY) {
            self.bury(&connection).await?;
        }
        Ok(Beaten::Done)
    }

    /// Returns the number of sessions, and the milliseconds by which this machine's clock is ahead of the database's.
    async fn measure(&self, connection: &Connection) -> Result<(i64, Option<i64>), DatabaseFault> {
        let asked = Instant::now();
        let Some(vital) = self.node.heart.vital() else { return Ok((0, None)) };
        let row = connection.row(CLOCK, &[]).await?;
        let half = i64::try_from(asked.elapsed().as_millis() / 2).unwrap_or(i64::MAX);
        let ours = vital.time.as_millisecond().saturating_add(half);
        let ahead = row.map(|row| ours.saturating_sub(row.get(0)));
        Ok((i64::try_from(vital.sessions).unwrap_or(i64::MAX), ahead))
    }

    /// Frees what dead nodes had claimed, and forgets some of them.
    async fn bury(&self, connection: &Connection) -> Result<(), DatabaseFault> {
        let (id, name) = (&self.node.news.node, &self.node.heart.name);
        if connection.execute(FREE_OF_DEAD, &[]).await? > 0 {
            self.node.tell(&[Subject::Queue]);
        }
        connection.execute(FORGET_DEAD, &[id, name]).await.map(drop)
    }
}
