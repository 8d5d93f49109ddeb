//! Maildrops: the messages of an account that POP3 serves, which are those of its inbox.
//!
//! A maildrop is a list of blocks, each of which lists the messages of a range of UIDs. All maildrops
//! with the same messages in a range share the block. An arrival makes one new block, and a removal one
//! for each affected range, however many messages the mailbox has.

mod block;

pub use block::Block;

use crate::names::Uid;
use std::{fmt::Write as _, sync::Arc};

/// One stable view of an inbox. Messages have indices from 0, in the order of arrival.
#[derive(Debug, Clone, Default)]
pub struct Maildrop {
    /// The runs, in the order of their UIDs. None is empty.
    runs: Vec<Run>,
    octets: u64,
    /// The greatest number of any message.
    greatest: u64,
    /// The message at each index, counted by UIDs. The list ends where all further messages are in the
    /// order of their UIDs, so it is empty unless messages were restored or moved into the inbox.
    order: Arc<[u32]>,
}

#[derive(Debug, Clone)]
struct Run {
    /// The number of messages up to the end of the run.
    end: usize,
    block: Arc<Block>,
}

/// A message in a maildrop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The number that the message got at its arrival.
    pub number: u64,
    /// The octets that RETR sends.
    pub octets: u64,
    /// The UID, which names the message in the inbox.
    pub uid: Uid,
}

impl Maildrop {
    /// Makes a maildrop of blocks, given in the order of their ranges.
    pub fn from_blocks(blocks: impl IntoIterator<Item = Arc<Block>>) -> Self {
        let mut maildrop = Self::default();
        let mut is_ordered = true;
        for block in blocks.into_iter().filter(|block| !block.is_empty()) {
            is_ordered &= block.is_ordered() && block.least() >= maildrop.greatest;
            maildrop.greatest = block.greatest().max(maildrop.greatest);
            maildrop.octets += block.octets();
            let end = maildrop.len() + block.len();
            maildrop.runs.push(Run { end, block });
        }
        if !is_ordered {
            maildrop.arrange();
        }
        maildrop
    }

    /// Returns the blocks of the maildrop, in the order of their ranges.
    pub fn blocks(&self) -> impl Iterator<Item = &Arc<Block>> {
        self.runs.iter().map(|run| &run.block)
    }

    /// Returns the number of messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.last().map_or(0, |run| run.end)
    }

    /// Returns whether there are no messages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Returns the number of octets that RETR would send for all messages.
    #[must_use]
    pub const fn octets(&self) -> u64 {
        self.octets
    }

    /// Returns the message with this index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Summary> {
        let (block, at) = self.find(index)?;
        block.get(at)
    }

    /// Returns the messages in the order of their indices.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Summary> {
        let absent = Summary { number: 0, octets: 0, uid: Uid(0) };
        // Every index below the length has a message.
        (0..self.len()).map(move |index| self.get(index).unwrap_or(absent))
    }

    /// Returns the unique-id that a message brought from its earlier place.
    #[must_use]
    pub fn imported(&self, index: usize) -> Option<&str> {
        let (block, at) = self.find(index)?;
        block.imported(at)
    }

    /// Returns all unique-ids that messages brought from their earlier places, in the order of their
    /// UIDs.
    pub fn imported_ids(&self) -> impl Iterator<Item = &str> {
        self.runs.iter().flat_map(|run| run.block.imported_ids())
    }

    /// Appends the unique-id of the message with this index.
    pub fn write_unique_id(&self, index: usize, text: &mut String) {
        let Some((block, at)) = self.find(index) else { return };
        if let Some(unique_id) = block.imported(at) {
            text.push_str(unique_id);
        } else if let Some(message) = block.get(at) {
            // Writing to a string cannot fail.
            let _ = write!(text, "{:014x}", message.number);
        }
    }

    /// Returns the block of a message, and the position in it.
    fn find(&self, index: usize) -> Option<(&Block, usize)> {
        let at = self.order.get(index).map_or(index, |&at| at as usize);
        let run = self.runs.partition_point(|run| run.end <= at);
        let block = &*self.runs.get(run)?.block;
        let first = run.checked_sub(1).map_or(0, |before| self.runs[before].end);
        Some((block, at - first))
    }

    /// Adds a message with a greater UID than all others. Returns whether it is in the order of its UID.
    fn push(&mut self, message: Summary, imported: Option<&str>) -> bool {
        let range = Block::range(message.uid);
        let end = self.len() + 1;
        match self.runs.last_mut().filter(|run| run.block.covers() == range) {
            Some(run) => {
                Arc::make_mut(&mut run.block).push(message, imported);
                run.end = end;
            }
            None => {
                let mut block = Block::new(range);
                block.push(message, imported);
                self.runs.push(Run { end, block: Arc::new(block) });
            }
        }
        self.octets += message.octets;
        let is_ordered = message.number >= self.greatest;
        self.greatest = message.number.max(self.greatest);
        is_ordered
    }

    /// Determines the order of arrival: a message that was restored, or moved into the inbox, keeps its
    /// place in it.
    fn arrange(&mut self) {
        let messages = self.runs.iter().flat_map(|run| run.block.iter());
        let mut order: Vec<(u64, u32)> =
            messages.zip(0..).map(|(message, at)| (message.number, at)).collect();
        order.sort_unstable();
        while order.last().is_some_and(|&(_, at)| at as usize + 1 == order.len()) {
            order.pop();
        }
        self.order = order.into_iter().map(|(_, at)| at).collect();
    }
}

