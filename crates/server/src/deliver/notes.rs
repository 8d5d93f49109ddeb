//! The notes that a message causes: to its sender, that a recipient is away or has left (RFC 3834); and to a recipient,
//! that the mailbox is nearly full (`room.rs`).
//!
//! A note is stored in the transaction of its message, together with the record of whom it went to, so none is lost,
//! and none is sent twice. A sender gets the note of an account or an alias once a week. `header.rs` recognises mail
//! that is never answered: that of lists and programs. Neither is mail that may be forged, since the answer would go to
//! a stranger who wrote nothing; nor junk, nor what was held or put into quarantine. Mail that an alias sends to
//! several people is answered by a note of the alias only: nobody's absence concerns those who write to all.
//!
//! Whoever writes in ever new names reaches a limit: of one note, a thousand copies a week are sent at most.

mod header;
mod room;

use super::{
    Message, Routing,
    filtered::Filtered,
    report::{Report, report},
    verdict::Decided,
};
use crate::{
    directory::{
        Recipient,
        arrangements::{ArrangementOwner, DueNote},
    },
    sign::outgoing::sign_whole,
};
use header::HeaderFacts;
use parking_lot::Mutex;
use posta_mail::{Address, ReversePath, Timestamp};
use posta_mime::note::{AnsweredMessage, Note};
use posta_net::clock::Clock;
use posta_origin::{dmarc::DmarcResult, spf::SpfResult};
use posta_store::{
    Acceptance, Account, Event, MessageRecord, SendAs, Store, StoreError, TagSeparators, What,
};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

/// The kind of the records that tell whom a note went to and when, in seconds.
const TOLD: &str = "notes-sent";

/// The kinds of records whose names begin with an account's id. They go when the account is purged.
pub(crate) const OF_ACCOUNTS: [&str; 2] = [TOLD, room::WARNED];

/// The time for which a sender gets no second note (RFC 3834 §2 suggests seven days).
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The most senders a week to whom the note of one owner goes.
const TOLD_EACH: usize = 1_000;

/// The number of old records that are removed with each note, so that more go than come.
const FORGOTTEN: usize = 16;

/// The most recipients of a message whose notes are looked for.
const RECIPIENTS: usize = 100;

/// The action that the history tells of a note.
const AWAY: &str = "away";

/// Writes the notes of a server.
pub struct NoteWriter {
    clock: Arc<dyn Clock>,
    /// The names of the records that are being written, so that two messages at the same moment cause one note.
    underway: Arc<Mutex<HashSet<String>>>,
}

/// A note that is being written, until its message is stored or refused.
pub(super) struct Underway {
    all: Arc<Mutex<HashSet<String>>>,
    name: String,
}

/// The notes that a message causes, and what is stored with it besides.
#[derive(Default)]
pub(super) struct Notes {
    reports: Vec<Acceptance>,
    events: Vec<Event>,
    records: Vec<MessageRecord>,
    underway: Vec<Underway>,
}

impl NoteWriter {
    /// Returns a writer that takes time and message ids from a clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, underway: Arc::default() }
    }

    /// Begins a note; none if the same is being written already.
    fn begin(&self, name: &str) -> Option<Underway> {
        let is_first = self.underway.lock().insert(name.to_owned());
        is_first.then(|| Underway { all: self.underway.clone(), name: name.to_owned() })
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.all.lock().remove(&self.name);
    }
}

impl Notes {
    /// Adds the notes to the transaction of their message. What is returned is to be dropped when that has ended.
    pub(super) fn add_to(self, acceptance: &mut Acceptance) -> Vec<Underway> {
        acceptance.reports.extend(self.reports);
        acceptance.events.extend(self.events);
        acceptance.records.extend(self.records);
        self.underway
    }
}

/// A message and where it goes, as its notes depend on them.
#[derive(Clone, Copy)]
struct Cause<'a> {
    store: &'a dyn Store,
    message: &'a Message,
    recipients: &'a [Recipient],
    routing: &'a Routing,
    decided: &'a Decided,
}

/// Returns the notes that a message causes.
///
/// # Errors
/// When the store fails.
pub(super) async fn notes(
    store: &dyn Store,
    message: &Message,
    (recipients, routing): (&[Recipient], &Routing),
    (decided, filtered): (&Decided, &Filtered),
) -> Result<Notes, StoreError> {
    let mut notes = Notes::default();
    if message.hold.is_some() || filtered.quarantine.is_some() {
        return Ok(notes);
    }
    let cause = Cause { store, message, recipients, routing, decided };
    if recipients.iter().any(|recipient| !recipient.resolved.limited.is_empty()) {
        Box::pin(room::warn(cause, &mut notes)).await?;
    }
    if let Some(sender) = sender(message, routing).filter(|_| !filtered.is_junk) {
        answer(cause, &sender, &mut notes).await?;
    }
    Ok(notes)
}

