//! The operator's requests about quarantine: messages that a filter outside wanted to have kept away from their
//! recipients.
//!
//! Such a message waits in the queue, an item for its mailboxes here and one for each destination elsewhere, in the state
//! [`ItemState::Quarantined`]. So what it needs later is there: recipients, aliases, reports. Released, it goes the way
//! of a message that was kept back; dropped, it is taken out of the queue.

use super::{
    super::{Admin, AdminError, Response, mailbox::author_and_subject},
    PAGE,
};
use crate::directory::senders::{
    self, ListChange, ListChanged, ListOwner, SenderEntry, SenderPattern, SenderStanding,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use posta_mail::{MailId, ReversePath, Timestamp};
use posta_store::{Event, Item, ItemId, ItemState, StoreError, What};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The messages in a page of the list. The beginning of each is read.
const LISTED: usize = 50;

/// The index of no item: it stands behind all items of a message.
const BEHIND: u32 = u32::MAX;

/// An action on messages in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum QuarantineRequest {
    /// Lists the messages, a page at a time.
    List {
        /// Only messages behind this item.
        #[serde(default)]
        after: Option<ItemId>,
    },
    /// Reads a piece of a message, from an offset on.
    Read {
        /// The message's id.
        id: MailId,
        /// The offset at which to begin.
        offset: u64,
    },
    /// Delivers messages.
    Release {
        /// Their ids.
        ids: Vec<MailId>,
    },
    /// Drops messages, without a report to the sender.
    Drop {
        /// Their ids.
        ids: Vec<MailId>,
    },
}

/// A message in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct QuarantineLine {
    /// The message's id.
    pub id: String,
    /// When it was accepted.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// Its reverse-path, without its brackets; empty for a report.
    pub reverse_path: String,
    /// The recipients.
    pub recipients: Vec<String>,
    /// Its octets.
    pub octets: u64,
    /// Why it is in quarantine, in words.
    pub reason: Option<String>,
    /// Its author, as its header section has it.
    pub from: Option<String>,
    /// Its subject.
    pub subject: Option<String>,
}

impl Admin {
    pub(in crate::admin) async fn quarantine(
        &self,
        request: QuarantineRequest,
    ) -> Result<Response, AdminError> {
        match request {
            QuarantineRequest::List { after } => self.list_quarantine(after).await,
            QuarantineRequest::Read { id, offset } => self.read_quarantined(id, offset).await,
            QuarantineRequest::Release { ids } => {
                let items = self.quarantined(&ids).await?;
                Ok(Response::Count(self.release(&ids, items).await?))
            }
            QuarantineRequest::Drop { ids } => {
                let items = self.quarantined(&ids).await?;
                let count = messages(&items);
                self.remove_items(items, self.clock.now()).await?;
                Ok(Response::Count(count))
            }
        }
    }

    async fn list_quarantine(&self, mut after: Option<ItemId>) -> Result<Response, AdminError> {
        let mut found: Vec<(Item, QuarantineLine)> = Vec::new();
        loop {
            let page = self.store.items(after, PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|item| item.id).or(after);
            for item in page {
                if item.state != ItemState::Quarantined {
                    continue;
                }
                let names = item.recipients.iter().map(|to| to.address.to_string());
                match found.last_mut() {
                    Some((_, line)) if line.id == item.id.content.to_string() => {
                        line.recipients.extend(names);
                    }
                    _ => {
                        let line = line(&item, names.collect());
                        found.push((item, line));
                    }
                }
            }
            if is_last || found.len() > LISTED {
                break;
            }
        }
        // The last of a full page may have more items; it is the first of the next page.
        let is_all = found.len() <= LISTED;
        found.truncate(LISTED);
        let last = found.last().filter(|_| !is_all);
        let next = last.map(|(item, _)| ItemId { content: item.id.content, index: BEHIND });
        let mut lines = Vec::with_capacity(found.len());
        for (item, mut line) in found {
            (line.from, line.subject) = self.named_by(&item).await?;
            line.reason = self.reason(item.id.content).await?;
            lines.push(line);
        }
        Ok(Response::Quarantine { lines, next })
    }

    async fn named_by(&self, item: &Item) -> Result<(Option<String>, Option<String>), StoreError> {
        let (index, within) = item.layout().at(item.head.into());
        let beginning = match self.store.chunk(item.id.content, index).await {
            // A list tells what can be read; `posta quarantine show` tells what cannot.
            Err(StoreError::Damaged(_)) => None,
            beginning => beginning?,
        };
        let beginning = beginning.filter(|beginning| beginning.len() >= within);
        Ok(beginning.map(|octets| author_and_subject(&octets[within..])).unwrap_or_default())
    }

