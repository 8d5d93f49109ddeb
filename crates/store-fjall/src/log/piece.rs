//! Pieces: the units that a log consists of, one behind the other.
//!
//! | octets | field |
//! |--------|-------|
//! | 8      | checksum of the rest of the header and of the body |
//! | 8      | checksum of the piece before it in the segment; 0 for the first |
//! | 8      | number of the segment |
//! | 4      | length of the body |
//! | 4      | kind |
//! | 16     | key of a content, else zeros |
//! | …      | body |
//!
//! A segment's file is used again once nothing in it is needed, so old pieces follow the new ones. The segment's
//! number and the chain of checksums distinguish them: a piece behind the last one of the chain does not belong to
//! this log, even if it is whole.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Octets before each body.
pub(crate) const HEADER: usize = 48;

const CHECKSUM: usize = 8;

/// The key of a chunk of content: its message's id and its index.
pub(crate) type ContentKey = [u8; 16];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A chunk of a message, to which a record in a later piece refers.
    Content(ContentKey),
    /// The changes of one group, which are applied wholly or not at all.
    Records,
}

/// The header of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) checksum: u64,
    pub(crate) previous: u64,
    pub(crate) segment: u64,
    pub(crate) length: u32,
    pub(crate) kind: Kind,
}

impl Header {
    /// Reads a header; none if the octets are none.
    pub(crate) fn read(octets: &[u8; HEADER]) -> Option<Self> {
        let mut rest = octets.as_slice();
        let (checksum, previous, segment) =
            (number(&mut rest)?, number(&mut rest)?, number(&mut rest)?);
        let (length, kind) = (half(&mut rest)?, half(&mut rest)?);
        let key = rest.try_into().ok()?;
        let kind = match kind {
            1 => Kind::Content(key),
            2 => Kind::Records,
            _ => return None,
        };
        Some(Self { checksum, previous, segment, length, kind })
    }
}

/// Appends a piece, whose body is given in parts, to a buffer. Returns its checksum.
pub(crate) fn push(
    buffer: &mut Vec<u8>,
    segment: u64,
    previous: u64,
    kind: Kind,
    parts: &[&[u8]],
) -> u64 {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let (number, key) = match kind {
        Kind::Content(key) => (1u32, key),
        Kind::Records => (2, ContentKey::default()),
    };
    let start = buffer.len();
    buffer.extend_from_slice(&[0; CHECKSUM]);
    buffer.extend_from_slice(&previous.to_be_bytes());
    buffer.extend_from_slice(&segment.to_be_bytes());
    buffer.extend_from_slice(&(length as u32).to_be_bytes());
    buffer.extend_from_slice(&number.to_be_bytes());
    buffer.extend_from_slice(&key);
    parts.iter().for_each(|part| buffer.extend_from_slice(part));
    let (header, body) = buffer[start..].split_at(HEADER);
    let checksum = sum(header, body);
    buffer[start..start + CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    checksum
}

/// Returns the header of a piece if the piece is whole.
pub(crate) fn whole(piece: &[u8]) -> Option<Header> {
    let (octets, body) = piece.split_first_chunk()?;
    let header = Header::read(octets)?;
    (header.length as usize == body.len() && header.checksum == sum(octets, body)).then_some(header)
}

/// Returns the checksum of a header and a body.
pub(crate) fn sum(header: &[u8], body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, xxh3_64(&header[CHECKSUM..]))
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (octets, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_be_bytes(*octets))
}

fn half(rest: &mut &[u8]) -> Option<u32> {
    let (octets, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_be_bytes(*octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_whole_or_not_at_all() {
        let mut buffer = Vec::new();
        let checksum = push(&mut buffer, 7, 9, Kind::Content([3; 16]), &[b"bo", b"dy"]);
        let header = whole(&buffer);
        assert_eq!(
            header,
            Some(Header {
                checksum,
                previous: 9,
                segment: 7,
                length: 4,
                kind: Kind::Content([3; 16])
            })
        );
        for at in 0..buffer.len() {
            buffer[at] ^= 1;
            assert_eq!(whole(&buffer), None, "octet {at}");
            buffer[at] ^= 1;
        }
        for length in 0..buffer.len() {
            assert_eq!(whole(&buffer[..length]), None);
        }
    }
}
