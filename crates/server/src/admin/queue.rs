//! The operator's requests about the queue.

pub(super) mod quarantine;

use super::{Admin, AdminError, Response};
use posta_mail::{ReversePath, Timestamp};
use posta_store::{
    Destination, Event, Item, ItemId, ItemState, Settled, Settlement, StoreError, What,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The number of items read from the store at a time.
pub(super) const PAGE: usize = 1_000;

/// A selection of queue items: those that match every given condition; all, if none is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Selection {
    /// Items with these ids, or of messages with these ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// Items for this domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Items of this sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Items whose message was accepted this many seconds ago, or longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older: Option<u64>,
}

/// An action on the selected items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QueueAction {
    /// Try to send them at once.
    Retry,
    /// Keep them until they are released.
    Hold,
    /// Release those that are held.
    Release,
    /// Drop them, without a report to the sender.
    Remove,
}

/// An item in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct QueueLine {
    /// The item's id.
    pub id: String,
    /// The message's Message-ID field.
    pub message_id: Option<String>,
    /// The message's reverse-path, without its brackets; empty for a report.
    pub reverse_path: String,
    /// The destination.
    pub destination: String,
    /// The recipients.
    pub recipients: Vec<QueueRecipient>,
    /// `waiting`, `leased` (being sent), `held`, or `quarantined`.
    pub state: ItemState,
    /// The time of the next attempt; none while the item is held or in quarantine.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub next_attempt: Option<Timestamp>,
    /// The number of attempts so far.
    pub attempts: u32,
    /// The time when the message was accepted.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub accepted: Timestamp,
    /// The number of octets in the message.
    pub octets: u64,
}

/// The part of the queue for one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DestinationLine {
    /// The domain, or `local`.
    pub destination: String,
    /// The number of items.
    pub items: usize,
    /// The number of their recipients.
    pub recipients: usize,
}

/// A recipient in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueRecipient {
    /// The address.
    pub address: String,
    /// `waiting`, or `delayed` after an attempt.
    pub state: String,
    /// The last reply of the other server.
    pub reply: Option<String>,
}

impl Selection {
    fn fits(&self, item: &Item, now: Timestamp) -> bool {
        let is_named = |given: &String| match given.parse::<ItemId>() {
            Ok(id) => id == item.id,
            Err(_) => given.parse() == Ok(item.id.content),
        };
        let is_sender = |sender: &String| {
            matches!(&item.envelope.reverse_path, ReversePath::Address(address)
                if address.as_str().eq_ignore_ascii_case(sender))
        };
        let age = now.as_second() - item.accepted.as_second();
        (self.ids.is_empty() || self.ids.iter().any(is_named))
            && self.domain.as_ref().is_none_or(|domain| destination(item) == domain.as_str())
            && self.sender.as_ref().is_none_or(is_sender)
            && self.older.is_none_or(|older| u64::try_from(age).unwrap_or_default() >= older)
    }
}

impl Admin {
    pub(super) async fn queue(
        &self,
        selection: &Selection,
        mut after: Option<ItemId>,
    ) -> Result<Response, AdminError> {
        let mut lines = Vec::new();
        loop {
            let (items, next) = self.page(selection, after).await?;
            lines.extend(items.into_iter().map(line));
            if lines.len() >= PAGE || next.is_none() {
                return Ok(Response::Queue { lines, next });
            }
            after = next;
        }
    }

    pub(super) async fn summarise(&self, selection: &Selection) -> Result<Response, AdminError> {
        let mut sums: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        let mut after = None;
        loop {
            let (items, next) = self.page(selection, after).await?;
            for item in items {
                let (items, recipients) = sums.entry(destination(&item).to_owned()).or_default();
                *items += 1;
                *recipients += item.recipients.len();
            }
            if next.is_none() {
                break;
            }
            after = next;
        }
        let line =
            |(destination, (items, recipients))| DestinationLine { destination, items, recipients };
        Ok(Response::QueueSummary(sums.into_iter().map(line).collect()))
    }

