//! The messages on the other server, according to its listings, and the state of each in the current
//! visit.

use posta_pop3::UniqueIds;
use std::collections::HashSet;

/// The messages on the other server, in the order in which it listed them.
pub(super) struct RemoteMessages {
    names: Names,
    states: Vec<State>,
}

enum Names {
    UniqueIds(UniqueIds),
    /// A server without UIDL: the messages have numbers only, from 1.
    Numbers,
}

/// The state of a message in the current visit.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Whether an earlier message has the same unique-id.
    repeats: bool,
    /// Whether any other message has the same unique-id.
    is_doubled: bool,
    /// Whether the message was fetched in an earlier visit.
    is_known: bool,
    /// Whether the message is too large, according to the server.
    is_too_large: bool,
    /// Whether the destination has the whole message.
    is_fetched: bool,
    /// Whether the server has accepted the command to remove the message.
    is_marked: bool,
}

impl RemoteMessages {
    /// Returns an empty list.
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

    /// Returns a list of `messages` messages without unique-ids.
    pub(super) fn counted(messages: u32) -> Self {
        Self { names: Names::Numbers, states: vec![State::default(); messages as usize] }
    }

    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// Returns the server's number of a message.
    pub(super) fn number(&self, index: usize) -> u32 {
        match &self.names {
            Names::UniqueIds(ids) => ids.get(index).map_or(0, |(number, _)| number),
            // A listing has no more lines than limits::POP3_LISTING_LINES.
            Names::Numbers => index as u32 + 1,
        }
    }

    /// Returns the unique-id of a message, as the server sent it.
    pub(super) fn unique_id(&self, index: usize) -> Option<&str> {
        match &self.names {
            Names::UniqueIds(ids) => ids.get(index).map(|(_, id)| id).filter(|id| !id.is_empty()),
            Names::Numbers => None,
        }
    }

    /// Returns the number of lines in the server's list that name no message, and the first of them.
    pub(super) fn nameless_lines(&self) -> (u64, &[String]) {
        match &self.names {
            Names::UniqueIds(ids) => ids.nameless(),
            Names::Numbers => (0, &[]),
        }
    }

    /// Returns the name of a message for texts that people read.
    pub(super) fn name(&self, index: usize) -> String {
        match self.unique_id(index) {
            Some(id) => format!("message {} ({id})", self.number(index)),
            None => format!("message {}", self.number(index)),
        }
    }

    /// Returns whether the unique-id distinguishes the message from all others. RFC 1939 §7 allows
    /// copies of one message to share a unique-id, and a hostile server can give different messages the
    /// same one. A repeated unique-id is therefore no proof that a message was fetched.
    pub(super) fn is_unique(&self, index: usize) -> bool {
        self.unique_id(index).is_some() && !self.states[index].is_doubled
    }

    /// Returns whether an earlier message has the same unique-id.
    pub(super) fn repeats(&self, index: usize) -> bool {
        self.states[index].repeats
    }

    /// Takes the sizes that the server announced, by message number. Messages of more than `most` octets
    /// are too large.
    pub(super) fn limit(&mut self, sizes: &[(u32, u64)], most: u64) {
        let too_large = sizes.iter().filter(|(_, octets)| *octets > most);
        let too_large: HashSet<u32> = too_large.map(|(number, _)| *number).collect();
        for index in 0..self.len() {
            self.states[index].is_too_large = too_large.contains(&self.number(index));
        }
    }

    /// Records that a message was fetched in an earlier visit.
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
