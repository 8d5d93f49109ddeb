//! Contents: what senders sent, kept once, in chunks.

mod layout;

pub use layout::{HEAD, Layout};

use crate::error::Pending;
use bytes::Bytes;
use posta_mail::MailId;

/// Octets in every chunk of a message's content but its last. Bounds what a session holds of a
/// message in memory.
pub const CHUNK: usize = 256 * 1024;

/// The contents of messages: immutable, and kept once, however many mailboxes and items show them.
pub trait Contents: Send + Sync + 'static {
    /// Keeps a chunk of a message that is still arriving. Each has exactly [`CHUNK`] octets; the
    /// rest, shorter or not, comes with [`Mailboxes::accept`](crate::Mailboxes::accept). Not durable by itself, and no mailbox
    /// shows it until the message is accepted. What is never to be accepted may come in pieces of
    /// any length up to that; [`Contents::chunk`] reads them until they are discarded.
    fn append(&self, content: MailId, index: u32, chunk: &[u8]) -> Pending<'_, ()>;

    /// Forgets the chunks of a message that will not be accepted. A store forgets those that a
    /// crash left behind by itself, and so this need not be durable.
    fn discard(&self, content: MailId) -> Pending<'_, ()>;

    /// Returns a piece of a message, as its [`Layout`] has it: a chunk of its content, of [`CHUNK`]
    /// octets or fewer for the last, or its head; where there is one chunk, that with the head above it.
    fn chunk(&self, content: MailId, index: u32) -> Pending<'_, Option<Bytes>>;
}
