//! The only way into a mailbox and into the queue, for SMTP, LMTP, submission, collected mail, imports
//! and reports.
//!
//! Callers pass a complete message to [`deliver`]: `verdict` decides whether it is accepted, `plan`
//! makes a delivery for each mailbox and an item for each destination elsewhere, [`outcome`] determines
//! what the sender is informed about, and one transaction of the store commits everything. Held messages
//! are delivered by `held`, which the relay settles. `report` is the way of messages that this server
//! writes itself, `notes` writes those to senders whose recipient is away, `restored` is that of messages from a
//! backup, `returned` that of messages that reach nobody, of which only a report is kept; `message_log` writes the line in
//! the log.

pub mod checked;
pub mod feedback;
mod filtered;
pub(crate) mod held;
pub(crate) mod message_log;
pub mod notes;
pub mod outcome;
mod plan;
pub(crate) mod report;
pub(crate) mod restored;
mod returned;
mod verdict;

use crate::{
    directory::{Directory, Recipient},
    filter::Filters,
    sign::signers::Signers,
};
use checked::Checked;
use feedback::{ArrivedReport, Feedback, Observation};
use filtered::Filtered;
use message_log::Arrival;
use notes::{NoteWriter, Notes};
use outcome::{About, Outcome, Reports, failed_here};
use posta_mail::{MailId, Reply, ThreadId, Timestamp};
use posta_store::{
    Acceptance, Account, Collected, Delivery, Envelope, Event, Flags, FolderId, InMailbox, Item,
    ItemState, Keyword, Layout, MessageRecord, Origin, Refusal, Store, StoreError, What,
};
use std::{collections::BTreeMap, mem, sync::Arc};
use verdict::{Decided, Refused};

/// The services that delivering to an envelope's recipients needs, besides the store.
#[derive(Clone)]
pub struct Routing {
    /// The directory, which rewrites the senders of forwarded mail.
    pub directory: Directory,
    /// Writes the reports to senders.
    pub reports: Arc<dyn Reports>,
    /// The filters that are asked about mail.
    pub filters: Arc<Filters>,
    /// The keys that sign a message again if a filter has changed it.
    pub signers: Arc<Signers>,
    /// Collects what is told to the domains that mail claims to be from.
    pub feedback: Arc<dyn Feedback>,
    /// Writes the notes that messages cause.
    pub notes: Arc<NoteWriter>,
}

/// A message whose content has arrived completely.
pub struct Message {
    /// The message's id.
    pub id: MailId,
    /// The time of arrival.
    pub time: Timestamp,
    /// The trace fields that go above the content for all recipients: whole fields with their CRLF.
    pub head: Vec<u8>,
    /// The number of chunks of the content that the store already has.
    pub chunks: u32,
    /// The rest of the content. Not empty.
    pub rest: Vec<u8>,
    /// The number of octets in head and content.
    pub octets: u64,
    /// The number of octets that the content gains as lines ([`posta_store::Entry::added`]).
    pub added: u64,
    /// The conversation that the message belongs to.
    pub thread: ThreadId,
    /// The number of servers that the message has passed through; 0 if that does not matter.
    pub hops: usize,
    /// The value of the Message-ID field.
    pub message_id: Option<String>,
    /// The origin.
    pub origin: Origin,
    /// The envelope, without recipients.
    pub envelope: Envelope,
    /// The time until which the message is held, if it is.
    pub hold: Option<Timestamp>,
    /// The refused recipients, for the history.
    pub refused: Vec<Refusal>,
    /// Whether a user, or a neighbour that may relay, has submitted the message.
    pub is_submitted: bool,
    /// The results of the checks of the message's origin, if there were any. The head contains them,
    /// too.
    pub checked: Option<Box<Checked>>,
    /// Small records that are stored with the message.
    pub records: Vec<MessageRecord>,
}

