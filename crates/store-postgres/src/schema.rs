//! The tables, and how those of an earlier format become those of this one.
//!
//! | format | since | what is new |
//! |--------|-------|-------------|
//! | 1      | the first version | – |
//! | 2      | the same          | nodes, duties, claims that belong to nodes; the timeline of the database |
//! | 3      | the same          | large pieces of contents in an object store |
//! | 4      | the same          | counts that nodes share; what became of a group of messages |
//!
//! The table `pause` of format 1 is not used any more (`remembered/pauses.rs`); the next format is to drop it.
//!
//! Each format has a file of statements that lead to it from the one before. They run in one transaction under a lock
//! that all nodes know, so nodes that start at the same moment migrate once. A program refuses a newer format.

pub(crate) mod timeline;

use crate::{connection::Connection, fault::DatabaseFault, settings::Settings};
use posta_store::StoreError;
use std::sync::Arc;

/// The statements that lead to each format, from 1.
const STEPS: [&str; 4] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
];

/// The functions of the newest format.
const FUNCTIONS: &str = include_str!("schema/functions.sql");

/// The newest format that this program knows.
pub(crate) const FORMAT: u32 = STEPS.len() as u32;

/// The lock under which nodes migrate. Any number that nobody else uses will do.
const LOCK: i64 = 0x706f_7374_6100_0001;

const IS_THERE: &str =
    "SELECT FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = 'meta'";

/// Makes the tables, or brings them to this program's format.
pub(crate) async fn migrate(
    connection: &Arc<Connection>,
    settings: &Settings,
) -> Result<(), DatabaseFault> {
    // What is ready needs no lock.
    if is_there(connection, settings).await? && format(connection).await? == FORMAT {
        return Ok(());
    }
    connection.run("BEGIN; SET LOCAL statement_timeout TO 0").await?;
    let migrated = locked(connection, settings).await;
    connection.run(if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
    migrated
}

async fn locked(connection: &Arc<Connection>, settings: &Settings) -> Result<(), DatabaseFault> {
    // Another node may take its time over a large store.
    connection.run_long(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
    let found = if is_there(connection, settings).await? {
        format(connection).await?
    } else {
        connection.run(&format!("CREATE SCHEMA IF NOT EXISTS {}", settings.schema())).await?;
        0
    };
    if found > FORMAT {
        return Err(StoreError::TooNew { found, known: FORMAT }.into());
    }
    for step in STEPS.iter().skip(found as usize) {
        connection.run_long(step).await?;
    }
    connection.run(FUNCTIONS).await?;
    connection.run(&format!("UPDATE meta SET format = {FORMAT}")).await
}

/// Returns whether there are tables. The catalogue is read as a table: `to_regclass` may answer from a cache that another
/// node's migration, for which this one just waited, has not reached.
async fn is_there(
    connection: &Arc<Connection>,
    settings: &Settings,
) -> Result<bool, DatabaseFault> {
    Ok(connection.row(IS_THERE, &[&settings.schema()]).await?.is_some())
}

async fn format(connection: &Arc<Connection>) -> Result<u32, DatabaseFault> {
    let row = connection.row("SELECT format FROM meta", &[]).await?;
    let row = row.ok_or_else(|| crate::fault::damaged("the format"))?;
    Ok(row.get::<_, i32>(0) as u32)
}