    async fn reason(&self, id: MailId) -> Result<Option<String>, StoreError> {
        let events = self.store.history(id).await?;
        Ok(events.into_iter().find_map(|event| match event.what {
            What::Filtered { decision, .. } => decision,
            _ => None,
        }))
    }

    async fn read_quarantined(&self, id: MailId, offset: u64) -> Result<Response, AdminError> {
        let items = self.quarantined(&[id]).await?;
        let item = items.first().ok_or_else(|| not_there(id))?;
        let layout = item.layout();
        let (index, within) = layout.at(offset);
        let piece = self.store.chunk(id, index).await?;
        let piece = piece.filter(|piece| within < piece.len());
        let missing = || StoreError::Damaged("a piece of the message is missing".to_owned());
        let piece = piece.ok_or_else(missing)?.slice(within..);
        let next = Some(offset + piece.len() as u64).filter(|next| *next < layout.octets());
        Ok(Response::Piece { octets: BASE64.encode(&piece), next })
    }

    /// Returns the items of these messages that are in quarantine.
    async fn quarantined(&self, ids: &[MailId]) -> Result<Vec<Item>, StoreError> {
        let mut found = Vec::new();
        for &id in ids {
            // The items of a message stand together.
            let mut after = before(id);
            loop {
                let page = self.store.items(after, LISTED).await?;
                let is_over = page.len() < LISTED || page.iter().any(|item| item.id.content > id);
                after = page.last().map(|item| item.id);
                let is_meant =
                    |item: &Item| item.id.content == id && item.state == ItemState::Quarantined;
                found.extend(page.into_iter().filter(is_meant));
                if is_over {
                    break;
                }
            }
        }
        Ok(found)
    }

    async fn release(&self, ids: &[MailId], items: Vec<Item>) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let count = messages(&items);
        let due = items.iter().map(|item| (item.id, now)).collect();
        if self.store.reschedule(due, ItemState::Waiting).await? > 0 {
            let is_released = |id: &&MailId| items.iter().any(|item| item.id.content == **id);
            let event = |&id| Event { id, time: now, what: What::Released };
            self.store.note(ids.iter().filter(is_released).map(event).collect()).await?;
        }
        for item in &items {
            self.allow_sender(item).await?;
            tracing::info!(id = %item.id, "released from quarantine");
        }
        Ok(count)
    }
}

impl Admin {
    /// Has the accounts that a released message is for allow its sender, so that later mail of the sender is not taken
    /// for junk. An account whose list is full is passed over.
    async fn allow_sender(&self, item: &Item) -> Result<(), StoreError> {
        let ReversePath::Address(sender) = &item.envelope.reverse_path else { return Ok(()) };
        for recipient in &item.recipients {
            let Some(account) = self.store.account(&recipient.address.folded()).await? else {
                continue;
            };
            let sender = SenderPattern::Address(sender.folded());
            let change = ListChange::Put(SenderEntry { sender, standing: SenderStanding::Allowed });
            let owner = ListOwner::Account(account.id);
            let changed = senders::change(&*self.store, &owner, &change).await?;
            if changed != ListChanged::Done {
                let account = recipient.address.as_str();
                tracing::warn!(account, "the sender of a released message could not be allowed");
            }
        }
        Ok(())
    }
}

/// Returns the name of an item that stands before all items of a message.
fn before(id: MailId) -> Option<ItemId> {
    let mut octets = id.to_bytes();
    for octet in octets.iter_mut().rev() {
        let (less, is_borrowed) = octet.overflowing_sub(1);
        *octet = less;
        if !is_borrowed {
            return Some(ItemId { content: MailId::from_bytes(octets), index: BEHIND });
        }
    }
    None
}

fn messages(items: &[Item]) -> usize {
    items.chunk_by(|one, other| one.id.content == other.id.content).count()
}

fn line(item: &Item, recipients: Vec<String>) -> QuarantineLine {
    let reverse_path = match &item.envelope.reverse_path {
        ReversePath::Null => String::new(),
        ReversePath::Address(address) => address.to_string(),
    };
    QuarantineLine {
        id: item.id.content.to_string(),
        time: item.accepted,
        reverse_path,
        recipients,
        octets: item.octets,
        reason: None,
        from: None,
        subject: None,
    }
}

fn not_there(id: MailId) -> AdminError {
    AdminError::Mail(format!(
        "there is no message {id} in quarantine; `posta quarantine list` names them"
    ))
}