/// The destination of a message.
pub enum To<'a> {
    /// The recipients of its envelope.
    Recipients {
        /// The recipients, in the order of the commands.
        recipients: Vec<Recipient>,
        /// Whether the sender may get a report now.
        may_report: bool,
        /// The services needed.
        routing: &'a Routing,
        /// Whether each recipient gets a reply of its own, as in LMTP (RFC 2033 §4.2).
        each_is_told: bool,
        /// If nobody waits for a reply, those of the envelope's recipients that have failed already. A message that is
        /// refused then fails for all recipients, and the sender gets a report (RFC 5321 §6.1).
        unheard: Option<Vec<Outcome>>,
    },
    /// One mailbox, whose owner or operator brings the message: without trace fields and reports.
    Mailbox {
        /// The account of the mailbox.
        account: &'a Account,
        /// Where it goes in the mailbox, and what it brings along.
        placement: Placement,
        /// The source that it was collected from, and its name there.
        collected: Option<Collected>,
    },
}

/// The place of a message that comes from another mailbox, and what it had there.
#[derive(Debug, Clone)]
pub struct Placement {
    /// The folder.
    pub folder: FolderId,
    /// The unique-id that the message had at its earlier place.
    pub unique_id: Option<String>,
    /// The time of its arrival there; none if that is unknown, or the message has just arrived.
    pub date: Option<Timestamp>,
    /// Its flags there.
    pub flags: Flags,
    /// Its keywords there.
    pub keywords: Vec<Keyword>,
}

impl Default for Placement {
    fn default() -> Self {
        let (folder, flags) = (FolderId::INBOX, Flags::NONE);
        Self { folder, unique_id: None, date: None, flags, keywords: Vec::new() }
    }
}

/// A message that was delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Recipients that the message was refused for: the position of each and the reply. Empty where all get one reply.
    pub refused: Vec<(usize, Reply)>,
    /// The number of mailboxes that have it in their inbox or another folder.
    pub inbox: usize,
    /// The number of mailboxes that have it in Junk.
    pub junk: usize,
    /// The number of items that it put into the queue.
    pub queued: usize,
}

