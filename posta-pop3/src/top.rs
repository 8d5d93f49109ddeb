//! What TOP shows of a message: its header section, the blank line, and some lines of its body
//! (RFC 1939 §7).

use memchr::memchr;

/// Cuts a message, given piece by piece, after so many body lines.
#[derive(Debug)]
pub struct TopFilter {
    body_lines: u64,
    in_header: bool,
    /// Octets of the current line in the pieces before, and whether its only one was CR.
    line: LineSoFar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineSoFar {
    Empty,
    Cr,
    Longer,
}

impl TopFilter {
    /// A filter at the start of a message.
    #[must_use]
    pub const fn new(body_lines: u64) -> Self {
        Self { body_lines, in_header: true, line: LineSoFar::Empty }
    }

    /// How many octets of `piece` belong to the top.
    pub fn push(&mut self, piece: &[u8]) -> usize {
        let mut from = 0;
        while !self.is_done() {
            let Some(length) = memchr(b'\n', &piece[from..]) else {
                if let Some(last) = piece.get(from..).filter(|rest| !rest.is_empty()) {
                    self.line = match (self.line, last) {
                        (LineSoFar::Empty, b"\r") => LineSoFar::Cr,
                        _ => LineSoFar::Longer,
                    };
                }
                return piece.len();
            };
            let line = &piece[from..from + length];
            let blank =
                matches!((self.line, line), (LineSoFar::Empty, b"\r") | (LineSoFar::Cr, b""));
            if !self.in_header {
                self.body_lines -= 1;
            } else if blank {
                self.in_header = false;
            }
            self.line = LineSoFar::Empty;
            from += length + 1;
        }
        from
    }

    /// Whether the top is complete, so that the rest of the message need not be read.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        !self.in_header && self.body_lines == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top(message: &str, lines: u64, size: usize) -> String {
        let mut filter = TopFilter::new(lines);
        let mut shown = Vec::new();
        for piece in message.as_bytes().chunks(size) {
            let octets = filter.push(piece);
            shown.extend_from_slice(&piece[..octets]);
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
}
