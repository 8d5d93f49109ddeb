//! The contents of the reference store.

use super::{Inner, MemoryStore};
use crate::{contents::Contents, error::Pending};
use bytes::Bytes;
use posta_mail::MailId;

impl Contents for MemoryStore {
    fn append(&self, content: MailId, index: u32, chunk: &[u8]) -> Pending<'_, ()> {
        self.with(|inner| {
            let chunks = inner.content.entry(content).or_default();
            debug_assert_eq!(chunks.len(), index as usize);
            chunks.push(Bytes::copy_from_slice(chunk));
            Ok(())
        })
    }

    fn discard(&self, content: MailId) -> Pending<'_, ()> {
        self.with(|inner| {
            inner.content.remove(&content);
            Ok(())
        })
    }

    fn chunk(&self, content: MailId, index: u32) -> Pending<'_, Option<Bytes>> {
        self.with(|inner| {
            let chunks = inner.content.get(&content);
            Ok(chunks.and_then(|chunks| chunks.get(index as usize)).cloned())
        })
    }
}

impl Inner {
    /// Counts an entry or an item out, with whose last the content goes.
    pub(super) fn unshow(&mut self, content: MailId) {
        if let Some(shown) = self.shown.get_mut(&content) {
            *shown -= 1;
            if *shown == 0 {
                self.shown.remove(&content);
                self.content.remove(&content);
            }
        }
    }
}
