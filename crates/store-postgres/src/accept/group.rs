//! A group of messages as the arrays that the database's function `accept` takes.

use crate::{
    columns::{id, keywords, lane, nanos, to_json},
    connection::Connection,
    fault::DatabaseFault,
    node::Node,
    objects::Object,
    remembered::ModSeqs,
};
use posta_mail::Timestamp;
use posta_store::{Acceptance, Delivery, HEAD, Item, ItemState, Layout, StoreError};
use std::sync::Arc;
use tokio_postgres::Row;

const ACCEPT: &str = "SELECT number, outcome, highest FROM accept(\
     $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, \
     $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43)";

const DELIVER: &str = "SELECT deliver($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

/// The messages, with the reports that they cause, in columns.
#[derive(Debug, Default)]
pub(crate) struct Group {
    messages: Messages,
    chunks: Chunks,
    /// The message of each delivery.
    delivered: Vec<i32>,
    deliveries: Deliveries,
    items: Items,
    events: Events,
    records: Records,
}

#[derive(Debug, Default)]
struct Messages {
    /// The number of the message that is accepted or not with this one.
    root: Vec<i32>,
    id: Vec<Vec<u8>>,
    octets: Vec<Option<Vec<u8>>>,
    refs: Vec<i32>,
    source: Vec<Option<i64>>,
    unique_id: Vec<Option<Vec<u8>>>,
    time: Vec<i64>,
    /// The number of chunks that must have been stored before.
    chunks: Vec<i32>,
}

/// Pieces, each with its octets or with the object that has them.
#[derive(Debug, Default)]
struct Chunks {
    message: Vec<i32>,
    index: Vec<i32>,
    octets: Vec<Option<Vec<u8>>>,
    key: Vec<Option<String>>,
    sha256: Vec<Option<Vec<u8>>>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AcceptOutcome {
    /// It is accepted, or was before.
    Accepted,
    /// An account is missing.
    NoSuchAccount,
    /// A chunk is missing: the database crashed after it was stored, before that was durable.
    Incomplete,
}

impl AcceptOutcome {
    const fn of(number: i32) -> Self {
        match number {
            0 => Self::Accepted,
            1 => Self::NoSuchAccount,
            _ => Self::Incomplete,
        }
    }

    /// Returns the answer to whoever brought the message.
    pub(crate) fn result(self) -> Result<(), StoreError> {
        match self {
            Self::Accepted => Ok(()),
            Self::NoSuchAccount => Err(StoreError::NoSuchAccount),
            Self::Incomplete => {
                let words =
                    "the database restarted while the message arrived, and lost a part of it";
                Err(StoreError::Failed(words.to_owned()))
            }
        }
    }
}

/// Deliveries into folders.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    account: Vec<i64>,
    folder: Vec<i32>,
    thread: Vec<i64>,
    octets: Vec<i64>,
    added: Vec<i64>,
    head: Vec<i32>,
    time: Vec<i64>,
    flags: Vec<i32>,
    keywords: Vec<String>,
    imported: Vec<Option<String>>,
    shared: Vec<bool>,
    prefix: Vec<Vec<u8>>,
    mod_seq: Vec<i64>,
}

#[derive(Debug, Default)]
struct Items {
    /// How far this node's clock is ahead of the database's.
    ahead: i64,
    message: Vec<i32>,
    index: Vec<i32>,
    record: Vec<String>,
    destination: Vec<String>,
    priority: Vec<i32>,
    due: Vec<i64>,
    state: Vec<i32>,
}

#[derive(Debug, Default)]
struct Events {
    message: Vec<i32>,
    id: Vec<Vec<u8>>,
    record: Vec<String>,
}

#[derive(Debug, Default)]
struct Records {
    message: Vec<i32>,
    kind: Vec<String>,
    name: Vec<Vec<u8>>,
    record: Vec<Vec<u8>>,
}

/// The time for which a group waits for a mailbox that another transaction changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockWait {
    /// A moment: the other messages of the group must not wait for one that removes a million messages.
    Short,
    /// As long as a statement may take.
    Long,
}

