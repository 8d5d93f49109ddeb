//! A maildrop with the marks of one session.

use crate::{maildrop::Maildrop, marks::Marks};
use posta_mail::limits;
use std::fmt::Write as _;

/// A maildrop and its marks: the subject of STAT, LIST and DELE.
#[derive(Debug)]
pub(crate) struct View<M> {
    pub(crate) maildrop: M,
    deleted: Marks,
    /// Messages and octets that are not marked.
    pub(crate) messages: usize,
    pub(crate) octets: u64,
}

impl<M: Maildrop> View<M> {
    pub(crate) fn new(maildrop: M) -> Self {
        let mut view = Self { maildrop, deleted: Marks::default(), messages: 0, octets: 0 };
        view.reset();
        view
    }

    /// Removes the marks from all messages.
    pub(crate) fn reset(&mut self) {
        self.deleted = Marks::default();
        self.messages = self.maildrop.len();
        self.octets = self.maildrop.octets_in_all();
    }

    /// Returns whether any message is marked.
    pub(crate) fn has_marks(&self) -> bool {
        self.messages < self.maildrop.len()
    }

    pub(crate) fn is_deleted(&self, index: usize) -> bool {
        self.deleted.contains(index)
    }

    /// Returns the index of a message that exists and is not marked.
    pub(crate) fn index(&self, number: u32) -> Option<usize> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        (index < self.maildrop.len() && !self.is_deleted(index)).then_some(index)
    }

    /// Marks a message as deleted.
    pub(crate) fn delete(&mut self, index: usize) {
        self.deleted.insert(index);
        self.messages -= 1;
        self.octets -= self.maildrop.octets(index);
    }

    /// Takes the marks: the messages that are marked as deleted.
    pub(crate) fn take_marked(&mut self) -> Marks {
        std::mem::take(&mut self.deleted)
    }

    /// Appends a line with a message's number and unique-id.
    pub(crate) fn write_unique_id(&self, status: &str, index: usize, output: &mut Vec<u8>) {
        let mut line = String::with_capacity(limits::UNIQUE_ID + 16);
        let _ = write!(line, "{status}{} ", index + 1);
        self.maildrop.write_unique_id(index, &mut line);
        line.push_str("\r\n");
        output.extend_from_slice(line.as_bytes());
    }
}
