//! Maildrops: what POP3 shows of an account, which is its inbox.

use crate::names::Uid;
use std::{collections::BTreeMap, fmt::Write as _};

/// One stable view of an inbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maildrop {
    /// In the order in which they arrived.
    pub messages: Vec<Summary>,
    /// What RETR sends of all of them.
    pub octets: u64,
    /// The unique-ids that messages brought along from where they were before.
    pub imported: BTreeMap<Uid, String>,
}

/// A line of a maildrop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The number that the message was given when it arrived.
    pub number: u64,
    /// The octets that RETR sends.
    pub octets: u64,
    /// Its name in the inbox.
    pub uid: Uid,
}

impl Maildrop {
    /// Adds a message. Whoever has added some says so with [`Maildrop::sort`].
    pub fn push(&mut self, message: Summary) {
        self.octets += message.octets;
        self.messages.push(message);
    }

    /// Brings the messages into the order in which they arrived: one that was brought back, or moved into the
    /// inbox, stands where it stood. Nothing to do, as usual, costs a look at each.
    pub fn sort(&mut self) {
        self.messages.sort_by_key(|message| message.number);
    }

    /// Appends the unique-id of a message, by its place in the list.
    pub fn write_unique_id(&self, index: usize, text: &mut String) {
        let Some(message) = self.messages.get(index) else { return };
        // Writing to a string cannot fail.
        let _ = match self.imported.get(&message.uid) {
            Some(unique_id) => write!(text, "{unique_id}"),
            None => write!(text, "{:014x}", message.number),
        };
    }
}