impl LockWait {
    const fn setting(self) -> &'static str {
        match self {
            Self::Short => "200ms",
            Self::Long => "0",
        }
    }
}

/// What the deliveries of one message have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Common {
    pub(crate) layout: Layout,
    pub(crate) added: u64,
    pub(crate) thread: u64,
    pub(crate) time: Timestamp,
    pub(crate) shared: bool,
}

impl Deliveries {
    /// Adds a delivery.
    pub(crate) fn push(&mut self, delivery: &Delivery, common: Common, mod_seq: i64) {
        let Common { layout, added, thread, time, shared } = common;
        self.account.push(delivery.account.0 as i64);
        self.folder.push(delivery.folder.0 as i32);
        self.thread.push(thread as i64);
        self.octets.push((layout.octets() + added + delivery.prefix.len() as u64) as i64);
        self.added.push(added as i64);
        self.head.push(layout.head() as i32);
        self.time.push(nanos(delivery.date.unwrap_or(time)));
        self.flags.push(delivery.flags.0 as i32);
        self.keywords.push(keywords(&delivery.keywords));
        self.imported.push(delivery.unique_id.clone());
        self.shared.push(shared);
        self.prefix.push(delivery.prefix.clone());
        self.mod_seq.push(mod_seq);
    }

    /// Puts messages with the same content into folders, whose accounts' ledgers are locked. Returns the greatest
    /// mod-sequence used.
    pub(crate) async fn deliver(
        &self,
        connection: &Arc<Connection>,
        content: Vec<u8>,
    ) -> Result<i64, DatabaseFault> {
        let content = vec![content; self.account.len()];
        let row = connection
            .row(
                DELIVER,
                &[
                    &self.account,
                    &self.folder,
                    &content,
                    &self.thread,
                    &self.octets,
                    &self.added,
                    &self.head,
                    &self.time,
                    &self.flags,
                    &self.keywords,
                    &self.imported,
                    &self.shared,
                    &self.prefix,
                    &self.mod_seq,
                ],
            )
            .await?;
        Ok(row.map_or(0, |row| row.get(0)))
    }
}

impl Group {
    /// Makes a group of messages, each with its last piece if that is in the object store, and draws mod-sequences for
    /// their deliveries.
    pub(crate) fn new(
        node: &Node,
        messages: &[(&Acceptance, Option<&Object>)],
    ) -> Result<Self, StoreError> {
        let mut group = Self::default();
        group.items.ahead = node.heart.ahead();
        for (message, last) in messages {
            let root = group.messages.id.len() as i32 + 1;
            group.push(&node.mod_seqs, message, *last, root)?;
        }
        Ok(group)
    }

    fn push(
        &mut self,
        mod_seqs: &ModSeqs,
        message: &Acceptance,
        last: Option<&Object>,
        root: i32,
    ) -> Result<(), StoreError> {
        let number = self.messages.id.len() as i32 + 1;
        let layout = message.layout();
        let whole = (message.chunks == 0 && !layout.has_own_head() && last.is_none())
            .then(|| [&message.head[..], &message.rest].concat());
        if whole.is_none() {
            self.push_chunks(number, message, last);
        }
        let Messages { root: roots, id: ids, octets, refs, source, unique_id, time, chunks } =
            &mut self.messages;
        roots.push(root);
        ids.push(id(message.id));
        octets.push(whole);
        refs.push(message.shown() as i32);
        source.push(message.collected.as_ref().map(|it| it.source.0 as i64));
        unique_id.push(message.collected.as_ref().map(|it| it.unique_id.clone().into_bytes()));
        time.push(nanos(message.time));
        chunks.push(message.chunks as i32);

        let shared = message.shown() > 1;
        let (added, thread, time) = (message.added, message.thread.0, message.time);
        let common = Common { layout, added, thread, time, shared };
        let first = mod_seqs.take(0, time, message.deliveries.len());
        for (delivery, mod_seq) in message.deliveries.iter().zip(first..) {
            self.delivered.push(number);
            self.deliveries.push(delivery, common, mod_seq);
        }
        for item in &message.items {
            self.items.push(number, &Item { shared, ..item.clone() })?;
        }
        for event in &message.events {
            self.events.message.push(number);
            self.events.id.push(id(event.id));
            self.events.record.push(to_json(event)?);
        }
        for record in &message.records {
            self.records.message.push(number);
            self.records.kind.push(record.kind.to_owned());
            self.records.name.push(record.name.clone().into_bytes());
            self.records.record.push(record.record.clone());
        }
        message.reports.iter().try_for_each(|report| self.push(mod_seqs, report, None, root))
    }