/// The reason why a message was not delivered.
#[derive(Debug)]
pub enum Undelivered {
    /// The message is refused.
    Refused {
        /// The reply.
        reply: Reply,
        /// Further details for the history.
        why: Option<String>,
        /// The earlier refusals in the transaction, which are not in the history yet.
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

/// The plan for delivering a message.
#[derive(Default)]
struct Planned {
    deliveries: Vec<Delivery>,
    items: Vec<Item>,
    /// The addresses that the message was sent to, for the history.
    to: Vec<posta_mail::Address>,
    mailboxes: Vec<InMailbox>,
    collected: Option<Collected>,
    /// The recipients that failed here, and other outcomes that the sender wants to be informed about.
    outcomes: Vec<Outcome>,
    /// The number of outcomes, from the front, that are failures.
    failed: usize,
}

/// Delivers a message. Only after this has returned `Ok` may the sender be told that the message is
/// accepted. The chunks of a message that is not delivered are discarded.
///
/// # Errors
/// [`Undelivered::Refused`] if the verdict is against the message; [`Undelivered::Store`] when the store
/// fails.
pub async fn deliver(
    store: &dyn Store,
    message: Message,
    to: To<'_>,
) -> Result<Delivered, Undelivered> {
    let (id, octets) = (message.id, message.octets);
    let (feedback, report) = match &to {
        To::Recipients { routing, recipients, .. } => {
            (Some(routing.feedback.clone()), ArrivedReport::of(&message, recipients))
        }
        To::Mailbox { .. } => (None, None),
    };
    let mut observed = None;
    let is_wanted = feedback.as_ref().is_some_and(|feedback| feedback.is_wanted());
    let delivered = commit(store, message, to, is_wanted.then_some(&mut observed)).await;
    if let (Some(feedback), Some(observation)) = (&feedback, observed) {
        tell(&**feedback, observation, octets, &delivered);
    }
    if let (Some(feedback), Some(report), Ok(_)) = (feedback, report, &delivered) {
        feedback.arrived(report);
    }
    if delivered.is_err() {
        // Even content that came without chunks may have some, which the edits of a filter wrote.
        // The client is informed of the first failure; a second one adds nothing.
        let _ = store.discard(id).await;
    }
    delivered
}

/// Counts what was observed of a message, unless the message has to come again.
fn tell(
    feedback: &dyn Feedback,
    observation: Observation,
    octets: u64,
    delivered: &Result<Delivered, Undelivered>,
) {
    match delivered {
        Ok(_) => feedback.observed(observation, octets, true),
        Err(Undelivered::Refused { reply, .. }) if reply.code.is_permanent() => {
            feedback.observed(observation, octets, false);
        }
        Err(_) => {}
    }
}

async fn commit(
    store: &dyn Store,
    mut message: Message,
    mut to: To<'_>,
    observed: Option<&mut Option<Observation>>,
) -> Result<Delivered, Undelivered> {
    if matches!(&to, To::Recipients { recipients, .. } if recipients.is_empty()) {
        return returned::give_back(store, message, to).await;
    }
    let mut decided = match decide(store, &message, &to, observed).await? {
        Ok(decided) => decided,
        Err(refused) => return returned::refused(store, message, to, refused).await,
    };
    let refused = leave_out(&mut message, &mut to, mem::take(&mut decided.refused));
    let filtered = match filtered::ask(store, &mut message, &to).await {
        Err(Undelivered::Refused { reply, why, untold }) => {
            message.refused = untold;
            return returned::refused(store, message, to, Refused { reply, why }).await;
        }
        filtered => filtered?,
    };
    let at_home = match &to {
        To::Recipients { recipients, .. } => message_log::at_home(recipients),
        To::Mailbox { account, .. } => account.address.as_str().to_owned(),
    };
    let notes = match &to {
        To::Recipients { recipients, routing, .. } => {
            notes::notes(store, &message, (recipients, routing), (&decided, &filtered)).await?
        }
        To::Mailbox { .. } => Notes::default(),
    };
    let mut acceptance = acceptance(message, to, &decided, filtered).await?;
    let _underway = notes.add_to(&mut acceptance);
    let arrival = Arrival::new(&acceptance, &at_home);
    let is_junk = |delivery: &&Delivery| delivery.folder == FolderId::JUNK;
    let junk = acceptance.deliveries.iter().filter(is_junk).count();
    let (inbox, queued) = (acceptance.deliveries.len() - junk, acceptance.items.len());
    store.accept(acceptance).await?;
    arrival.accepted();
    Ok(Delivered { refused, inbox, junk, queued })
}

/// Decides whether a message is taken, for whom, and where it goes. Fills in what is told of it.
async fn decide(
    store: &dyn Store,
    message: &Message,
    to: &To<'_>,
    observed: Option<&mut Option<Observation>>,
) -> Result<Result<Decided, Refused>, StoreError> {
    let judged = match verdict::loop_refusal(message) {
        Some(refused) => return Ok(Err(refused)),
        None => verdict::judge(message),
    };
    match to {
        To::Mailbox { .. } => Ok(judged.map(|_| Decided::default())),
        To::Recipients { recipients, each_is_told, .. } => {
            let targets = verdict::targets(store, message, recipients).await?;
            let decided = verdict::decide(&judged, recipients, &targets, *each_is_told);
            if let Some(observed) = observed {
                *observed = feedback::observe(message, &judged, &decided);
            }
            Ok(decided)
        }
    }
}

/// Takes recipients for whom a message is refused out of its envelope. Returns their replies.
fn leave_out(
    message: &mut Message,
    to: &mut To<'_>,
    refused: BTreeMap<usize, Refused>,
) -> Vec<(usize, Reply)> {
    let To::Recipients { recipients, .. } = to else { return Vec::new() };
    let mut positions = 0..;
    recipients.retain(|recipient| {
        let refused = positions.next().and_then(|position: usize| refused.get(&position));
        message.refused.extend(refused.map(|Refused { reply, why }| Refusal {
            about: format!("the message for <{}>", recipient.address),
            reply: reply.to_string(),
            why: why.clone(),
            times: 1,
        }));
        refused.is_none()
    });
    refused.into_iter().map(|(position, refused)| (position, refused.reply)).collect()
}

/// Returns everything that the store has to keep of a message.
async fn acceptance(
    mut message: Message,
    to: To<'_>,
    decided: &Decided,
    filtered: Filtered,
) -> Result<Acceptance, StoreError> {
    let (planned, reporting) = planned(&message, to, &filtered).await?;
    let is_junk = filtered.is_junk;
    let checked = told_of_checks(&message, decided);
    let told = checked.into_iter().chain(filtered.told(&message));
    let records = mem::take(&mut message.records);
    let Message {
        id, time, head, chunks, rest, octets, added, thread, message_id, envelope, ..
    } = message;
    let Planned { mut deliveries, items, to, mailboxes, collected, outcomes, failed } = planned;
    for delivery in deliveries.iter_mut().filter(|it| decided.is_junk(it.account, is_junk)) {
        delivery.folder = FolderId::JUNK;
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
    events.extend(told);
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
        records,
    })
}

/// Returns where a message goes, and what writes the report to its sender, if one may be sent.
async fn planned<'a>(
    message: &Message,
    to: To<'a>,
    filtered: &Filtered,
) -> Result<(Planned, Option<&'a Arc<dyn Reports>>), StoreError> {
    match to {
        To::Recipients { recipients, may_report, routing, unheard, .. } => {
            let (state, failed) = (filtered.state(), unheard.unwrap_or_default());
            let directory = &routing.directory;
            let planned = to_recipients(message, recipients, failed, directory, state).await?;
            Ok((planned, may_report.then_some(&routing.reports)))
        }
        To::Mailbox { account, placement, collected } => {
            Ok((to_mailbox(account, placement, collected), None))
        }
    }
}

