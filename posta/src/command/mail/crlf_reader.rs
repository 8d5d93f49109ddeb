//! Reading files with local line ends as mail, whose lines end in CRLF.

use std::io::{self, Read};

/// The number of octets read at a time.
const PIECE: usize = 64 * 1024;

/// Reads octets with local line ends as lines that end in CRLF.
///
/// A file whose first line ends in CRLF is kept as it is, octet by octet: a server that writes such files keeps what
/// it was sent. Elsewhere each LF becomes CRLF.
pub(crate) struct CrlfReader<R> {
    inner: R,
    piece: Vec<u8>,
    converted: Vec<u8>,
    at: usize,
    last: u8,
    is_kept: Option<bool>,
}

impl<R: Read> CrlfReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        let piece = vec![0; PIECE];
        Self { inner, piece, converted: Vec::new(), at: 0, last: 0, is_kept: None }
    }

    fn refill(&mut self) -> io::Result<()> {
        let count = loop {
            match self.inner.read(&mut self.piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                count => break count?,
            }
        };
        let piece = &self.piece[..count];
        self.converted.clear();
        self.at = 0;
        let is_kept = *self.is_kept.get_or_insert_with(|| {
            let end = memchr::memchr(b'\n', piece);
            end.is_some_and(|end| end > 0 && piece[end - 1] == b'\r')
        });
        if is_kept {
            self.converted.extend_from_slice(piece);
            return Ok(());
        }
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', piece) {
            let before = if end == 0 { self.last } else { piece[end - 1] };
            self.converted.extend_from_slice(&piece[from..end]);
            if before != b'\r' {
                self.converted.push(b'\r');
            }
            from = end;
        }
        self.converted.extend_from_slice(&piece[from..]);
        self.last = piece.last().copied().unwrap_or(self.last);
        Ok(())
    }
}

impl<R: Read> Read for CrlfReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.converted.len() {
            self.refill()?;
        }
        let count = (&self.converted[self.at..]).read(buffer)?;
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives out its octets in pieces of one size.
    struct InPieces<'o>(&'o [u8], usize);

    impl Read for InPieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            let (now, later) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    #[test]
    fn line_ends_become_crlf_once() {
        for (octets, expected) in [
            (&b"a\nb\r\nc\r\n\n\rd"[..], &b"a\r\nb\r\nc\r\n\r\n\rd"[..]),
            (b"\n\n", b"\r\n\r\n"),
            (b"a\r\nb\nc\r", b"a\r\nb\nc\r"),
            (b"", b""),
            (b"a", b"a"),
        ] {
            for size in [3, 4, 100] {
                let mut read = Vec::new();
                CrlfReader::new(InPieces(octets, size)).read_to_end(&mut read).unwrap();
                assert_eq!(read, expected, "{size}");
            }
        }
    }
}
