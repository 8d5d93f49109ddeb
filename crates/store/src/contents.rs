//! Contents: the messages as senders sent them, stored once, in chunks.

mod layout;

pub use layout::{HEAD, Layout};

use crate::error::Pending;
use bytes::Bytes;
use posta_mail::MailId;

/// The number of octets in every chunk of a message's content except its last one. Limits the part of a
/// message that a session holds in memory.
pub const CHUNK: usize = 256 * 1024;

/// The contents of messages: immutable, and stored once, however many mailboxes and items refer to them.
pub trait Contents: Send + Sync + 'static {
    /// Stores a chunk of a message that is still arriving. Each chunk has exactly [`CHUNK`] octets; the
    /// rest, shorter or not, comes with [`Mailboxes::accept`](crate::Mailboxes::accept). The call is not
    /// durable by itself, and no mailbox contains the chunk until the message is accepted. Content that
    /// will never be accepted may come in pieces of any length up to that; [`Contents::chunk`] reads
    /// them until they are discarded.
    fn append(&self, content: MailId, index: u32, chunk: &[u8]) -> Pending<'_, ()>;

    /// Discards the chunks of a message that will not be accepted. Chunks left behind by a crash are
    /// discarded by the store itself, so this need not be durable.
    fn discard(&self, content: MailId) -> Pending<'_, ()>;

    /// Returns a piece of a message according to its [`Layout`]: a chunk of its content, of [`CHUNK`]
    /// octets or fewer for the last one, or its head. If there is only one chunk, the head is in front
    /// of it.
    fn chunk(&self, content: MailId, index: u32) -> Pending<'_, Option<Bytes>>;
}
