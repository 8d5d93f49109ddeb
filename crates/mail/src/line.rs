//! Splitting a stream of octets into the lines of a command protocol.
//!
//! The engines of SMTP and POP3 call this before they parse anything. Only CRLF ends a line from a
//! client.

pub mod http;

use memchr::memchr;

/// The result of looking for a line at the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut<'i> {
    /// A whole line, without its CRLF.
    Line(&'i [u8]),
    /// A line that exceeds the limit.
    TooLong,
    /// No whole line yet.
    Incomplete,
}

/// Takes the next line of at most `limit` octets, including CRLF, from the front of `input`. Nothing is
/// taken of a longer line, whether complete or not. Use this for a server's lines, where the client
/// gives up after a line that is too long.
pub fn cut_line<'i>(input: &mut &'i [u8], limit: usize) -> Cut<'i> {
    let whole = *input;
    let within = &whole[..whole.len().min(limit)];
    let mut from = 0;
    while let Some(found) = memchr(b'\n', &within[from..]) {
        let end = from + found;
        if end > 0 && whole[end - 1] == b'\r' {
            *input = &whole[end + 1..];
            return Cut::Line(&whole[..end - 1]);
        }
        from = end + 1;
    }
    if whole.len() >= limit { Cut::TooLong } else { Cut::Incomplete }
}

/// Takes the next line of a server's reply from the front of `input`. Unlike [`cut_line`], this accepts
/// a lone LF, with any number of CRs before it, as a line end, because some servers end their lines so.
/// That is safe for a client, which acts on reply codes and never passes a reply on as commands.
pub fn cut_reply_line<'i>(input: &mut &'i [u8], limit: usize) -> Cut<'i> {
    let whole = *input;
    let within = &whole[..whole.len().min(limit)];
    match memchr(b'\n', within) {
        Some(end) => {
            *input = &whole[end + 1..];
            let line = &whole[..end];
            let end = line.iter().rposition(|&octet| octet != b'\r').map_or(0, |last| last + 1);
            Cut::Line(&line[..end])
        }
        None if whole.len() >= limit => Cut::TooLong,
        None => Cut::Incomplete,
    }
}

/// Splits input into lines that end in CRLF and in nothing else. A lone LF or CR is an ordinary octet,
/// which the parser of the line then refuses. If such an octet ended a line here but not for a relay in
/// front of this server, one of the two would see a command where the other sees text (SMTP smuggling,
/// 2023).
#[derive(Debug, Default, Clone)]
pub struct LineCutter {
    /// Whether the current line exceeded the limit and its end has not come yet.
    discarding: bool,
    /// Whether the last discarded octet was a CR.
    after_cr: bool,
}

impl LineCutter {
    /// Takes the next line of at most `limit` octets, including CRLF, from the front of `input`. A
    /// longer line is discarded whole, and reported once its end has come.
    pub fn next<'i>(&mut self, input: &mut &'i [u8], limit: usize) -> Cut<'i> {
        if self.discarding {
            return self.discard(input);
        }
        match cut_line(input, limit) {
            Cut::TooLong => {
                self.discarding = true;
                self.discard(input)
            }
            cut => cut,
        }
    }

    /// Returns whether the next octet begins a line.
    #[must_use]
    pub const fn is_at_line_start(&self) -> bool {
        !self.discarding
    }

    fn discard<'i>(&mut self, input: &mut &'i [u8]) -> Cut<'i> {
        for (index, &octet) in input.iter().enumerate() {
            if octet == b'\n' && self.after_cr {
                *input = &input[index + 1..];
                *self = Self::default();
                return Cut::TooLong;
            }
            self.after_cr = octet == b'\r';
        }
        *input = &[];
        Cut::Incomplete
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the lines of `stream`, fed in pieces of the given sizes.
    fn lines(stream: &[u8], pieces: &[usize], limit: usize) -> Vec<Option<Vec<u8>>> {
        let mut cutter = LineCutter::default();
        let mut pending = Vec::new();
        let mut seen = Vec::new();
        let mut sizes = pieces.iter().copied().cycle();
        let mut rest = stream;
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(1).clamp(1, rest.len());
            pending.extend_from_slice(&rest[..size]);
            rest = &rest[size..];
            let mut input = &pending[..];
            loop {
                match cutter.next(&mut input, limit) {
                    Cut::Line(line) => seen.push(Some(line.to_vec())),
                    Cut::TooLong => seen.push(None),
                    Cut::Incomplete => break,
                }
            }
            assert!(input.len() < limit, "what is kept is bounded");
            pending = input.to_vec();
        }
        seen
    }

    #[test]
    fn only_crlf_ends_a_line() {
        let seen = lines(b"NOOP\r\nA\nB\rC\r\nQUIT\r\n", &[100], 64);
        let text = |line: &[u8]| Some(line.to_vec());
        assert_eq!(seen, [text(b"NOOP"), text(b"A\nB\rC"), text(b"QUIT")]);
    }

    #[test]
    fn a_lf_alone_ends_a_line_of_a_reply() {
        let mut input = &b"220 a\n250-b\rc\r\n250\r\r\n\n250 d\n250 e"[..];
        for expected in ["220 a", "250-b\rc", "250", "", "250 d"] {
            assert_eq!(cut_reply_line(&mut input, 20), Cut::Line(expected.as_bytes()));
        }
        assert_eq!(cut_reply_line(&mut input, 20), Cut::Incomplete);
        assert_eq!(cut_reply_line(&mut input, 5), Cut::TooLong);
        assert_eq!(input, b"250 e");
    }

    #[test]
    fn the_limit_counts_the_crlf() {
        assert_eq!(lines(b"12345678\r\n", &[100], 10), [Some(b"12345678".to_vec())]);
        assert_eq!(lines(b"123456789\r\nX\r\n", &[100], 10), [None, Some(b"X".to_vec())]);
    }

    proptest! {
        #[test]
        fn splits_do_not_matter(
            stream in "[ab\r\n]{0,80}",
            pieces in proptest::collection::vec(1usize..9, 1..9),
        ) {
            prop_assert_eq!(
                lines(stream.as_bytes(), &pieces, 12),
                lines(stream.as_bytes(), &[1], 12)
            );
        }
    }
}
