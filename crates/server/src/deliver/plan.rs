//! From an envelope to a delivery for each mailbox and a queue item for each destination elsewhere.

use crate::directory::{Recipient, Resolved};
use posta_mail::{Address, MailId, ReversePath, ThreadId, Timestamp, trace};
use posta_store::{
    AccountId, Delivery, Destination, Envelope, Flags, FolderId, InMailbox, Item, ItemId,
    ItemState, Waiting,
};
use std::collections::{HashMap, HashSet};

/// A message that is to go to its recipients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    /// The message's id.
    pub(crate) id: MailId,
    /// The time of acceptance.
    pub(crate) time: Timestamp,
    /// The number of octets in head and content.
    pub(crate) octets: u64,
    /// The number of these octets that are the head's.
    pub(crate) head: u32,
    /// The number of octets that the content gains as lines ([`posta_store::Entry::added`]).
    pub(crate) added: u64,
    /// The conversation that the message belongs to.
    pub(crate) thread: ThreadId,
    /// The value of the Message-ID field.
    pub(crate) message_id: Option<&'a str>,
    /// The envelope, without recipients.
    pub(crate) envelope: &'a Envelope,
    /// The reverse-path for recipients to whom the message is forwarded.
    pub(crate) forwarder: &'a ReversePath,
    /// The time until which the message is held, if it is.
    pub(crate) hold: Option<Timestamp>,
    /// The state in which its items wait.
    pub(crate) state: ItemState,
}

/// Splits a message by its destinations.
pub(crate) fn split(message: Message<'_>, recipients: &[Recipient]) -> (Vec<Delivery>, Vec<Item>) {
    let mut items = Items { message, items: Vec::new(), known: HashMap::new() };
    for recipient in recipients {
        let waiting = |address: &Address| Waiting {
            address: address.clone(),
            notify: recipient.notify,
            original: recipient.original.clone(),
            reply: None,
        };
        if message.hold.is_some() && !recipient.resolved.accounts.is_empty() {
            items.add(Destination::Local, waiting(&recipient.address), false);
        }
        for address in &recipient.resolved.elsewhere {
            let destination = Destination::Domain(address.domain().to_owned());
            // An SRS address does not forward mail, but returns it.
            let is_forwarded = address != &recipient.address;
            items.add(destination, waiting(address), is_forwarded);
        }
    }
    let deliveries = match message.hold {
        Some(_) => Vec::new(),
        None => deliveries(
            &message.envelope.reverse_path,
            recipients
                .iter()
                .map(|recipient| (&recipient.address, &recipient.resolved.accounts[..])),
        ),
    };
    (deliveries, items.items)
}

struct Items<'a> {
    message: Message<'a>,
    items: Vec<Item>,
    /// The items so far, by destination and by whether the mail is forwarded there.
    known: HashMap<(Destination, bool), usize>,
}

impl Items<'_> {
    fn add(&mut self, destination: Destination, waiting: Waiting, is_forwarded: bool) {
        let Message {
            id,
            time,
            octets,
            head,
            added,
            thread,
            message_id,
            envelope,
            forwarder,
            hold,
            state,
        } = self.message;
        let next = self.items.len();
        let at = *self.known.entry((destination.clone(), is_forwarded)).or_insert(next);
        if at == next {
            self.items.push(Item {
                // A message has at most as many destinations as recipients.
                id: ItemId { content: id, index: next as u32 },
                octets,
                head,
                added,
                accepted: time,
                message_id: message_id.map(str::to_owned),
                thread: Some(thread).filter(|&thread| thread != ThreadId::alone(id)),
                envelope: match is_forwarded {
                    true => Envelope { reverse_path: forwarder.clone(), ..envelope.clone() },
                    false => envelope.clone(),
                },
                destination,
                recipients: Vec::new(),
                due: hold.unwrap_or(time),
                state,
                attempts: 0,
                delay_told: false,
                shared: false,
            });
        }
        let recipients = &mut self.items[at].recipients;
        // Two aliases may lead to the same address.
        if !recipients.iter().any(|known| known.address == waiting.address) {
            recipients.push(waiting);
        }
    }
}

/// Returns the deliveries. A mailbox gets a message once, however many of its addresses are recipients.
pub(crate) fn deliveries<'a>(
    reverse_path: &ReversePath,
    recipients: impl Iterator<Item = (&'a Address, &'a [AccountId])>,
) -> Vec<Delivery> {
    let mut deliveries: Vec<Delivery> = Vec::with_capacity(recipients.size_hint().0);
    let mut seen = HashSet::new();
    for (address, accounts) in recipients {
        for account in accounts.iter().filter(|account| seen.insert(**account)) {
            let mut prefix = trace::return_path(reverse_path);
            prefix.push_str(&trace::delivered_to(address));
            let prefix = prefix.into_bytes();
            deliveries.push(Delivery {
                account: *account,
                folder: FolderId::INBOX,
                prefix,
                unique_id: None,
                date: None,
                flags: Flags::NONE,
                keywords: Vec::new(),
            });
        }
    }
    deliveries
}

/// Returns the mailboxes that get a message, for the history: each once, with the address that first led
/// to it, as in [`deliveries`].
pub(crate) fn mailboxes<'a>(recipients: impl Iterator<Item = &'a Recipient>) -> Vec<InMailbox> {
    let mut told = Vec::with_capacity(recipients.size_hint().0);
    let mut seen = HashSet::new();
    for Recipient { address, resolved: Resolved { accounts, names, .. }, .. } in recipients {
        if names.is_empty() {
            let own = accounts.iter().filter(|account| seen.insert(**account));
            told.extend(own.map(|_| InMailbox::Own(address.folded())));
            continue;
        }
        let named = accounts.iter().zip(names).filter(|(account, _)| seen.insert(**account));
        let mailboxes: Vec<_> = named.map(|(_, name)| name.clone()).collect();
        if !mailboxes.is_empty() {
            told.push(InMailbox::Through { through: address.clone(), mailboxes });
        }
    }
    told
}
