//! The content of a message that is complete but not accepted yet, read piece by piece.

use bytes::Bytes;
use posta_mail::MailId;
use posta_store::{CHUNK, Contents, StoreError};

/// The place of a message's content before the message is accepted.
#[derive(Clone, Copy)]
pub struct FilterContent<'a> {
    /// The store, which has the chunks.
    pub store: &'a dyn Contents,
    /// The message.
    pub id: MailId,
    /// Chunks that the store has.
    pub chunks: u32,
    /// What follows them.
    pub rest: &'a [u8],
}

impl FilterContent<'_> {
    /// Returns the octets of the content.
    #[must_use]
    pub const fn octets(&self) -> u64 {
        self.chunks as u64 * CHUNK as u64 + self.rest.len() as u64
    }

    /// Returns a piece by its number from 0; `None` beyond the last.
    ///
    /// # Errors
    /// When the store fails, or has lost the piece.
    pub async fn piece(&self, index: u32) -> Result<Option<Bytes>, StoreError> {
        if index < self.chunks {
            let chunk = self.store.chunk(self.id, index).await?;
            let missing = || StoreError::Damaged("content that has just come is missing".into());
            return chunk.ok_or_else(missing).map(Some);
        }
        let is_rest = index == self.chunks && !self.rest.is_empty();
        Ok(is_rest.then(|| Bytes::copy_from_slice(self.rest)))
    }
}
