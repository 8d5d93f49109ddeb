//! What TOP shows of a message: its header section, the blank line, and some lines of its body
//! (RFC 1939 §7).

use memchr::memchr;
use posta_mail::crlf::CrlfLines;

/// Cuts a message, given piece by piece, after so many body lines. They are counted as they are sent:
/// a bare CR or LF ends a line, too.
#[derive(Debug)]
pub struct TopFilter {
    lines: CrlfLines,
    cut: Cut,
}

/// Where the top ends.
#[derive(Debug)]
struct Cut {
    body_lines: u64,
    in_header: bool,
    /// Whether the current line has octets.
    in_line: bool,
}

impl TopFilter {
    /// Makes a filter at the start of a message.
    #[must_use]
    pub fn new(body_lines: u64) -> Self {
        let cut = Cut { body_lines, in_header: true, in_line: false };
        Self { lines: CrlfLines::default(), cut }
    }

    /// Takes the next piece, and hands on what of it belongs to the top, as lines.
    pub fn push(&mut self, piece: &[u8], mut emit: impl FnMut(&[u8])) {
        let Self { lines, cut } = self;
        lines.push(piece, |lines| {
            let octets = cut.octets_of(lines);
            emit(&lines[..octets]);
        });
    }

    /// Returns the octets of the message's lines so far, those that were cut off included.
    #[must_use]
    pub const fn octets(&self) -> u64 {
        self.lines.octets()
    }

    /// Returns whether the top is complete, so that the rest of the message need not be read.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.cut.is_done()
    }
}

impl Cut {
    const fn is_done(&self) -> bool {
        !self.in_header && self.body_lines == 0
    }

    /// Returns how many octets of a run of lines belong to the top. A CRLF is never split over two runs.
    fn octets_of(&mut self, lines: &[u8]) -> usize {
        let mut from = 0;
        while !self.is_done() {
            let Some(length) = memchr(b'\n', &lines[from..]) else {
                self.in_line |= from < lines.len();
                return lines.len();
            };
            let is_blank = !self.in_line && length == 1;
            if !self.in_header {
                self.body_lines -= 1;
            } else if is_blank {
                self.in_header = false;
            }
            self.in_line = false;
            from += length + 1;
        }
        from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(message: &str, lines: u64, size: usize) -> String {
        let mut filter = TopFilter::new(lines);
        let mut shown = Vec::new();
        for piece in message.as_bytes().chunks(size) {
            filter.push(piece, |lines| shown.extend_from_slice(lines));
            if filter.is_done() {
                break;
            }
        }
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn the_header_section_and_some_lines() {
        let message = "A: 1\r\nB: 2\r\n\r\none\r\n\r\nthree\r\n";
        for size in [1, 2, 3, 100] {
            assert_eq!(top(message, 0, size), "A: 1\r\nB: 2\r\n\r\n");
            assert_eq!(top(message, 1, size), "A: 1\r\nB: 2\r\n\r\none\r\n");
            assert_eq!(top(message, 2, size), "A: 1\r\nB: 2\r\n\r\none\r\n\r\n");
            assert_eq!(top(message, 3, size), message);
            assert_eq!(top(message, u64::MAX, size), message);
            assert_eq!(top("A: 1\r\n", 0, size), "A: 1\r\n");
            assert_eq!(top("\r\nbody\r\n", 0, size), "\r\n");
        }
    }

    #[test]
    fn lines_are_counted_as_they_are_sent() {
        for size in [1, 2, 3, 100] {
            assert_eq!(
                top("A: 1\nB: 2\n\none\rtwo\r\nthree", 2, size),
                "A: 1\r\nB: 2\r\n\r\none\r\ntwo\r\n"
            );
            assert_eq!(top("A: 1\r\r\none\n", 0, size), "A: 1\r\n\r\n");
            assert_eq!(top("A: 1\n\rone\n", 0, size), "A: 1\r\n\r\n");
        }
    }
}
