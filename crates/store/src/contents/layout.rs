//! The positions of a message's octets: the pieces that a reader requests with
//! [`Contents::chunk`](crate::Contents::chunk).
//!
//! A message, as all of its recipients get it, consists of the *head*, which this server adds (Received
//! and other trace fields), and the *content*, which the sender sent. The head is known only after the
//! content has arrived, so it is stored where that costs least. A message of one chunk, as nearly all
//! are, is one piece, head and content, which is read at once. A longer message has its head in a
//! separate piece, [`HEAD`], beside its chunks.

use crate::contents::CHUNK;

/// The index of the piece with the head of a message of several chunks.
pub const HEAD: u32 = u32::MAX;

/// How the octets of a message are spread over its pieces.
///
/// ```
/// use posta_store::{CHUNK, HEAD, Layout};
///
/// assert_eq!(Layout::new(200, 4_000).at(1_000), (0, 1_000));
/// let long = Layout::new(200, 3 * CHUNK as u64);
/// assert_eq!(long.at(100), (HEAD, 100));
/// assert_eq!(long.at(CHUNK as u64 + 201), (1, 1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    head: u64,
    content: u64,
}

impl Layout {
    /// Returns the layout of a message, given the number of octets in its head and in its content.
    #[must_use]
    pub const fn new(head: u64, content: u64) -> Self {
        Self { head, content }
    }

    /// Returns the number of octets in the head.
    #[must_use]
    pub const fn head(self) -> u64 {
        self.head
    }

    /// Returns the number of octets in head and content together.
    #[must_use]
    pub const fn octets(self) -> u64 {
        self.head + self.content
    }

    /// Returns the number of chunks of the content.
    #[must_use]
    pub const fn chunks(self) -> u32 {
        // A message of 2^32 chunks would have a petabyte.
        self.content.div_ceil(CHUNK as u64) as u32
    }

    /// Returns whether the head is a separate piece.
    #[must_use]
    pub const fn has_own_head(self) -> bool {
        self.head > 0 && self.chunks() > 1
    }

    /// Returns the indices of the pieces, in reading order.
    pub fn pieces(self) -> impl Iterator<Item = u32> {
        self.has_own_head().then_some(HEAD).into_iter().chain(0..self.chunks().max(1))
    }

    /// Returns the piece that contains an octet of the message, and the position within it.
    #[must_use]
    pub const fn at(self, offset: u64) -> (u32, usize) {
        if self.chunks() <= 1 {
            return (0, offset as usize);
        }
        match offset.checked_sub(self.head) {
            None => (HEAD, offset as usize),
            Some(offset) => ((offset / CHUNK as u64) as u32, (offset % CHUNK as u64) as usize),
        }
    }
}
