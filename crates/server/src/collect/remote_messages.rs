//! What is on the server, as its listings tell, and what became of each message in this visit.

use posta_pop3::UniqueIds;
use std::collections::HashSet;

/// The messages on a server, in the order in which it listed them.
pub(super) struct Listed {
    names: Names,
    states: Vec<State>,
}

enum Names {
    UniqueIds(UniqueIds),
    /// A server without UIDL: the messages have numbers, from 1.
    Numbers,
}

/// What is known of a message.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Its unique-id is that of an earlier message, too.
    repeats: bool,
    /// Its unique-id is that of another message, too.
    is_doubled: bool,
    /// It was fetched before.
    is_known: bool,
    /// The server says that it is larger than it may be.
    is_too_large: bool,
    /// It came, and where it goes has it whole.
    is_fetched: bool,
    /// The server was told to remove it, and agreed.
    is_marked: bool,
}

impl Listed {
    /// Nothing is known to be there.
    pub(super) const fn nothing() -> Self {
        Self { names: Names::Numbers, states: Vec::new() }
    }

    /// Returns the messages with these unique-ids.
    pub(super) fn with_unique_ids(ids: UniqueIds) -> Self {
        let mut states = vec![State::default(); ids.len()];
        for group in ids.doubled() {
            for (place, index) in group.into_iter().enumerate() {
                let state = &mut states[index as usize];
                (state.repeats, state.is_doubled) = (place > 0, true);
            }
        }
        Self { names: Names::UniqueIds(ids), states }
    }

    /// Returns so many messages, which have no unique-ids.
    pub(super) fn counted(messages: u32) -> Self {
        Self { names: Names::Numbers, states: vec![State::default(); messages as usize] }
    }

    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// Returns the number by which the server knows a message.
    pub(super) fn number(&self, index: usize) -> u32 {
        match &self.names {
            Names::UniqueIds(ids) => ids.get(index).map_or(0, |(number, _)| number),
            // A listing has no more lines than limits::POP3_LISTING_LINES.
            Names::Numbers => index as u32 + 1,
        }
    }

    /// Returns the unique-id as the server told it.
    pub(super) fn unique_id(&self, index: usize) -> Option<&str> {
        match &self.names {
            Names::UniqueIds(ids) => ids.get(index).map(|(_, id)| id).filter(|id| !id.is_empty()),
            Names::Numbers => None,
        }
    }

    /// Returns what to call a message in what is said about it.
    pub(super) fn name(&self, index: usize) -> String {
        match self.unique_id(index) {
            Some(id) => format!("message {} ({id})", self.number(index)),
            None => format!("message {}", self.number(index)),
        }
    }

    /// Returns whether the unique-id tells the message from all others. RFC 1939 §7 lets copies of
    /// one message share a unique-id, and a hostile server gives one to messages that differ: so a
    /// unique-id that is seen twice is no proof that a message was fetched.
    pub(super) fn is_unique(&self, index: usize) -> bool {
        self.unique_id(index).is_some() && !self.states[index].is_doubled
    }

    /// Returns whether an earlier message has the same unique-id.
    pub(super) fn repeats(&self, index: usize) -> bool {
        self.states[index].repeats
    }

    /// Takes the sizes that the server tells, by message number.
    pub(super) fn limit(&mut self, sizes: &[(u32, u64)], most: u64) {
        let too_large = sizes.iter().filter(|(_, octets)| *octets > most);
        let too_large: HashSet<u32> = too_large.map(|(number, _)| *number).collect();
        for index in 0..self.len() {
            self.states[index].is_too_large = too_large.contains(&self.number(index));
        }
    }

    /// Notes that a message was fetched before.
    pub(super) fn known(&mut self, index: usize) {
        self.states[index].is_known = true;
    }

    pub(super) fn is_known(&self, index: usize) -> bool {
        self.states[index].is_known
    }

    pub(super) fn is_too_large(&self, index: usize) -> bool {
        self.states[index].is_too_large
    }

    pub(super) fn fetched(&mut self, index: usize) {
        self.states[index].is_fetched = true;
    }

    pub(super) fn is_fetched(&self, index: usize) -> bool {
        self.states[index].is_fetched
    }

    pub(super) fn marked(&mut self, index: usize) {
        self.states[index].is_marked = true;
    }

    pub(super) fn is_marked(&self, index: usize) -> bool {
        self.states[index].is_marked
    }
}