/// The messages come with the unique-ids that they brought along, in the order of their UIDs, which are
/// greater than those of all messages before.
impl<I: AsRef<str>> Extend<(Summary, Option<I>)> for Maildrop {
    fn extend<T: IntoIterator<Item = (Summary, Option<I>)>>(&mut self, messages: T) {
        let mut is_ordered = true;
        for (message, imported) in messages {
            is_ordered &= self.push(message, imported.as_ref().map(AsRef::as_ref));
        }
        if !is_ordered {
            self.arrange();
        }
    }
}

impl<I: AsRef<str>> FromIterator<(Summary, Option<I>)> for Maildrop {
    fn from_iter<T: IntoIterator<Item = (Summary, Option<I>)>>(messages: T) -> Self {
        let mut maildrop = Self::default();
        maildrop.extend(messages);
        maildrop
    }
}

/// Maildrops are equal if they list the same messages in the same order.
impl PartialEq for Maildrop {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.iter().eq(other.iter())
            && self.imported_ids().eq(other.imported_ids())
    }
}

impl Eq for Maildrop {}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(uid: u32, number: u64) -> (Summary, Option<String>) {
        let summary = Summary { number, octets: u64::from(uid) + 10, uid: Uid(uid) };
        (summary, uid.is_multiple_of(3).then(|| format!("old{uid}")))
    }

    fn numbers(maildrop: &Maildrop) -> Vec<u64> {
        maildrop.iter().map(|message| message.number).collect()
    }

    /// Checks the messages of a maildrop by every method.
    fn is_of(maildrop: &Maildrop, mut messages: Vec<(Summary, Option<String>)>) {
        let ids: Vec<_> = messages.iter().filter_map(|(_, id)| id.as_deref()).collect();
        assert_eq!(maildrop.imported_ids().collect::<Vec<_>>(), ids);
        messages.sort_by_key(|(message, _)| message.number);
        assert_eq!(maildrop.len(), messages.len());
        assert_eq!(
            maildrop.octets(),
            messages.iter().map(|(message, _)| message.octets).sum::<u64>()
        );
        for (index, (message, imported)) in messages.iter().enumerate() {
            assert_eq!(maildrop.get(index), Some(*message));
            assert_eq!(maildrop.imported(index), imported.as_deref());
            let mut text = String::new();
            maildrop.write_unique_id(index, &mut text);
            assert_eq!(text, imported.clone().unwrap_or(format!("{:014x}", message.number)));
        }
        assert_eq!(maildrop.get(messages.len()), None);
        assert_eq!(*maildrop, Maildrop::from_blocks(maildrop.blocks().cloned()));
    }

    #[test]
    fn messages_stand_in_the_order_in_which_they_arrived() {
        let mut messages: Vec<_> = (4_090..4_110).map(|uid| message(uid, u64::from(uid))).collect();
        let mut maildrop: Maildrop = messages.iter().cloned().collect();
        assert!(maildrop.order.is_empty());
        is_of(&maildrop, messages.clone());
        // Two messages are restored, and another one arrives afterwards.
        let back = [message(4_110, 4_000), message(4_111, 4_095), message(9_000, 9_000)];
        maildrop.extend(back.clone());
        messages.extend(back);
        is_of(&maildrop, messages.clone());
        assert_eq!(maildrop.order.len(), 22, "what arrives after that needs no order");
        maildrop.extend([message(9_001, 9_001)]);
        messages.push(message(9_001, 9_001));
        is_of(&maildrop, messages);
        assert_eq!(maildrop.order.len(), 22);
    }

    #[test]
    fn maildrops_share_what_they_have_in_common() {
        let before: Maildrop = (0..10_000).map(|uid| message(uid, u64::from(uid))).collect();
        let mut after = before.clone();
        after.extend([message(10_000, 10_000)]);
        let shared = before.blocks().zip(after.blocks());
        let shared: Vec<_> = shared.map(|(one, other)| Arc::ptr_eq(one, other)).collect();
        assert_eq!(shared, [true, true, false]);
        assert_eq!((before.len(), after.len()), (10_000, 10_001), "the first is as it was");
        let without = Maildrop::from_blocks(before.blocks().skip(1).cloned());
        assert_eq!(numbers(&without), (4_096..10_000).collect::<Vec<_>>());
    }
}
