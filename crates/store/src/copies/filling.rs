//! Filling a store from another.

use super::{ContentRecord, Copies, CopyPlace, LastNumbers, PAGE, Page, Part, decode_secret};
use crate::{HEAD, PieceKey, StoreError};
use posta_mail::MailId;

/// What a store was filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// Whether an earlier copy was gone on with.
    pub went_on: bool,
    /// The numbers that the source gave out last.
    pub numbers: LastNumbers,
}

/// Fills a store, `to`, from another, whose name is `name`: from the beginning, or from where an earlier copy was broken
/// off. `told` is told the part, and the octets of every page and piece.
///
/// # Errors
/// As the methods of [`Copies`]; what was copied until then stays, for another try.
pub async fn fill(
    from: &dyn Copies,
    to: &dyn Copies,
    name: &str,
    told: &mut (dyn FnMut(Part, u64) + Send),
) -> Result<Filled, StoreError> {
    let numbers = from.last_numbers().await?;
    let begun = to.begin_copy(name).await?;
    let went_on = begun.is_some();
    let CopyPlace { part: first, mut after } = begun.unwrap_or(CopyPlace::BEGINNING);
    let parts = Part::ALL.into_iter().skip_while(|part| *part != first);
    for part in parts {
        loop {
            let Page { rows, next } = from.page(part, after.take(), PAGE).await?;
            match part {
                Part::Contents => {
                    for (key, value) in rows.iter() {
                        let content = ContentRecord::decode(key, value)?;
                        if content.whole.is_none() {
                            put_pieces(from, to, &content, told).await?;
                        }
                    }
                }
                Part::Secrets => {
                    for (key, _) in rows.iter() {
                        let of = decode_secret(key)?;
                        // It may be gone if the source is changed all the same; the comparison tells.
                        if let Some(secret) = from.secret(of).await? {
                            to.put_secret(of, secret).await?;
                        }
                    }
                }
                _ => {}
            }
            let octets = rows.octets().len() as u64;
            let behind = match &next {
                Some(next) => Some(CopyPlace { part, after: Some(next.clone()) }),
                None => after_part(part).map(|part| CopyPlace { part, after: None }),
            };
            // Behind the last part there is nothing: its last page may come again.
            let behind = behind.unwrap_or(CopyPlace { part, after: None });
            to.put_page(part, rows, behind).await?;
            told(part, octets);
            after = next;
            if after.is_none() {
                break;
            }
        }
    }
    to.end_copy(numbers).await?;
    Ok(Filled { went_on, numbers })
}

fn after_part(part: Part) -> Option<Part> {
    Part::ALL.into_iter().skip_while(|it| *it != part).nth(1)
}

/// Copies the pieces of a content that has several.
async fn put_pieces(
    from: &dyn Copies,
    to: &dyn Copies,
    content: &ContentRecord,
    told: &mut (dyn FnMut(Part, u64) + Send),
) -> Result<(), StoreError> {
    let mut pieces = PieceReader::new(from, content);
    while let Some((key, octets)) = pieces.next().await? {
        told(Part::Contents, octets.len() as u64);
        to.put_piece(key, octets).await?;
    }
    Ok(())
}

/// Reads the pieces of a content one after the other: the chunks, then the head.
pub(super) struct PieceReader<'a> {
    store: &'a dyn Copies,
    content: MailId,
    expected: u32,
    read: u32,
    next: Option<u32>,
}

impl<'a> PieceReader<'a> {
    pub(super) fn new(store: &'a dyn Copies, content: &ContentRecord) -> Self {
        let ContentRecord { id, pieces, .. } = *content;
        Self { store, content: id, expected: pieces, read: 0, next: Some(0) }
    }

    /// Returns the next piece; none if there are no more.
    pub(super) async fn next(&mut self) -> Result<Option<(PieceKey, bytes::Bytes)>, StoreError> {
        while let Some(index) = self.next {
            let piece = self.store.chunk(self.content, index).await?;
            self.next = match (&piece, index) {
                (_, HEAD) => None,
                (None, _) => Some(HEAD),
                (Some(_), index) => Some(index + 1),
            };
            if let Some(octets) = piece {
                self.read += 1;
                return Ok(Some((PieceKey { content: self.content, index }, octets)));
            }
        }
        if self.read != self.expected {
            return Err(StoreError::Damaged(format!(
                "the message {} has {} pieces, of which {} can be read",
                self.content, self.expected, self.read
            )));
        }
        Ok(None)
    }
}
