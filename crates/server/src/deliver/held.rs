//! Held messages (RFC 4865) whose time has come, and their delivery into local mailboxes. `send` calls
//! this module.

use super::{outcome::Outcome, plan};
use crate::directory::{Directory, Recipient};
use posta_mail::Reply;
use posta_store::{Delivery, InMailbox, Item, StoreError};

/// The result of releasing a held message.
pub(crate) struct Released {
    /// The replies about the item's recipients, in their order.
    pub(crate) replies: Vec<Reply>,
    /// The mailboxes that get the message.
    pub(crate) deliveries: Vec<Delivery>,
    /// The same mailboxes, for the history.
    pub(crate) mailboxes: Vec<InMailbox>,
    /// The copies for alias members that lead to nobody.
    pub(crate) broken: Vec<Outcome>,
}

/// Finds the mailboxes that an item's recipients lead to now.
///
/// # Errors
/// When the store fails.
pub(crate) async fn release(directory: &Directory, item: &Item) -> Result<Released, StoreError> {
    let mut recipients = Vec::with_capacity(item.recipients.len());
    for recipient in &item.recipients {
        recipients.push(Recipient {
            address: recipient.address.clone(),
            resolved: directory.later_destination(&recipient.address, item.accepted).await?,
            notify: recipient.notify,
            original: recipient.original.clone(),
        });
    }
    let is_there = |recipient: &&Recipient| !recipient.resolved.accounts.is_empty();
    let reached = recipients.iter().filter(is_there);
    Ok(Released {
        replies: recipients.iter().map(reply).collect(),
        deliveries: plan::deliveries(
            &item.envelope.reverse_path,
            reached.clone().map(|to| (&to.address, &to.resolved.accounts[..])),
        ),
        mailboxes: plan::mailboxes(reached.clone()),
        broken: Outcome::broken(reached),
    })
}

fn reply(recipient: &Recipient) -> Reply {
    match &recipient.resolved {
        found if !found.accounts.is_empty() => Reply::new(250, (2, 1, 5), "It is in the mailbox"),
        found if found.elsewhere.iter().any(|to| *to != recipient.address) => {
            let words = "The address has moved to another server since: send the message again";
            Reply::new(550, (5, 1, 6), words)
        }
        found => match found.broken.first() {
            Some(broken) => broken.reply(),
            None => Reply::new(550, (5, 1, 1), "No such user here"),
        },
    }
}
