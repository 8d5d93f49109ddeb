//! Reading a message's file: its time, and its content with CRLF line ends.

use crate::collect::{Destination, StoreDestination};
use posta_mail::Timestamp;
use std::{ffi::OsStr, fs::File, io, os::unix::ffi::OsStrExt};
use tokio::io::AsyncReadExt;

/// The number of octets read at a time.
const PIECE: usize = 64 * 1024;

/// The second in which 1995 began. No Maildir is older: qmail was the first to have any.
const FIRST_MAILDIR: i64 = 788_918_400;

/// The reason why a message was not imported.
pub(super) enum NotTaken {
    /// Its file cannot be read; other files may be readable.
    Unread(io::Error),
    /// It cannot be stored, and neither can the others.
    Unkept(io::Error),
}

/// Returns when a message arrived, as its file tells. The name begins with the second of the delivery. The file's
/// time is the internal date of what a mail program put there later (Dovecot), unless the Maildir was copied
/// without the times: so the earlier of the two counts. A name that only looks like a time is none.
pub(super) fn arrived(name: &OsStr, file: &File) -> Option<Timestamp> {
    let digits = name.as_bytes().split(|octet| !octet.is_ascii_digit()).next()?;
    let named = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    let named = named.and_then(|second| Timestamp::from_second(second).ok());
    let modified = file.metadata().and_then(|it| it.modified()).ok();
    let modified = modified.and_then(|time| Timestamp::try_from(time).ok());
    let times = [named, modified].into_iter().flatten();
    times.filter(|time| time.as_second() >= FIRST_MAILDIR).min()
}

/// Stores a message under a unique-id, with the date of its arrival if that is known.
pub(super) async fn take(
    file: File,
    unique_id: &str,
    date: Option<Timestamp>,
    destination: &mut StoreDestination,
) -> Result<(), NotTaken> {
    let mut file = tokio::fs::File::from_std(file);
    let mut piece = vec![0; PIECE];
    let mut lines = LineEnds::default();
    destination.begin(Some(unique_id)).await.map_err(NotTaken::Unkept)?;
    if let Some(date) = date {
        destination.arrived(date);
    }
    loop {
        match file.read(&mut piece).await {
            Ok(0) => return destination.end().await.map(|_| ()).map_err(NotTaken::Unkept),
            Ok(octets) => {
                let content = lines.convert(&piece[..octets]);
                destination.write(&content).await.map_err(NotTaken::Unkept)?;
            }
            Err(error) => {
                destination.abandon().await.map_err(NotTaken::Unkept)?;
                return Err(NotTaken::Unread(error));
            }
        }
    }
}

/// Converts local line ends to CRLF, also across the boundaries of pieces.
#[derive(Debug, Default)]
struct LineEnds {
    last: u8,
}

impl LineEnds {
    fn convert(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut converted = Vec::with_capacity(piece.len() + piece.len() / 16);
        for &octet in piece {
            if octet == b'\n' && self.last != b'\r' {
                converted.push(b'\r');
            }
            converted.push(octet);
            self.last = octet;
        }
        converted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_become_crlf_once() {
        let mut lines = LineEnds::default();
        let pieces = [&b"a\nb\r"[..], b"\nc\r\n\n", b"\rd"];
        let converted = pieces.map(|piece| lines.convert(piece)).concat();
        assert_eq!(converted, b"a\r\nb\r\nc\r\n\r\n\rd");
    }
}
