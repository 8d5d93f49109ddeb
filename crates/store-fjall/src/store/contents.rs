//! The contents, in the log.

use super::{FjallStore, now};
use crate::{
    commit::Request,
    error::damaged,
    log::{ContentKey, Segments},
    tables::schema::{self, Schema},
};
use bytes::Bytes;
use posta_mail::MailId;
use posta_store::{Contents, Pending, StoreError};

/// How often a content is looked for that was moved while it was read.
const READS: usize = 8;

impl Contents for FjallStore {
    fn append(&self, content: MailId, index: u32, chunk: &[u8]) -> Pending<'_, ()> {
        let chunk = Bytes::copy_from_slice(chunk);
        self.request(|done| Request::Append { content, index, chunk, done })
    }

    fn discard(&self, content: MailId) -> Pending<'_, ()> {
        self.alone(move |committer| committer.discard(content))
    }

    fn chunk(&self, content: MailId, index: u32) -> Pending<'_, Option<Bytes>> {
        let key = schema::content_key(content, index);
        let place = match self.schema().and_then(|schema| schema.place(key)) {
            Ok(Some(place)) => place,
            other => return now(|| other.map(|_| None)),
        };
        if let Some(chunk) = self.segments.read_at_hand(place, key) {
            return now(|| Ok(Some(chunk)));
        }
        let segments = self.segments.clone();
        self.read(move |schema| read(schema, &segments, key))
    }
}

/// Reads a chunk from the disk.
fn read(
    schema: &Schema,
    segments: &Segments,
    key: ContentKey,
) -> Result<Option<Bytes>, StoreError> {
    for _ in 0..READS {
        let Some(place) = schema.place(key)? else { return Ok(None) };
        let chunk = segments.read(place, key)?;
        if chunk.is_some() {
            return Ok(chunk);
        }
    }
    Err(damaged("a message's content"))
}
