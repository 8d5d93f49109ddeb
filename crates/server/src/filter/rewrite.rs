//! Content that is written anew, with changed fields in its header section.
//!
//! Chunks have a fixed size, so a field that is longer or shorter than before moves all that follows. A message of one
//! chunk, as nearly all are, is changed in memory. A longer one is copied under another id and back, chunk by chunk:
//! it costs its octets twice on the disk, and memory for two chunks. A copy that a crash leaves behind is removed at
//! the next start, like all content that was not accepted.

use super::content::FilterContent;
use posta_filters::changes::{FieldEdit, HeaderEditor};
use posta_mail::{MailId, crlf::CrlfLines};
use posta_store::{CHUNK, Contents, StoreError};

/// Content that was written anew.
#[derive(Debug)]
pub struct Rewritten {
    /// Chunks that the store has.
    pub chunks: u32,
    /// What follows them. Not empty.
    pub rest: Vec<u8>,
    /// Octets that the content gains as lines ([`posta_store::Entry::added`]).
    pub added: u64,
}

impl Rewritten {
    /// Returns the octets of the content.
    #[must_use]
    pub const fn octets(&self) -> u64 {
        self.chunks as u64 * CHUNK as u64 + self.rest.len() as u64
    }
}

/// Changes fields of a message's content under the same id. `copy` is an id that nothing else has.
///
/// # Errors
/// When the store fails. The content of both ids must then be discarded.
pub async fn rewrite(
    content: &FilterContent<'_>,
    edits: Vec<FieldEdit>,
    copy: MailId,
) -> Result<Rewritten, StoreError> {
    let FilterContent { store, id, chunks, .. } = *content;
    // Content of one chunk is not under its id yet.
    let target = if chunks == 0 { id } else { copy };
    let mut writer = Writer { store, id: target, chunks: 0, rest: Vec::new() };
    let (mut editor, mut lines) = (HeaderEditor::new(edits), CrlfLines::default());
    let (mut octets, mut index) = (0, 0);
    let mut changed = Vec::new();
    while let Some(piece) = content.piece(index).await? {
        editor.push(&piece, &mut changed);
        lines.count(&changed);
        octets += changed.len() as u64;
        writer.write(&changed).await?;
        changed.clear();
        index += 1;
    }
    editor.finish(&mut changed);
    lines.count(&changed);
    lines.finish();
    octets += changed.len() as u64;
    writer.write(&changed).await?;
    let added = lines.octets().saturating_sub(octets);
    if target == copy {
        store.discard(id).await?;
        for index in 0..writer.chunks {
            let chunk = store.chunk(copy, index).await?;
            let missing = || StoreError::Damaged("content that was just written is missing".into());
            store.append(id, index, &chunk.ok_or_else(missing)?).await?;
        }
        store.discard(copy).await?;
    }
    Ok(Rewritten { chunks: writer.chunks, rest: writer.rest, added })
}

/// Writes content in chunks, and keeps what follows the last whole one.
struct Writer<'a> {
    store: &'a dyn Contents,
    id: MailId,
    chunks: u32,
    rest: Vec<u8>,
}

impl Writer<'_> {
    async fn write(&mut self, content: &[u8]) -> Result<(), StoreError> {
        self.rest.extend_from_slice(content);
        // The last chunk goes with the acceptance, so one that is full stays until more comes.
        while self.rest.len() > CHUNK {
            self.store.append(self.id, self.chunks, &self.rest[..CHUNK]).await?;
            self.chunks += 1;
            self.rest.drain(..CHUNK);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_filters::changes::Occurrence;
    use posta_mail::Timestamp;
    use posta_store::MemoryStore;

    fn id(number: u64) -> MailId {
        MailId::new(Timestamp::UNIX_EPOCH, number)
    }

    fn delete_x() -> Vec<FieldEdit> {
        vec![FieldEdit { name: "X".into(), which: Occurrence::All, new: None }]
    }

    async fn rewritten(whole: &[u8]) -> (Vec<u8>, u64) {
        let store = MemoryStore::default();
        let chunks = u32::try_from((whole.len() - 1) / CHUNK).unwrap();
        let (stored, rest) = whole.split_at(chunks as usize * CHUNK);
        for (index, chunk) in (0..).zip(stored.chunks(CHUNK)) {
            store.append(id(1), index, chunk).await.unwrap();
        }
        let content = FilterContent { store: &store, id: id(1), chunks, rest };
        let Rewritten { chunks, rest, added } = rewrite(&content, delete_x(), id(2)).await.unwrap();
        let mut found = Vec::new();
        for index in 0..chunks {
            found.extend_from_slice(&store.chunk(id(1), index).await.unwrap().unwrap());
        }
        assert_eq!(store.chunk(id(1), chunks).await.unwrap(), None, "nothing of before is left");
        assert_eq!(store.chunk(id(2), 0).await.unwrap(), None);
        assert!(!rest.is_empty() && rest.len() <= CHUNK);
        found.extend_from_slice(&rest);
        (found, added)
    }

    #[tokio::test]
    async fn content_of_any_size_is_changed() {
        for size in [3, CHUNK - 8, CHUNK, CHUNK + 5, 3 * CHUNK, 3 * CHUNK + 7] {
            let body: Vec<_> = (0..size).map(|at| b'a' + (at % 23) as u8).collect();
            let whole = [b"X: 1\r\nA: b\r\nX: 2\r\n\r\n", &body[..]].concat();
            let (found, added) = rewritten(&whole).await;
            assert_eq!(found, [b"A: b\r\n\r\n", &body[..]].concat(), "{size}");
            assert_eq!(added, 2, "the last line has no end");
        }
        assert_eq!(rewritten(b"X: 1\r\n\r\na\nb\r\n").await, (b"\r\na\nb\r\n".to_vec(), 1));
    }
}
