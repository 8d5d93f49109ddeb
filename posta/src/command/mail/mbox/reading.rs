//! Reading a message of an mbox: without the fields of programs, without quoting, and with CRLF as line ends.

use super::{Part, metadata, metadata::Metadata};
use crate::command::mail::crlf_reader::CrlfReader;
use std::{
    fs::File,
    io::{self, Cursor, Read},
    os::unix::fs::FileExt,
};

/// The most octets of a header section in which the fields of programs are looked for.
const HEADER: u64 = 256 * 1024;

/// Opens a message. Returns what programs know of it, and its content.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn open(
    file: File,
    part: &Part,
    is_quoted: bool,
) -> io::Result<(Metadata, Box<dyn Read>)> {
    let mut rest = InFile { file, at: part.start, end: part.end };
    let mut header = Vec::new();
    (&mut rest).take(HEADER).read_to_end(&mut header)?;
    let end = header_end(&header);
    rest.at = part.start + end as u64;
    header.truncate(end);
    let (metadata, header) = metadata::take_out(&header);
    let body: Box<dyn Read> =
        if is_quoted { Box::new(Unquoted::new(rest)) } else { Box::new(rest) };
    let whole = Cursor::new(header).chain(body);
    Ok((metadata, Box::new(CrlfReader::new(whole))))
}

/// Returns the offset behind the empty line after a header section.
fn header_end(header: &[u8]) -> usize {
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', header).map(|at| at + 1) {
        if matches!(&header[start..end], b"\n" | b"\r\n") {
            return end;
        }
        start = end;
    }
    header.len()
}

/// A part of a file.
struct InFile {
    file: File,
    at: u64,
    end: u64,
}

impl Read for InFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let room = left.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..room], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Takes one `>` away from lines that begin with at least one, and `From `.
struct Unquoted<R> {
    inner: R,
    piece: Vec<u8>,
    output: Vec<u8>,
    at: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the start of a line, after this many `>`, which are held back.
    Start(u64),
    /// After `>`, and this many octets of `From `, which are held back, too.
    Matched(u64, usize),
    Within,
}

const FROM: &[u8] = b"From ";

impl<R: Read> Unquoted<R> {
    fn new(inner: R) -> Self {
        let (piece, output) = (vec![0; 64 * 1024], Vec::new());
        Self { inner, piece, output, at: 0, state: State::Start(0) }
    }

    fn refill(&mut self) -> io::Result<()> {
        self.output.clear();
        self.at = 0;
        while self.output.is_empty() {
            let count = self.inner.read(&mut self.piece)?;
            if count == 0 {
                match self.state {
                    State::Start(quotes) => self.release(quotes, 0),
                    State::Matched(quotes, matched) => self.release(quotes, matched),
                    State::Within => {}
                }
                self.state = State::Within;
                return Ok(());
            }
            let mut at = 0;
            while at < count {
                at += self.step(at, count);
            }
        }
        Ok(())
    }

    /// Takes octets of the piece, and returns their number.
    fn step(&mut self, at: usize, count: usize) -> usize {
        let octet = self.piece[at];
        match self.state {
            State::Within => {
                let end = memchr::memchr(b'\n', &self.piece[at..count]).map(|end| end + 1);
                let taken = end.unwrap_or(count - at);
                self.output.extend_from_slice(&self.piece[at..at + taken]);
                if end.is_some() {
                    self.state = State::Start(0);
                }
                taken
            }
            // Many quotes are not held back: only whether there is one matters.
            State::Start(quotes) if octet == b'>' => {
                if quotes > 0 {
                    self.output.push(b'>');
                }
                self.state = State::Start(1);
                1
            }
            State::Start(quotes) => {
                self.state = State::Matched(quotes, 0);
                0
            }
            State::Matched(quotes, matched) if matched < FROM.len() && octet == FROM[matched] => {
                self.state = State::Matched(quotes, matched + 1);
                if matched + 1 == FROM.len() {
                    self.output.extend_from_slice(FROM);
                    self.state = State::Within;
                }
                1
            }
            State::Matched(quotes, matched) => {
                self.release(quotes, matched);
                self.state = State::Within;
                0
            }
        }
    }

    /// Passes on what was held back.
    fn release(&mut self, quotes: u64, matched: usize) {
        if quotes > 0 {
            self.output.push(b'>');
        }
        self.output.extend_from_slice(&FROM[..matched]);
    }
}

impl<R: Read> Read for Unquoted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.output.len() {
            self.refill()?;
        }
        let count = (&self.output[self.at..]).read(buffer)?;
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_quote_is_taken_away() {
        let text = b">From a\nFro\n>>From b\n>>x\nin >From c\nFrom d\n>\n>From";
        let expected = b"From a\nFro\n>From b\n>>x\nin >From c\nFrom d\n>\n>From";
        for size in [1, 2, 3, 5, 100] {
            let mut read = Vec::new();
            let mut unquoted = Unquoted::new(&text[..]);
            unquoted.piece.truncate(size);
            unquoted.read_to_end(&mut read).unwrap();
            assert_eq!(read, expected, "{size}");
        }
    }
}
