//! The contents of the reference store.

use super::{Inner, MemoryStore};
use crate::{
    contents::{Contents, HEAD, Layout},
    error::Pending,
};
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
            if index == HEAD {
                return Ok(inner.heads.get(&content).cloned());
            }
            let chunks = inner.content.get(&content);
            Ok(chunks.and_then(|chunks| chunks.get(index as usize)).cloned())
        })
    }
}

impl Inner {
    /// Stores the end of a message's content, and its head.
    pub(super) fn put_content(&mut self, id: MailId, layout: Layout, head: Vec<u8>, rest: Vec<u8>) {
        let chunks = self.content.entry(id).or_default();
        if layout.has_own_head() {
            self.heads.insert(id, head.into());
            chunks.push(rest.into());
        } else {
            chunks.push([head, rest].concat().into());
        }
    }

    /// Removes a reference of an entry or an item; the content goes with the last one.
    pub(super) fn unshow(&mut self, content: MailId) {
        if let Some(shown) = self.shown.get_mut(&content) {
            *shown -= 1;
            if *shown == 0 {
                self.shown.remove(&content);
                self.content.remove(&content);
                self.heads.remove(&content);
            }
        }
    }
}
