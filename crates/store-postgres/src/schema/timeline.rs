//! What follows after a failover.
//!
//! A standby that is promoted may lack the last transactions of the server that died, if replication was not synchronous;
//! so may a backup that was restored. Clients have seen the names in these: UIDs, mod-sequences, fencing tokens. Each
//! history of a database has a timeline, which its tables remember (`meta.timeline`). When a connection finds another one,
//! all names jump in one transaction, once, so that none is given a second time.

use crate::{connection::Connection, fault::DatabaseFault};
use std::sync::Arc;
use tokio_postgres::error::SqlState;

/// The timeline of the server, and the one that the tables remember. The file of the log into which is written has the
/// timeline in its name from the moment of the promotion on; the control file only after a checkpoint.
const LOOK: &str = "SELECT s.system_identifier::text || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8), m.timeline \
     FROM meta m CROSS JOIN pg_control_system() s";
const LOCK: &str = "SELECT timeline FROM meta FOR UPDATE";
const REMEMBER: &str = "UPDATE meta SET timeline = $1";

/// All names jump by 1,000. Nobody knows which changes were lost, so clients that ask what changed before that get the whole
/// list, and so do the lists that nodes remember (`altered`). No node is to be taken for dead because its heartbeat was lost,
/// or the new server's clock shows another time.
const JUMP: &str = "
    UPDATE ledger SET modseq = modseq + 1000, horizon = modseq + 1000;
    UPDATE folder SET uid_next = uid_next + 1000, modseq = modseq + 1000, altered = modseq + 1000;
    SELECT setval('token', nextval('token') + 1000), setval('account_id', nextval('account_id') + 1000),
           setval('source_id', nextval('source_id') + 1000);
    UPDATE node SET beat = clock_timestamp()";

/// Looks whether the server's timeline is the one that the tables remember, and lets all names jump if it is not.
pub(crate) async fn follow(connection: &Arc<Connection>) -> Result<(), DatabaseFault> {
    let looked = match connection.row(LOOK, &[]).await {
        Err(DatabaseFault::Sql(error))
            if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) =>
        {
            tracing::warn!(
                "failovers go unnoticed: the database's user may call neither pg_control_system nor pg_walfile_name: {error}"
            );
            return Ok(());
        }
        looked => looked?,
    };
    let Some(row) = looked else { return Ok(()) };
    let (now, known): (String, Option<String>) = (row.get(0), row.get(1));
    if known.as_ref() == Some(&now) {
        return Ok(());
    }
    connection.run("BEGIN; SET LOCAL statement_timeout TO 0").await?;
    let followed = locked(connection, &now).await;
    connection.run(if followed.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
    followed
}

async fn locked(connection: &Arc<Connection>, now: &str) -> Result<(), DatabaseFault> {
    let known = connection.row(LOCK, &[]).await?.and_then(|row| row.get::<_, Option<String>>(0));
    if known.as_deref() == Some(now) {
        // Another connection was faster.
        return Ok(());
    }
    if let Some(known) = known {
        connection.run(JUMP).await?;
        tracing::warn!(
            timeline = now,
            before = known,
            "the timeline of the database has changed: a standby was promoted, or a backup restored. UIDs and \
             mod-sequences of all mailboxes jump by 1,000, so that none is given twice"
        );
    }
    connection.execute(REMEMBER, &[&now]).await.map(drop)
}
