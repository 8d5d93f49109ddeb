//! The one way into a mailbox and into the queue, for SMTP, LMTP, submission, collected mail, imports and reports.
//!
//! Whoever has a message whole hands it to [`deliver`]: `verdict` decides whether it is taken, `plan` makes a delivery
//! for each mailbox and an item for each destination elsewhere, [`outcome`] says what its sender has to hear, and one transaction
//! of the store keeps all of that. Messages that were kept back come by `held`, which the relay settles. `report` is
//! the way of what this server writes itself; `message_log` writes the log's line.

pub mod checked;
pub(crate) mod held;
pub(crate) mod message_log;
pub mod outcome;
mod plan;
pub(crate) mod report;
mod verdict;

use crate::{
    directory::{Directory, Recipient},
    filter::Filters,
};
use checked::Checked;
use message_log::Arrival;
use outcome::{About, Outcome, Reports, failed_here};
use posta_mail::{MailId, Reply, ThreadId, Timestamp};
use posta_store::{
    Acceptance, Account, Collected, Delivery, Envelope, Event, FolderId, InMailbox, Item, Layout,
    Origin, Refusal, Store, StoreError, What,
};
use std::sync::Arc;
use verdict::{Refused, Verdict};

/// What delivering to the recipients of an envelope takes, beside the store.
#[derive(Clone)]
pub struct Routing {
    /// Where forwarded mail comes from.
    pub directory: Directory,
    /// Reports to senders.
    pub reports: Arc<dyn Reports>,
    /// Filters that are asked about mail.
    pub filters: Arc<Filters>,
}

/// A message whose content has come whole.
pub struct Message {
    /// Its id.
    pub id: MailId,
    /// When it came.
    pub time: Timestamp,
    /// The trace fields that go above its content for all recipients: whole fields with their CRLF.
    pub head: Vec<u8>,
    /// Chunks of its content that the store has already.
    pub chunks: u32,
    /// The rest of its content. Not empty.
    pub rest: Vec<u8>,
    /// Octets of its head and content.
    pub octets: u64,
    /// Octets that its content gains as lines ([`posta_store::Entry::added`]).
    pub added: u64,
    /// The conversation that it belongs to.
    pub thread: ThreadId,
    /// Servers that it came through; 0 where that does not matter.
    pub hops: usize,
    /// Its Message-ID field.
    pub message_id: Option<String>,
    /// Where it came from.
    pub origin: Origin,
    /// Its envelope, recipients aside.
    pub envelope: Envelope,
    /// Until when it is kept back, if it is.
    pub hold: Option<Timestamp>,
    /// Recipients that were refused, for the history.
    pub refused: Vec<Refusal>,
    /// What the checks of its origin found, if they were made. The head tells it too.
    pub checked: Option<Box<Checked>>,
}

/// Where a message goes.
pub enum To<'a> {
    /// To those whom its envelope names.
    Recipients {
        /// They, in the order in which they were named.
        recipients: Vec<Recipient>,
        /// Whether the sender may get a report now.
        may_report: bool,
        /// What that takes.
        routing: &'a Routing,
    },
    /// Into one mailbox, whose owner or operator brings it: without trace fields, and nobody hears of it.
    Mailbox {
        /// Whose mailbox it is.
        account: &'a Account,
        /// The unique-id that it had where it was before.
        unique_id: Option<String>,
        /// When it arrived there; none where that is unknown, or it has just come.
        date: Option<Timestamp>,
        /// Which message it is where it was collected.
        collected: Option<Collected>,
    },
}

/// Why a message was not delivered.
#[derive(Debug)]
pub enum Undelivered {
    /// It is refused.
    Refused {
        /// The reply.
        reply: Reply,
        /// What the history tells beside the reply.
        why: Option<String>,
        /// The refusals that came along, untold.
        untold: Vec<Refusal>,
    },
    /// The store failed.
    Store(StoreError),
}

