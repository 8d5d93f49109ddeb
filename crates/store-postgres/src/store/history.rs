//! The history.

use super::PostgresStore;
use crate::{
    columns::{id, json, to_json},
    connection::Connection,
    database::Durability,
    fault::DatabaseFault,
};
use posta_mail::{MailId, Timestamp};
use posta_store::{Event, History, Pending, StoreError};
use std::sync::Arc;
use tokio_postgres::Row;

/// Adds events, in their order.
pub(super) const NOTE: &str = "INSERT INTO event (id, record) \
     SELECT e.id, e.record FROM unnest($1::bytea[], $2::text[]) WITH ORDINALITY AS e (id, record, place) ORDER BY e.place";
const OF_MESSAGE: &str = "SELECT record FROM event WHERE id = $1 ORDER BY seq";
/// The limit says which message is the last; all of its events come.
const BEFORE: &str = "SELECT record FROM event WHERE id < $1 AND id >= coalesce( \
     (SELECT id FROM event WHERE id < $1 ORDER BY id DESC OFFSET $2 LIMIT 1), '') \
     ORDER BY id DESC, seq";
const FORGET: &str = "DELETE FROM event WHERE (id, seq) IN \
     (SELECT id, seq FROM event WHERE id < $1 ORDER BY id, seq LIMIT 2000)";

/// Greater than every id.
const LAST: [u8; 13] = [0xFF; 13];

impl History for PostgresStore {
    fn note(&self, events: Vec<Event>) -> Pending<'_, ()> {
        self.run(move |node| async move {
            let (ids, records) = columns(&events)?;
            let note = |connection: Arc<Connection>| {
                let (ids, records) = (ids.clone(), records.clone());
                async move { connection.execute(NOTE, &[&ids, &records]).await.map(drop) }
            };
            node.database.change(Durability::Soon, note).await?;
            node.watchers.tell_events(events);
            Ok(())
        })
    }

    fn history(&self, message: MailId) -> Pending<'_, Vec<Event>> {
        let message = id(message);
        self.read(move |connection| {
            let message = message.clone();
            async move { events(&connection.query(OF_MESSAGE, &[&message]).await?) }
        })
    }

    fn events(&self, before: Option<MailId>, limit: usize) -> Pending<'_, Vec<Event>> {
        let before = before.map_or_else(|| LAST.to_vec(), id);
        let skipped = i64::try_from(limit.saturating_sub(1)).unwrap_or(i64::MAX);
        self.read(move |connection| {
            let before = before.clone();
            async move { events(&connection.query(BEFORE, &[&before, &skipped]).await?) }
        })
    }

    fn forget(&self, before: Timestamp) -> Pending<'_, usize> {
        let oldest = id(MailId::new(before, 0));
        self.change(Vec::new(), move |connection| {
            let oldest = oldest.clone();
            async move { Ok(connection.execute(FORGET, &[&oldest]).await? as usize) }
        })
    }
}

/// Returns events as the columns of [`NOTE`].
pub(super) fn columns(events: &[Event]) -> Result<(Vec<Vec<u8>>, Vec<String>), StoreError> {
    let records = events.iter().map(to_json).collect::<Result<_, _>>()?;
    Ok((events.iter().map(|event| id(event.id)).collect(), records))
}

fn events(rows: &[Row]) -> Result<Vec<Event>, DatabaseFault> {
    let event = |row: &Row| json(row.get(0), "an event").map_err(DatabaseFault::from);
    rows.iter().map(event).collect()
}