    fn push_chunks(&mut self, number: i32, message: &Acceptance, last: Option<&Object>) {
        let head = message.layout().has_own_head();
        if head {
            self.push_piece(number, HEAD, Some(message.head.clone()), None);
        }
        let above = if head { &[][..] } else { &message.head };
        let octets = last.is_none().then(|| [above, &message.rest].concat());
        self.push_piece(number, message.chunks, octets, last);
    }

    fn push_piece(
        &mut self,
        number: i32,
        index: u32,
        octets: Option<Vec<u8>>,
        object: Option<&Object>,
    ) {
        self.chunks.message.push(number);
        self.chunks.index.push(index as i32);
        self.chunks.octets.push(octets);
        self.chunks.key.push(object.map(|object| object.key.clone()));
        self.chunks.sha256.push(object.map(|object| object.sha256.clone()));
    }

    /// Accepts the messages. Returns the outcome of each, and the greatest mod-sequence used. Called again with the same
    /// key, this returns what the first call returned; without a key, the transaction around it has one.
    pub(crate) async fn accept(
        &self,
        connection: &Arc<Connection>,
        wait: LockWait,
        key: Option<&[u8]>,
    ) -> Result<(Vec<AcceptOutcome>, i64), DatabaseFault> {
        let Self { messages: m, chunks: c, deliveries: d, items: i, .. } = self;
        let (e, r) = (&self.events, &self.records);
        let rows = connection
            .query(
                ACCEPT,
                &[
                    &m.root,
                    &m.id,
                    &m.octets,
                    &m.refs,
                    &m.source,
                    &m.unique_id,
                    &m.time,
                    &m.chunks,
                    &c.message,
                    &c.index,
                    &c.octets,
                    &c.key,
                    &c.sha256,
                    &self.delivered,
                    &d.account,
                    &d.folder,
                    &d.thread,
                    &d.octets,
                    &d.added,
                    &d.head,
                    &d.time,
                    &d.flags,
                    &d.keywords,
                    &d.imported,
                    &d.shared,
                    &d.prefix,
                    &d.mod_seq,
                    &i.message,
                    &i.index,
                    &i.record,
                    &i.destination,
                    &i.priority,
                    &i.due,
                    &i.state,
                    &e.message,
                    &e.id,
                    &e.record,
                    &r.message,
                    &r.kind,
                    &r.name,
                    &r.record,
                    &wait.setting(),
                    &key,
                ],
            )
            .await?;
        Ok(outcomes(&rows))
    }
}

/// Returns the outcomes in the order of the messages, and the greatest mod-sequence used.
fn outcomes(rows: &[Row]) -> (Vec<AcceptOutcome>, i64) {
    let mut outcomes: Vec<(i32, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    outcomes.sort_unstable();
    let highest = rows.iter().map(|row| row.get(2)).max().unwrap_or(0);
    (outcomes.into_iter().map(|(_, outcome)| AcceptOutcome::of(outcome)).collect(), highest)
}

impl Items {
    fn push(&mut self, number: i32, item: &Item) -> Result<(), StoreError> {
        self.message.push(number);
        self.index.push(item.id.index as i32);
        self.record.push(to_json(item)?);
        self.destination.push(lane(&item.destination).to_owned());
        self.priority.push(i32::from(item.envelope.priority));
        self.due.push(nanos(item.due).saturating_sub(self.ahead));
        self.state.push(state(item.state));
        Ok(())
    }
}

/// Returns the number of a state. A lease is not one: it is a column of its own.
pub(crate) const fn state(state: ItemState) -> i32 {
    match state {
        ItemState::Waiting | ItemState::Leased => 0,
        ItemState::Held => 1,
        ItemState::Quarantined => 2,
    }
}
