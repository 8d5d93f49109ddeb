//! Mail in local files: lines that end in LF, and those that look like the beginning of the next message of an mbox.

use std::io::{self, Write};

/// Turns CRLF into LF, also where a pair is split between two pieces.
#[derive(Default)]
pub(crate) struct LfLines {
    held_cr: bool,
}

impl LfLines {
    /// Takes a piece, and passes it on.
    pub(crate) fn write(
        &mut self,
        content: &[u8],
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.held_cr && !content.is_empty() {
            self.held_cr = false;
            if content[0] != b'\n' {
                write(b"\r")?;
            }
        }
        let held = content.strip_suffix(b"\r");
        self.held_cr |= held.is_some();
        let content = held.unwrap_or(content);
        let mut from = 0;
        for found in memchr::memmem::find_iter(content, b"\r\n") {
            write(&content[from..found])?;
            from = found + 1;
        }
        write(&content[from..])
    }

    /// Passes on what was held back at the end.
    pub(crate) fn finish(
        &mut self,
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        if std::mem::take(&mut self.held_cr) { write(b"\r") } else { Ok(()) }
    }
}

/// Quotes lines that begin with any number of `>` and `From ` by another `>`, since they would look like the
/// beginning of the next message (the "mboxrd" form, which is reversible).
#[derive(Default)]
pub(crate) struct FromQuoting {
    state: Quoting,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Quoting {
    /// At the start of a line, or after only `>` on it.
    #[default]
    Start,
    /// After this many octets of `From `, which are held back.
    Matched(usize),
    Within,
}

const FROM: &[u8] = b"From ";

impl FromQuoting {
    /// Writes a piece.
    pub(crate) fn write(&mut self, piece: &[u8], output: &mut dyn Write) -> io::Result<()> {
        let mut rest = piece;
        while let Some(&octet) = rest.first() {
            match self.state {
                Quoting::Within => {
                    let end = memchr::memchr(b'\n', rest).map(|at| at + 1);
                    let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
                    output.write_all(line)?;
                    rest = after;
                    if end.is_some() {
                        self.state = Quoting::Start;
                    }
                }
                Quoting::Start if octet == b'>' => {
                    output.write_all(b">")?;
                    rest = &rest[1..];
                }
                Quoting::Start => self.state = Quoting::Matched(0),
                Quoting::Matched(count) if octet == FROM[count] => {
                    rest = &rest[1..];
                    self.state = Quoting::Matched(count + 1);
                    if count + 1 == FROM.len() {
                        output.write_all(b">From ")?;
                        self.state = Quoting::Within;
                    }
                }
                Quoting::Matched(count) => {
                    output.write_all(&FROM[..count])?;
                    self.state = Quoting::Within;
                }
            }
        }
        Ok(())
    }
    /// Writes what was held back at the end.
    pub(crate) fn finish(&mut self, output: &mut dyn Write) -> io::Result<()> {
        match std::mem::take(&mut self.state) {
            Quoting::Matched(count) => output.write_all(&FROM[..count]),
            Quoting::Start | Quoting::Within => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mbox_quotes_what_looks_like_a_message() {
        let text = "From a\nFro\n>From b\n>>x\nin From c\nFrom";
        for size in [1, 2, 3, 100] {
            let mut quoting = FromQuoting::default();
            let mut output = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                quoting.write(piece, &mut output).unwrap();
            }
            quoting.finish(&mut output).unwrap();
            let quoted = String::from_utf8(output).unwrap();
            assert_eq!(quoted, ">From a\nFro\n>>From b\n>>x\nin From c\nFrom", "{size}");
        }
    }

    #[test]
    fn line_ends_are_local() {
        for size in [1, 2, 3, 100] {
            let mut lines = LfLines::default();
            let mut output = Vec::new();
            for piece in b"a\r\nb\rc\r\n\r\n\r".chunks(size) {
                lines.write(piece, |piece| output.write_all(piece)).unwrap();
            }
            lines.finish(|piece| output.write_all(piece)).unwrap();
            assert_eq!(output, b"a\nb\rc\n\n\r", "{size}");
        }
    }
}
