//! Entries: messages in the folders of accounts.

use super::flags::{Flags, Keyword};
use crate::{
    contents::Layout,
    names::{FolderId, ModSeq, Uid},
};
use posta_mail::{MailId, ThreadId, Timestamp};
use std::fmt;

/// A message in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The folder that it is in.
    pub folder: FolderId,
    /// Its name in the folder.
    pub uid: Uid,
    /// Its content, by which it is known to be the same message wherever it is: its EMAILID (RFC 8474 §5.1).
    pub content: MailId,
    /// The conversation that it belongs to: its THREADID (RFC 8474 §5.2).
    pub thread: ThreadId,
    /// Octets that RETR sends: those of prefix, head and content together, as lines.
    pub octets: u64,
    /// How many of these octets are not kept: as lines, content gains one for each bare CR or LF, and two
    /// where the last line has no end ([`posta_mail::crlf`]).
    pub added: u64,
    /// Octets of its head.
    pub head: u32,
    /// When it was accepted, here or where it was before: its internal date (RFC 9051 §2.3.3).
    pub time: Timestamp,
    /// What readers note with it.
    pub flags: Flags,
    /// The same in their own words: sorted, each once.
    pub keywords: Vec<Keyword>,
    /// When it came into the folder.
    pub created: ModSeq,
    /// When it was changed last. Equal to `created` if it was not.
    pub mod_seq: ModSeq,
    /// What POP3 calls it.
    pub unique_id: UniqueId,
    /// Whether other entries may show the same content.
    pub shared: bool,
    /// What stands above head and content for this recipient alone.
    pub prefix: Vec<u8>,
}

impl Entry {
    /// Octets of prefix, head and content as they are kept.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.octets.saturating_sub(self.added)
    }

    /// Returns where the octets of head and content lie.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let head = u64::from(self.head);
        let content = self.kept().saturating_sub(self.prefix.len() as u64 + head);
        Layout::new(head, content)
    }
}

/// A message's unique-id in POP3 (RFC 1939 §7). It stays for as long as the account has the message, in
/// whichever folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UniqueId {
    /// The number that it was given when it arrived, by which a maildrop is sorted; its text is the unique-id.
    pub number: u64,
    /// The unique-id that it brought along instead from where it was before.
    pub imported: Option<Box<str>>,
}

impl fmt::Display for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.imported {
            Some(imported) => f.write_str(imported),
            None => write!(f, "{:014x}", self.number),
        }
    }
}
