//! What outside filters make of a message: the part of the verdict that other programs have.
//!
//! The message is changed as they want: fields that they add go to the top of the head, where readers look for what was
//! found out last, and changed fields are rewritten in the content. `deliver` obeys the action.

use super::{Message, Routing, To, Undelivered};
use crate::{
    directory::{Directory, Recipient},
    filter::{
        Filters, Judged,
        content::FilterContent,
        rewrite::{self, Rewritten},
    },
    sign::{
        converted::{Seals, without_seals},
        outgoing::{Outgoing, Signable},
    },
};
use posta_filters::{changes::HeaderChanges, facts::MessageFacts, verdict::FilterAction};
use posta_mail::{ClientAddress, Domain};
use posta_store::{CHUNK, Event, FilterResult, ItemState, Store, StoreError, What};

/// What the filters decided about a message that is not refused.
#[derive(Debug, Default)]
pub(super) struct Filtered {
    /// Whether it goes to the folder for junk.
    pub(super) is_junk: bool,
    /// Why it is kept away from its recipients, if it is.
    pub(super) quarantine: Option<String>,
    results: Vec<FilterResult>,
}

impl Filtered {
    /// Returns the state in which the message's items wait in the queue.
    pub(super) const fn state(&self) -> ItemState {
        match self.quarantine {
            Some(_) => ItemState::Quarantined,
            None => ItemState::Waiting,
        }
    }

    /// Returns what the history tells; none if no filter was asked.
    pub(super) fn told(self, message: &Message) -> Option<Event> {
        let decision = match (self.quarantine, self.is_junk) {
            (Some(reason), _) => Some(format!("into quarantine: {reason}")),
            (None, true) => Some("into the folder for junk".to_owned()),
            (None, false) => None,
        };
        let what = What::Filtered { results: self.results, decision };
        let is_asked = matches!(&what, What::Filtered { results, .. } if !results.is_empty());
        is_asked.then_some(Event { id: message.id, time: message.time, what })
    }
}

/// Asks the filters about a message, and changes it as they want.
///
/// # Errors
/// [`Undelivered::Refused`] when one refuses it; [`Undelivered::Store`] when the store fails.
pub(super) async fn ask(
    store: &dyn Store,
    message: &mut Message,
    to: &To<'_>,
) -> Result<Filtered, Undelivered> {
    let To::Recipients { recipients, routing, .. } = to else { return Ok(Filtered::default()) };
    let filters = &routing.filters;
    if !filters.are_for(message.is_submitted) {
        return Ok(Filtered::default());
    }
    let facts = facts(message, recipients, filters.hostname());
    let judged = filters.judge(facts, message.is_submitted, &content(store, message)).await?;
    let Judged { action, changes, results } = judged;
    let mut filtered = Filtered { results, ..Filtered::default() };
    match action {
        FilterAction::Accept => {}
        FilterAction::Junk => filtered.is_junk = true,
        FilterAction::Quarantine(reason) => filtered.quarantine = Some(reason),
        FilterAction::Refuse(reply) => {
            let last = filtered.results.last();
            let why = last.map(|result| match result.failed {
                true => format!("{} failed: {}", result.filter, result.said),
                false => format!("{}: {}", result.filter, result.said),
            });
            let untold = std::mem::take(&mut message.refused);
            return Err(Undelivered::Refused { reply, why, untold });
        }
    }
    // Fields that a filter adds are not ours, even if they look like signatures.
    let (seals, ours) = (Seals::of(&message.head), message.head.len());
    if change(store, message, filters, changes).await?
        && let Some(seals) = seals
    {
        sign_again(store, message, (seals, ours), routing).await?;
    }
    Ok(filtered)
}

fn content<'a>(store: &'a dyn Store, message: &'a Message) -> FilterContent<'a> {
    FilterContent { store, id: message.id, chunks: message.chunks, rest: &message.rest }
}

