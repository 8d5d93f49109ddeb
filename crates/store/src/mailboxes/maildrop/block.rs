//! Blocks: the part of a maildrop that lists one range of UIDs.

use super::Summary;
use crate::names::Uid;
use std::ops::RangeInclusive;

/// The number of bits of a UID that distinguish the messages of one block.
const BITS: u32 = 12;

/// The messages of a maildrop whose UIDs are in one range of 4,096, in the order of their UIDs. Each
/// takes eighteen octets, in addition to an imported unique-id.
#[derive(Debug, Clone, Default)]
pub struct Block {
    range: u32,
    /// The UIDs, without the bits that all have in common.
    offsets: Vec<u16>,
    octets: Vec<u64>,
    numbers: Vec<u64>,
    /// The unique-ids that messages brought along, each with its position.
    imported: Vec<(u16, Box<str>)>,
    octets_in_all: u64,
    least: u64,
    greatest: u64,
    is_unordered: bool,
}

impl Block {
    /// Returns a block without messages.
    #[must_use]
    pub fn new(range: u32) -> Self {
        Self { range, least: u64::MAX, ..Self::default() }
    }

    /// Returns a block without messages, with memory for some.
    #[must_use]
    pub fn with_capacity(range: u32, messages: usize) -> Self {
        Self {
            offsets: Vec::with_capacity(messages),
            octets: Vec::with_capacity(messages),
            numbers: Vec::with_capacity(messages),
            ..Self::new(range)
        }
    }

    /// Returns the range of a UID. Ranges are counted from 0.
    #[must_use]
    pub const fn range(uid: Uid) -> u32 {
        uid.0 >> BITS
    }

    /// Returns the UIDs of a range.
    #[must_use]
    pub const fn uids(range: u32) -> RangeInclusive<Uid> {
        let first = range << BITS;
        Uid(first)..=Uid(first | ((1 << BITS) - 1))
    }

    /// Returns the range of the block.
    #[must_use]
    pub const fn covers(&self) -> u32 {
        self.range
    }

    /// Adds a message of the range, with a greater UID than all messages before.
    pub fn push(&mut self, message: Summary, imported: Option<&str>) {
        let Summary { number, octets, uid } = message;
        debug_assert_eq!(Self::range(uid), self.range, "a message of another range");
        let at = self.len() as u16;
        self.imported.extend(imported.map(|id| (at, id.into())));
        self.is_unordered |= number < self.greatest;
        self.octets_in_all += octets;
        self.least = number.min(self.least);
        self.greatest = number.max(self.greatest);
        self.offsets.push((uid.0 & ((1 << BITS) - 1)) as u16);
        self.octets.push(octets);
        self.numbers.push(number);
    }

    /// Releases the memory that is reserved for further messages.
    pub fn close(&mut self) {
        self.offsets.shrink_to_fit();
        self.octets.shrink_to_fit();
        self.numbers.shrink_to_fit();
        self.imported.shrink_to_fit();
    }

    /// Returns the number of messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Returns whether there are no messages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Returns a message by its position in the block.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<Summary> {
        let (&offset, &octets) = (self.offsets.get(at)?, self.octets.get(at)?);
        let uid = Uid(self.range << BITS | u32::from(offset));
        Some(Summary { number: *self.numbers.get(at)?, octets, uid })
    }

    /// Returns the messages, in the order of their UIDs.
    pub fn iter(&self) -> impl Iterator<Item = Summary> {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    /// Returns the unique-id that a message brought along, by its position in the block.
    #[must_use]
    pub fn imported(&self, at: usize) -> Option<&str> {
        let found = self.imported.binary_search_by_key(&at, |(of, _)| usize::from(*of)).ok()?;
        self.imported.get(found).map(|(_, id)| &**id)
    }

    /// Returns the unique-ids that messages brought along, in the order of the messages.
    pub fn imported_ids(&self) -> impl Iterator<Item = &str> {
        self.imported.iter().map(|(_, id)| &**id)
    }

    /// Returns the number of octets that RETR would send for all messages.
    pub(super) const fn octets(&self) -> u64 {
        self.octets_in_all
    }

    /// Returns whether the messages arrived in the order of their UIDs.
    pub(super) const fn is_ordered(&self) -> bool {
        !self.is_unordered
    }

    /// Returns the least number of all messages.
    pub(super) const fn least(&self) -> u64 {
        self.least
    }

    /// Returns the greatest number of all messages.
    pub(super) const fn greatest(&self) -> u64 {
        self.greatest
    }
}
