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
    /// The folder of the message.
    pub folder: FolderId,
    /// The UID, which names the message in its folder.
    pub uid: Uid,
    /// The content, which identifies the message wherever it is: its EMAILID (RFC 8474 §5.1).
    pub content: MailId,
    /// The conversation that the message belongs to: its THREADID (RFC 8474 §5.2).
    pub thread: ThreadId,
    /// The number of octets that RETR sends: prefix, head and content together, as lines.
    pub octets: u64,
    /// How many of these octets are not kept: as lines, content gains one for each bare CR or LF, and two
    /// where the last line has no end ([`posta_mail::crlf`]).
    pub added: u64,
    /// The number of octets in the head.
    pub head: u32,
    /// When it was accepted, here or where it was before: its internal date (RFC 9051 §2.3.3).
    pub time: Timestamp,
    /// The flags that readers have set.
    pub flags: Flags,
    /// The keywords that readers have set, sorted and without repetition.
    pub keywords: Vec<Keyword>,
    /// The mod-sequence of the arrival in the folder.
    pub created: ModSeq,
    /// The mod-sequence of the last change; equal to `created` if there was none.
    pub mod_seq: ModSeq,
    /// The unique-id in POP3.
    pub unique_id: UniqueId,
    /// Whether other entries may refer to the same content.
    pub shared: bool,
    /// The fields above head and content for this recipient only.
    pub prefix: Vec<u8>,
}

impl Entry {
    /// Returns the number of stored octets of prefix, head and content.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.octets.saturating_sub(self.added)
    }

    /// Returns the layout of head and content.
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
    /// The number that the message got at its arrival, by which a maildrop is sorted; its text is the
    /// unique-id.
    pub number: u64,
    /// The unique-id that the message brought from its earlier place, used instead.
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