fn facts(message: &Message, recipients: &[Recipient], hostname: &Domain) -> MessageFacts {
    let origin = &message.origin;
    let iprev = message.checked.as_ref().and_then(|checked| checked.iprev.as_ref());
    MessageFacts {
        id: message.id.to_string(),
        hostname: hostname.to_string(),
        client: origin.client.map_or(ClientAddress::Unknown, ClientAddress::from),
        client_name: iprev.and_then(|iprev| iprev.name.clone()),
        hello: origin.hello.clone(),
        tls: origin.tls.clone(),
        account: origin.account.clone(),
        sender: message.envelope.reverse_path.clone(),
        recipients: recipients.iter().map(|recipient| recipient.address.clone()).collect(),
        octets: message.octets - message.head.len() as u64,
    }
}

/// Signs a message again if it was signed, since a filter has changed its fields. An ARC set is left out: it belongs to
/// the message as it arrived. Given are the seals that this server made, and the number of octets of its own fields,
/// which end the head.
async fn sign_again(
    store: &dyn Store,
    message: &mut Message,
    (before, ours): (Seals, usize),
    routing: &Routing,
) -> Result<(), StoreError> {
    let (added, own) = message.head.split_at(message.head.len() - ours);
    let head = [added, &without_seals(own, ours)].concat();
    let mut signatures = String::new();
    if before == Seals::Signature {
        let mut outgoing = Outgoing::new();
        let (content, mut index) = (content(store, message), 0);
        while let Some(piece) = content.piece(index).await? {
            outgoing.write(&piece);
            index += 1;
        }
        let signable = outgoing.end();
        if may_still_send(store, message, &signable, &routing.directory).await? {
            signatures = signable.sign(&routing.signers, message.time).await;
        }
    }
    message.octets -= message.head.len() as u64;
    message.head = [signatures.as_bytes(), &head].concat();
    message.octets += message.head.len() as u64;
    Ok(())
}

/// Returns whether the account that sent a message may send it with the authors that it has now. A filter that writes
/// another author, by mistake or because it was taken over, must not get a colleague's name signed.
async fn may_still_send(
    store: &dyn Store,
    message: &Message,
    signable: &Signable,
    directory: &Directory,
) -> Result<bool, StoreError> {
    // Who may relay without a login may write in any name.
    let Some(sender) = &message.origin.account else { return Ok(true) };
    let Some(account) = store.account(sender).await? else { return Ok(false) };
    for author in signable.originators() {
        if !directory.may_send_from((account.id, &account.send_as[..]), &author).await? {
            tracing::warn!(
                id = %message.id,
                %author,
                account = %sender,
                "a filter wrote an author whom the account may not use: the message goes out unsigned"
            );
            return Ok(false);
        }
    }
    Ok(true)
}

/// Changes the head and the content of a message. Returns whether its content was changed.
async fn change(
    store: &dyn Store,
    message: &mut Message,
    filters: &Filters,
    changes: HeaderChanges,
) -> Result<bool, StoreError> {
    let HeaderChanges { added, edits } = changes;
    let mut head = Vec::new();
    for field in added {
        // A head has a chunk at most; filters' fields together are bounded well below that.
        if head.len() + field.as_bytes().len() + message.head.len() <= CHUNK {
            head.extend_from_slice(field.as_bytes());
        }
    }
    message.octets += head.len() as u64;
    head.append(&mut message.head);
    message.head = head;
    if edits.is_empty() {
        return Ok(false);
    }
    let before = content(store, message).octets();
    let copy = filters.copy_id();
    let rewritten = rewrite::rewrite(&content(store, message), edits, copy).await;
    if rewritten.is_err() {
        // The failure is what the client hears of; the message's own chunks are discarded with it.
        let _ = store.discard(copy).await;
    }
    let rewritten = rewritten?;
    message.octets = message.octets - before + rewritten.octets();
    let Rewritten { chunks, rest, added } = rewritten;
    (message.chunks, message.rest, message.added) = (chunks, rest, added);
    Ok(true)
}
