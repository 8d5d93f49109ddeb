//! A maildrop with the marks of one session.

use crate::question::Maildrop;
use posta_mail::limits;
use std::fmt::Write as _;

/// What STAT, LIST and DELE work on.
#[derive(Debug)]
pub(crate) struct View<M> {
    pub(crate) maildrop: M,
    /// Empty until the first DELE.
    deleted: Vec<bool>,
    /// Messages and octets that are not marked.
    pub(crate) messages: usize,
    pub(crate) octets: u64,
}

impl<M: Maildrop> View<M> {
    pub(crate) fn new(maildrop: M) -> Self {
        let mut view = Self { maildrop, deleted: Vec::new(), messages: 0, octets: 0 };
        view.reset();
        view
    }

    /// Removes the marks from all messages.
    pub(crate) fn reset(&mut self) {
        self.deleted = Vec::new();
        self.messages = self.maildrop.len();
        self.octets = self.maildrop.octets_in_all();
    }

    pub(crate) fn is_deleted(&self, index: usize) -> bool {
        self.deleted.get(index).copied().unwrap_or_default()
    }

    /// Returns the index of a message that exists and is not marked.
    pub(crate) fn index(&self, number: u32) -> Option<usize> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        (index < self.maildrop.len() && !self.is_deleted(index)).then_some(index)
    }

    /// Marks a message as deleted.
    pub(crate) fn delete(&mut self, index: usize) {
        if self.deleted.is_empty() {
            self.deleted = vec![false; self.maildrop.len()];
        }
        self.deleted[index] = true;
        self.messages -= 1;
        self.octets -= self.maildrop.octets(index);
    }

    /// Returns the indices of the messages that are marked as deleted.
    pub(crate) fn marked(&self) -> Vec<usize> {
        let marked = self.deleted.iter().enumerate().filter(|&(_, &deleted)| deleted);
        marked.map(|(index, _)| index).collect()
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