/// Returns the sender whom a note may go to; none if there is none, or if the message may be forged.
fn sender(message: &Message, routing: &Routing) -> Option<Address> {
    let ReversePath::Address(address) = &message.envelope.reverse_path else { return None };
    let is_forged = message.checked.as_ref().is_some_and(|checked| {
        let spf = checked.spf.as_ref().map(|spf| spf.outcome.result);
        match checked.dmarc.result {
            DmarcResult::Pass => false,
            DmarcResult::Fail | DmarcResult::TempError => true,
            _ => matches!(spf, Some(SpfResult::Fail | SpfResult::SoftFail | SpfResult::TempError)),
        }
    });
    if is_forged || header::is_program(address) {
        return None;
    }
    // What another server forwarded here comes from an address that leads back to its author.
    Some(routing.directory.original(address).unwrap_or_else(|| address.clone()))
}

/// Adds the notes to the sender.
async fn answer(cause: Cause<'_>, sender: &Address, notes: &mut Notes) -> Result<(), StoreError> {
    let mut seen = HashSet::new();
    let mut facts = None;
    for recipient in cause.recipients.iter().take(RECIPIENTS) {
        for owner in owners(cause.store, recipient).await? {
            let is_junk = match &owner {
                ArrangementOwner::Account(id) => cause.decided.is_junk(*id, false),
                ArrangementOwner::Alias(_) => false,
            };
            if is_junk || !seen.insert(owner.clone()) {
                continue;
            }
            let arrangements = cause.routing.directory.arrangements(&owner).await?;
            let Some(due) = arrangements.note(cause.message.time) else { continue };
            // From here on it is rare.
            let facts = match &mut facts {
                Some(facts) => facts,
                none => none.insert(Box::pin(facts_of(cause)).await?),
            };
            if facts.forbids_answers {
                return Ok(());
            }
            let about = About { owner: &owner, recipient: &recipient.address, sender, facts };
            Box::pin(answer_for(cause, about, due, notes)).await?;
        }
    }
    Ok(())
}

/// Returns whose notes a recipient's mail may be answered by: the owner of the address, and the only person that it leads
/// to.
async fn owners(
    store: &dyn Store,
    recipient: &Recipient,
) -> Result<Vec<ArrangementOwner>, StoreError> {
    let resolved = &recipient.resolved;
    let only = match &resolved.accounts[..] {
        [only] if !resolved.is_list() => Some(ArrangementOwner::Account(*only)),
        _ => None,
    };
    if only.is_some() && resolved.names.is_empty() {
        return Ok(only.into_iter().collect());
    }
    let mut owners: Vec<_> =
        ArrangementOwner::of(store, &recipient.address).await?.into_iter().collect();
    owners.extend(only.filter(|only| !owners.contains(only)));
    Ok(owners)
}

/// Reads the header section of the message, or as much of it as its first chunk has.
async fn facts_of(cause: Cause<'_>) -> Result<HeaderFacts, StoreError> {
    let Cause { store, message, .. } = cause;
    if message.chunks == 0 {
        return Ok(HeaderFacts::read(&message.rest));
    }
    let first = store.chunk(message.id, 0).await?;
    Ok(HeaderFacts::read(&first.unwrap_or_default()))
}

/// What a note to a sender is about.
#[derive(Clone, Copy)]
struct About<'a> {
    owner: &'a ArrangementOwner,
    /// The recipient that led to the owner.
    recipient: &'a Address,
    sender: &'a Address,
    facts: &'a HeaderFacts,
}