impl From<StoreError> for Undelivered {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What the plan of a message's delivery comes to.
#[derive(Default)]
struct Planned {
    deliveries: Vec<Delivery>,
    items: Vec<Item>,
    /// Addresses that it was sent to, for the history.
    to: Vec<posta_mail::Address>,
    mailboxes: Vec<InMailbox>,
    collected: Option<Collected>,
    /// Recipients that failed here, and what else the sender wants to hear of.
    outcomes: Vec<Outcome>,
    /// How many of the outcomes, from the front, are failures.
    failed: usize,
}

/// Delivers a message: once this is `Ok`, and not before, its sender may be told so. Chunks of a message that is not
/// delivered are discarded.
///
/// # Errors
/// [`Undelivered::Refused`] when the verdict is against it; [`Undelivered::Store`] when the store fails.
pub async fn deliver(store: &dyn Store, message: Message, to: To<'_>) -> Result<(), Undelivered> {
    let (id, chunks) = (message.id, message.chunks);
    let delivered = commit(store, message, to).await;
    if delivered.is_err() && chunks > 0 {
        // The failure is what the client hears of; a second one adds nothing.
        let _ = store.discard(id).await;
    }
    delivered
}

async fn commit(store: &dyn Store, message: Message, to: To<'_>) -> Result<(), Undelivered> {
    let verdict = match verdict::judge(&message) {
        Ok(verdict) => verdict,
        Err(Refused { reply, why }) => {
            return Err(Undelivered::Refused { reply, why, untold: message.refused });
        }
    };
    let at_home = match &to {
        To::Recipients { recipients, .. } => message_log::at_home(recipients),
        To::Mailbox { account, .. } => account.address.as_str().to_owned(),
    };
    let acceptance = acceptance(message, to, &verdict).await?;
    let arrival = Arrival::new(&acceptance, &at_home);
    store.accept(acceptance).await?;
    arrival.accepted();
    Ok(())
}

/// Returns all that the store is to keep of a message.
async fn acceptance(
    message: Message,
    to: To<'_>,
    verdict: &Verdict,
) -> Result<Acceptance, StoreError> {
    let (planned, reporting) = match to {
        To::Recipients { recipients, may_report, routing } => {
            let reporting = may_report.then_some(&routing.reports);
            (to_recipients(&message, recipients, &routing.directory).await?, reporting)
        }
        To::Mailbox { account, unique_id, date, collected } => {
            (to_mailbox(account, unique_id, date, collected), None)
        }
    };
    let checked = told_of_checks(&message, verdict);
    let Message {
        id, time, head, chunks, rest, octets, added, thread, message_id, envelope, ..
    } = message;
    let Planned { mut deliveries, items, to, mailboxes, collected, outcomes, failed } = planned;
    if let Verdict::Junk { .. } = verdict {
        deliveries.iter_mut().for_each(|delivery| delivery.folder = FolderId::JUNK);
    }
    let what = What::Accepted {
        origin: message.origin,
        from: envelope.reverse_path.clone(),
        to,
        message_id: message_id.clone(),
        octets,
        mailboxes,
        refused: message.refused,
    };
    let mut events = vec![Event { id, time, what }];
    events.extend(checked);
    events.extend(failed_here(id, time, &outcomes[..failed]));
    let mut reports = Vec::new();
    if let Some(writer) = reporting.filter(|_| !outcomes.is_empty()) {
        let about = About {
            id,
            envelope: &envelope,
            message_id: message_id.as_deref(),
            accepted: time,
            layout: Layout::new(head.len() as u64, octets - head.len() as u64),
            head: Some(&head),
            beginning: (chunks == 0).then_some(&rest[..]),
        };
        if let Some((report, event)) = writer.report(about, &outcomes, None).await? {
            reports.push(report);
            events.push(event);
        }
    }
    Ok(Acceptance {
        id,
        time,
        head,
        chunks,
        rest,
        added,
        thread,
        deliveries,
        items,
        events,
        reports,
        collected,
    })
}

/// Returns what the history tells of the checks; none if none were made.
fn told_of_checks(message: &Message, verdict: &Verdict) -> Option<Event> {
    let results = message.checked.as_ref()?.results();
    let what = What::Checked { results, decision: verdict.decision() };
    Some(Event { id: message.id, time: message.time, what })
}

async fn to_recipients(
    message: &Message,
    recipients: Vec<Recipient>,
    directory: &Directory,
) -> Result<Planned, StoreError> {
    let hold = message.hold;
    let forwarder = directory.forwarder(&message.envelope.reverse_path).await?;
    let (deliveries, items) = plan::split(
        plan::Message {
            id: message.id,
            time: message.time,
            octets: message.octets,
            head: message.head.len() as u32,
            added: message.added,
            thread: message.thread,
            message_id: message.message_id.as_deref(),
            envelope: &message.envelope,
            forwarder: &forwarder,
            hold,
        },
        &recipients,
    );
    // What is kept back goes to its mailboxes later, and is told of then.
    let now = recipients.iter().filter(|to| hold.is_none() || to.resolved.accounts.is_empty());
    let mut outcomes = Outcome::broken(now);
    let failed = outcomes.len();
    if !deliveries.is_empty() && recipients.iter().any(|recipient| recipient.notify.success) {
        outcomes.extend(recipients.iter().filter_map(Outcome::arrived));
    }
    let mailboxes = match hold {
        Some(_) => Vec::new(),
        None => plan::mailboxes(recipients.iter()),
    };
    let to = recipients.into_iter().map(|recipient| recipient.address).collect();
    Ok(Planned { deliveries, items, to, mailboxes, collected: None, outcomes, failed })
}

fn to_mailbox(
    account: &Account,
    unique_id: Option<String>,
    date: Option<Timestamp>,
    collected: Option<Collected>,
) -> Planned {
    Planned {
        deliveries: vec![Delivery {
            account: account.id,
            folder: FolderId::INBOX,
            prefix: Vec::new(),
            unique_id,
            date,
        }],
        to: vec![account.address.clone()],
        mailboxes: vec![InMailbox::Own(account.address.clone())],
        collected,
        ..Planned::default()
    }
}
