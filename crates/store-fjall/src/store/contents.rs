//! The contents, in the log.

use super::{FjallStore, now};
use crate::{commit::Request, error::damaged, tables::schema};
use bytes::Bytes;
use posta_mail::MailId;
use posta_store::{Contents, Pending};

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
        now(|| {
            let key = schema::content_key(content, index);
            for _ in 0..READS {
                let Some(place) = self.schema()?.place(key)? else { return Ok(None) };
                let chunk = self.segments.read(place, key)?;
                if chunk.is_some() {
                    return Ok(chunk);
                }
            }
            Err(damaged("a message's content"))
        })
    }
}