async fn answer_for(
    cause: Cause<'_>,
    about: About<'_>,
    due: DueNote<'_>,
    notes: &mut Notes,
) -> Result<(), StoreError> {
    let Cause { store, message, routing, .. } = cause;
    let Some(from) = author(cause, about).await? else { return Ok(()) };
    let name = format!("{} {}", about.owner.name(), about.sender.folded());
    let Some(underway) = routing.notes.begin(&name) else { return Ok(()) };
    let now = message.time;
    if was_told(store, &name, due.set, now).await? || !has_room(store, about.owner, now).await? {
        return Ok(());
    }
    let resolved = routing.directory.destination(about.sender).await?;
    if resolved.is_nothing() {
        return Ok(());
    }
    let id = routing.notes.clock.mail_id();
    // RFC 3834 §3.1.5: the subject says that the message is automatic.
    let subject = format!("Auto: {}", due.subject.unwrap_or(&about.facts.subject));
    let note = Note {
        hostname: routing.directory.hostname(),
        id,
        time: now,
        name: "",
        from: &from,
        to: about.sender,
        subject: subject.trim_end(),
        answers: Some(AnsweredMessage {
            message_id: message.message_id.as_deref(),
            references: about.facts.references.as_deref(),
        }),
        text: due.text,
    };
    let content = note.write();
    let head = match resolved.elsewhere.is_empty() {
        true => String::new(),
        false => sign_whole(&content, &routing.signers, now).await,
    };
    let require_tls = message.envelope.require_tls;
    // RFC 3834 §3.3: the reverse-path is null, so nothing ever answers the note.
    let note = Report { id, time: now, head, content, to: about.sender, require_tls };
    let mut note = report(note, &resolved);
    let record = now.as_second().to_string().into_bytes();
    note.records.push(MessageRecord { kind: TOLD, name, record });
    notes.reports.push(note);
    let (to, action) = (about.sender.clone(), AWAY.to_owned());
    let what = What::Reported { report: id, to, action };
    notes.events.push(Event { id: message.id, time: now, what });
    notes.underway.push(underway);
    Ok(())
}

/// Returns the address in whose name the note is sent; none if the owner's mail is not what the sender wrote: no address of
/// the owner is in To or Cc (RFC 3834 §2), or the owner is the sender.
async fn author(cause: Cause<'_>, about: About<'_>) -> Result<Option<Address>, StoreError> {
    let Cause { store, routing, .. } = cause;
    let About { owner, recipient, sender, facts } = about;
    let Some(address) = owner.address(store).await? else { return Ok(None) };
    let account = match owner {
        ArrangementOwner::Account(id) => store.account_by_id(*id).await?,
        ArrangementOwner::Alias(_) => None,
    };
    let further = account.iter().flat_map(|account: &Account| &account.send_as);
    let further = further.filter_map(|send_as| match send_as {
        SendAs::Address(address) => Some(address),
        SendAs::Anybody | SendAs::Domain(_) => None,
    });
    let tags = store.tags();
    let plain = |address: &Address| plain(address, &tags);
    let own: Vec<Address> = [&address, recipient].into_iter().chain(further).map(plain).collect();
    if own.contains(&plain(sender)) || !facts.addressed.iter().any(|to| own.contains(&plain(to))) {
        return Ok(None);
    }
    let owners = routing.directory.owners(sender).await?;
    if account.is_some_and(|account| owners.iter().any(|owner| owner.id == account.id)) {
        return Ok(None);
    }
    let is_owners = plain(recipient) == plain(&address);
    Ok(Some(if is_owners { address } else { recipient.clone() }))
}

/// Returns an address in lower case and without its tag.
fn plain(address: &Address, tags: &TagSeparators) -> Address {
    let folded = address.folded();
    tags.untagged(&folded).unwrap_or(folded)
}

/// Returns whether a sender has got the note within a week, since it was set.
async fn was_told(
    store: &dyn Store,
    name: &str,
    set: Timestamp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let told = store.kept_one(TOLD, name).await?.as_deref().and_then(told_at);
    Ok(told.is_some_and(|told| told >= set.as_second() && is_recent(told, now)))
}

fn told_at(record: &[u8]) -> Option<i64> {
    str::from_utf8(record).ok()?.parse().ok()
}

fn is_recent(told: i64, now: Timestamp) -> bool {
    Timestamp::from_second(told).is_ok_and(|told| now < told + WEEK)
}

/// Returns whether another sender may get the owner's note this week. Drops some of the senders who got it more than a
/// week ago.
async fn has_room(
    store: &dyn Store,
    owner: &ArrangementOwner,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let prefix = format!("{} ", owner.name());
    let records = store.kept_page(TOLD, &prefix, None, 2 * TOLD_EACH).await?;
    let is_old = |record: &[u8]| told_at(record).is_none_or(|told| !is_recent(told, now));
    let (old, recent): (HashMap<_, _>, HashMap<_, _>) =
        records.into_iter().partition(|(_, record)| is_old(record));
    for (name, record) in old.into_iter().take(FORGOTTEN) {
        store.keep_if(TOLD, &name, Some(record), None).await?;
    }
    let has_room = recent.len() < TOLD_EACH;
    if !has_room {
        tracing::warn!(
            owner = owner.name(),
            "a note of absence has gone to {TOLD_EACH} senders this week: further ones get none"
        );
    }
    Ok(has_room)
}
