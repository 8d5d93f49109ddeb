//! Reading a damaged segment: all pieces that are whole, also those behind the damage.
//!
//! A sender chooses what is in a message, and might put something into it that looks like pieces of this log. So behind
//! damage a piece counts as proven only if its chain leads there: it tells the checksum of the piece before it, and that is
//! what is left of the damaged one, or what its octets give. Nobody can know that checksum beforehand, since it covers the
//! random id of the message.

use super::{
    Segments,
    piece::{self, HEADER, Kind},
};
use crate::error::io_failed;
use memchr::memmem::Finder;
use posta_store::StoreError;
use std::{fs::File, os::unix::fs::FileExt};

/// Octets that are looked through at a time for the next piece.
const WINDOW: usize = 1024 * 1024;

/// Where a header has the segment's number.
const NUMBER: u64 = 16;

/// A piece that was found.
pub(crate) struct Found<'p> {
    pub(crate) kind: Kind,
    /// The octets without the header.
    pub(crate) body: &'p [u8],
    /// Whether the piece belongs to this log without a doubt.
    pub(crate) is_proven: bool,
}

/// What a scan found out about a segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// The place of the first damage that whole pieces stand behind.
    pub(crate) damage: Option<u64>,
    /// The end of the last whole piece.
    pub(crate) end: u64,
}

/// Calls `take` with each whole piece of a segment from a position on; `previous` is the checksum of the piece before it.
pub(crate) fn scan(
    segments: &Segments,
    number: u64,
    (from, previous): (u64, u64),
    take: &mut dyn FnMut(Found<'_>) -> Result<(), StoreError>,
) -> Result<Scanned, StoreError> {
    let Some(file) = segments.reader(number)? else { return Ok(Scanned::default()) };
    let length = file.metadata().map_err(io_failed)?.len();
    let mut scanned = Scanned { damage: None, end: from };
    let (mut at, mut proofs, mut broken) = (from, vec![previous], None);
    loop {
        let Some((header, piece)) = whole_at(&file, number, at, length)? else {
            if broken.is_none() {
                broken = Some(at);
                proofs = claims(&file, at, length)?;
            }
            match next(&file, number, at + 1, length)? {
                Some(next) => at = next,
                None => return Ok(scanned),
            }
            continue;
        };
        let is_proven = proofs.contains(&header.previous);
        if let Some(begins) = broken.take() {
            scanned.damage.get_or_insert(begins);
        } else if !is_proven {
            // The piece before it is whole, so this one is of an earlier use of the file's place.
            return Ok(scanned);
        }
        let body = piece.get(HEADER..).unwrap_or_default();
        take(Found { kind: header.kind, body, is_proven })?;
        at += HEADER as u64 + u64::from(header.length);
        scanned.end = at;
        // Nothing behind an unproven piece is proven by it.
        proofs = if is_proven { vec![header.checksum] } else { Vec::new() };
        if !is_proven {
            broken = Some(at);
        }
    }
}

fn whole_at(
    file: &File,
    number: u64,
    at: u64,
    length: u64,
) -> Result<Option<(piece::Header, Vec<u8>)>, StoreError> {
    let mut header = [0; HEADER];
    if at + HEADER as u64 > length {
        return Ok(None);
    }
    file.read_exact_at(&mut header, at).map_err(io_failed)?;
    let header = piece::Header::read(&header).filter(|header| header.segment == number);
    let Some(header) = header.filter(|it| u64::from(it.length) <= length - at - HEADER as u64)
    else {
        return Ok(None);
    };
    let mut piece = vec![0; HEADER + header.length as usize];
    file.read_exact_at(&mut piece, at).map_err(io_failed)?;
    Ok(piece::whole(&piece).map(|header| (header, piece)))
}

/// Returns the checksums that a damaged piece may have had: the one in its header, and the one that its octets give.
fn claims(file: &File, at: u64, length: u64) -> Result<Vec<u64>, StoreError> {
    let mut header = [0; HEADER];
    if at + HEADER as u64 > length {
        return Ok(Vec::new());
    }
    file.read_exact_at(&mut header, at).map_err(io_failed)?;
    let mut claims: Vec<_> =
        header.first_chunk().map(|sum| u64::from_be_bytes(*sum)).into_iter().collect();
    if let Some(read) = piece::Header::read(&header)
        && u64::from(read.length) <= length - at - HEADER as u64
    {
        let mut body = vec![0; read.length as usize];
        file.read_exact_at(&mut body, at + HEADER as u64).map_err(io_failed)?;
        claims.push(piece::sum(&header, &body));
    }
    Ok(claims)
}

/// Returns the place of the next whole piece.
fn next(file: &File, number: u64, mut at: u64, length: u64) -> Result<Option<u64>, StoreError> {
    let wanted = number.to_be_bytes();
    let finder = Finder::new(&wanted);
    let mut window = vec![0; WINDOW];
    while at + (HEADER as u64) <= length {
        let begin = at + NUMBER;
        let read = file.read_at(&mut window, begin).map_err(io_failed)?;
        for found in finder.find_iter(&window[..read]) {
            let place = at + found as u64;
            if whole_at(file, number, place, length)?.is_some() {
                return Ok(Some(place));
            }
        }
        if read < wanted.len() {
            break;
        }
        at += (read - (wanted.len() - 1)) as u64;
    }
    Ok(None)
}