/// Returns what the history tells of the checks, and of lists of senders; none if nothing was checked or decided.
fn told_of_checks(message: &Message, decided: &Decided) -> Option<Event> {
    let decision = decided.decision.clone();
    let results = match &message.checked {
        Some(checked) => checked.results(),
        None if decision.is_none() => return None,
        None => Vec::new(),
    };
    let what = What::Checked { results, decision };
    Some(Event { id: message.id, time: message.time, what })
}

async fn to_recipients(
    message: &Message,
    recipients: Vec<Recipient>,
    unheard: Vec<Outcome>,
    directory: &Directory,
    state: ItemState,
) -> Result<Planned, StoreError> {
    // Mail in quarantine waits in the queue for its mailboxes here, too.
    let hold = match state {
        ItemState::Quarantined => message.hold.or(Some(message.time)),
        _ => message.hold,
    };
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
            state,
        },
        &recipients,
    );
    // Held copies go to their mailboxes later, and are reported then.
    let now = recipients.iter().filter(|to| hold.is_none() || to.resolved.accounts.is_empty());
    let mut outcomes = Outcome::broken(now);
    let also_to: Vec<_> = unheard.iter().map(|outcome| outcome.address.clone()).collect();
    outcomes.extend(unheard);
    let failed = outcomes.len();
    if !deliveries.is_empty() && recipients.iter().any(|recipient| recipient.notify.success) {
        outcomes.extend(recipients.iter().filter_map(Outcome::arrived));
    }
    let mailboxes = match hold {
        Some(_) => Vec::new(),
        None => plan::mailboxes(recipients.iter()),
    };
    let to = recipients.into_iter().map(|recipient| recipient.address).chain(also_to).collect();
    Ok(Planned { deliveries, items, to, mailboxes, collected: None, outcomes, failed })
}

fn to_mailbox(account: &Account, placement: Placement, collected: Option<Collected>) -> Planned {
    let Placement { folder, unique_id, date, flags, keywords } = placement;
    let (account_id, prefix) = (account.id, Vec::new());
    let delivery =
        Delivery { account: account_id, folder, prefix, unique_id, date, flags, keywords };
    Planned {
        deliveries: vec![delivery],
        to: vec![account.address.clone()],
        mailboxes: vec![InMailbox::Own(account.address.clone())],
        collected,
        ..Planned::default()
    }
}