    pub(super) async fn change_queue(
        &self,
        selection: &Selection,
        action: QueueAction,
    ) -> Result<Response, AdminError> {
        let (mut count, mut after) = (0, None);
        loop {
            let (items, next) = self.page(selection, after).await?;
            count += self.change_items(items, action).await?;
            if next.is_none() {
                break;
            }
            after = next;
        }
        Ok(Response::Count(count))
    }

    async fn change_items(
        &self,
        mut items: Vec<Item>,
        action: QueueAction,
    ) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let (from, to) = match action {
            QueueAction::Retry => (ItemState::Waiting, ItemState::Waiting),
            QueueAction::Hold => (ItemState::Waiting, ItemState::Held),
            QueueAction::Release => (ItemState::Held, ItemState::Waiting),
            QueueAction::Remove => {
                // Those have commands of their own: `posta quarantine`.
                items.retain(|item| item.state != ItemState::Quarantined);
                return self.remove_items(items, now).await;
            }
        };
        items.retain(|item| item.state == from);
        let due = |item: &Item| if to == ItemState::Held { item.due } else { now };
        let items = items.iter().map(|item| (item.id, due(item))).collect();
        self.store.reschedule(items, to).await
    }

    async fn remove_items(&self, items: Vec<Item>, now: Timestamp) -> Result<usize, StoreError> {
        let settlement = |item: &Item| Settlement {
            item: item.id,
            // A relay that is working on the item loses it.
            token: None,
            time: now,
            left: None,
            deliveries: Vec::new(),
            reports: Vec::new(),
            events: vec![Event {
                id: item.id.content,
                time: now,
                what: What::Removed { destination: destination(item).to_owned() },
            }],
        };
        // All are requested before the first is awaited, so they share a sync.
        let asked: Vec<_> = items.iter().map(|item| self.store.settle(settlement(item))).collect();
        let mut count = 0;
        for (removed, item) in asked.into_iter().zip(&items) {
            if removed.await? == Settled::Done {
                count += 1;
                tracing::info!(id = %item.id, destination = destination(item), "removed from the queue");
            }
        }
        // What is remembered of servers that could not be reached may be out of date, as with every other change
        // that the operator makes: to try no item at all another time says so to the relay.
        self.store.reschedule(Vec::new(), ItemState::Waiting).await?;
        Ok(count)
    }

    /// Returns the matching items of a page, and the beginning of the next page, since the queue may be
    /// large.
    async fn page(
        &self,
        selection: &Selection,
        after: Option<ItemId>,
    ) -> Result<(Vec<Item>, Option<ItemId>), StoreError> {
        let now = self.clock.now();
        let mut page = self.store.items(after, PAGE).await?;
        let next = page.last().filter(|_| page.len() == PAGE).map(|last| last.id);
        page.retain(|item| selection.fits(item, now));
        Ok((page, next))
    }
}

fn line(item: Item) -> QueueLine {
    let destination = destination(&item).to_owned();
    let reverse_path = item.envelope.reverse_path.to_string();
    QueueLine {
        id: item.id.to_string(),
        message_id: item.message_id,
        reverse_path: reverse_path.trim_matches(['<', '>']).to_owned(),
        destination,
        recipients: item
            .recipients
            .into_iter()
            .map(|waiting| QueueRecipient {
                address: waiting.address.to_string(),
                state: if waiting.reply.is_some() { "delayed" } else { "waiting" }.to_owned(),
                reply: waiting.reply,
            })
            .collect(),
        state: item.state,
        next_attempt: (!item.state.is_kept_back()).then_some(item.due),
        attempts: item.attempts,
        accepted: item.accepted,
        octets: item.octets,
    }
}

fn destination(item: &Item) -> &str {
    match &item.destination {
        Destination::Local => "local",
        Destination::Domain(domain) => domain,
    }
}
