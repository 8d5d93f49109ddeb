//! Dot-transparency: the encoding of a message between its first line and the line with a single dot
//! (RFC 5321 §4.5.2, RFC 1939 §3).
//!
//! The SMTP client and the POP3 server encode, the SMTP server and the POP3 client decode. Only CRLF `.`
//! CRLF ends the content: every laxer rule lets one server's content become another server's commands
//! (SMTP smuggling).

use crate::crlf::CrlfLines;
use memchr::{memchr2, memmem};

/// Adds the dots: takes content, gives wire octets. The output always consists of lines ([`CrlfLines`]),
/// with a dot added before each line that begins with one. No reader can therefore see an early end of
/// the content, whatever that reader takes for a line end.
#[derive(Debug, Clone)]
pub struct DotEncoder {
    lines: CrlfLines,
    /// Whether the next octet begins a line.
    at_line_start: bool,
}

impl Default for DotEncoder {
    fn default() -> Self {
        Self { lines: CrlfLines::default(), at_line_start: true }
    }
}

impl DotEncoder {
    /// Appends `content` to `output` as lines, with a dot before each line that begins with one.
    pub fn push(&mut self, content: &[u8], output: &mut Vec<u8>) {
        let Self { lines, at_line_start } = self;
        output.reserve(content.len() + 8);
        lines.push(content, |lines| stuff(lines, at_line_start, output));
    }

    /// Returns the number of octets in the lines so far, without the added dots (RFC 1939 §11).
    #[must_use]
    pub const fn octets(&self) -> u64 {
        self.lines.octets()
    }

    /// Returns whether the last line has no end yet; [`DotEncoder::finish`] will add the end.
    #[must_use]
    pub const fn lacks_end(&self) -> bool {
        !self.at_line_start
    }

    /// Appends the line with a single dot, after a CRLF if the content does not end in one.
    pub fn finish(mut self, output: &mut Vec<u8>) {
        output.extend_from_slice(self.lines.finish());
        output.extend_from_slice(b".\r\n");
    }
}

/// Appends a run of lines; the run never ends within a CRLF.
fn stuff(lines: &[u8], at_line_start: &mut bool, output: &mut Vec<u8>) {
    if *at_line_start && lines.first() == Some(&b'.') {
        output.push(b'.');
    }
    let mut sent = 0;
    for found in memmem::find_iter(lines, b"\r\n.") {
        output.extend_from_slice(&lines[sent..found + 2]);
        output.push(b'.');
        sent = found + 2;
    }
    output.extend_from_slice(&lines[sent..]);
    *at_line_start = lines.ends_with(b"\r\n");
}

/// The treatment of a CR or LF that is not part of a CRLF. Whatever the choice, such an octet never ends
/// a line, a command or the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BareNewlines {
    /// The octet is passed on and remembered ([`DotDecoder::saw_bare_newline`]), so that the message can
    /// be refused.
    Note,
    /// CRLF is passed on in its place.
    Normalise,
}

/// A step of decoding.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded<'i> {
    /// A part of the content: a slice of the input wherever possible.
    Content(&'i [u8]),
    /// The line with the single dot: the content is complete.
    End,
    /// All input is consumed.
    NeedInput,
}

/// Removes the dots: takes wire octets, gives content. Only CRLF `.` CRLF ends the content.
#[derive(Debug, Clone)]
pub struct DotDecoder {
    state: State,
    bare_newlines: BareNewlines,
    saw_bare_newline: bool,
}

/// The octets that came just before the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// CRLF, or nothing yet.
    LineStart,
    /// Any other octet.
    Within,
    /// A CR, held back: a LF makes it a line end.
    Cr,
    /// A dot at the start of a line, which was dropped.
    Dot,
    /// A dot at the start of a line and a CR, both held back.
    DotCr,
    /// A bare newline, for which CRLF has still to be passed on.
    Normalising,
}

impl DotDecoder {
    /// Returns a decoder at the start of the content.
    #[must_use]
    pub const fn new(bare_newlines: BareNewlines) -> Self {
        Self { state: State::LineStart, bare_newlines, saw_bare_newline: false }
    }

    /// Returns whether a CR or LF came alone.
    #[must_use]
    pub const fn saw_bare_newline(&self) -> bool {
        self.saw_bare_newline
    }

    /// Decodes octets from the front of `input`.
    pub fn next<'i>(&mut self, input: &mut &'i [u8]) -> Decoded<'i> {
        loop {
            if self.state == State::Normalising {
                // The state is not LineStart: a dot after a bare newline is an ordinary octet.
                self.state = State::Within;
                return Decoded::Content(b"\r\n");
            }
            let Some(&first) = input.first() else { return Decoded::NeedInput };
            match (self.state, first) {
                (State::LineStart, b'.') => {
                    *input = &input[1..];
                    self.state = State::Dot;
                }
                (State::Dot, b'\r') => {
                    *input = &input[1..];
                    self.state = State::DotCr;
                }
                (State::Dot, _) => self.state = State::Within,
                (State::DotCr, b'\n') => {
                    *input = &input[1..];
                    self.state = State::LineStart;
                    return Decoded::End;
                }
                (State::Cr, b'\n') => {
                    *input = &input[1..];
                    self.state = State::LineStart;
                    return Decoded::Content(b"\r\n");
                }
                (State::Cr | State::DotCr, _) => {
                    if let Some(content) = self.bare(b"\r") {
                        return content;
                    }
                }
                (State::LineStart | State::Within | State::Normalising, _) => {
                    let content = self.run(input);
                    if !content.is_empty() {
                        return Decoded::Content(content);
                    }
                }
            }
        }
    }

    /// Returns the longest piece of content that can be passed on unchanged.
    fn run<'i>(&mut self, input: &mut &'i [u8]) -> &'i [u8] {
        let whole = *input;
        let mut from = 0;
        let (content, consumed) = loop {
            let Some(found) = memchr2(b'\r', b'\n', &whole[from..]) else {
                let at_line_start = from == whole.len() && whole.ends_with(b"\r\n");
                self.state = if at_line_start { State::LineStart } else { State::Within };
                break (whole.len(), whole.len());
            };
            let at = from + found;
            match &whole[at..] {
                [b'\r', b'\n', b'.', ..] => {
                    self.state = State::Dot;
                    break (at + 2, at + 3);
                }
                [b'\r', b'\n', ..] => from = at + 2,
                [b'\r'] => {
                    self.state = State::Cr;
                    break (at, at + 1);
                }
                _ if self.bare_newlines == BareNewlines::Normalise => {
                    self.saw_bare_newline = true;
                    self.state = State::Normalising;
                    break (at, at + 1);
                }
                _ => {
                    self.saw_bare_newline = true;
                    from = at + 1;
                }
            }
        };
        *input = &whole[consumed..];
        &whole[..content]
    }

    /// Handles a held-back CR that turned out to be bare.
    fn bare(&mut self, octet: &'static [u8]) -> Option<Decoded<'static>> {
        self.saw_bare_newline = true;
        match self.bare_newlines {
            BareNewlines::Normalise => {
                self.state = State::Normalising;
                None
            }
            BareNewlines::Note => {
                self.state = State::Within;
                Some(Decoded::Content(octet))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(content: &[u8], pieces: &[usize]) -> Vec<u8> {
        let mut encoder = DotEncoder::default();
        let mut wire = Vec::new();
        for piece in split(content, pieces) {
            encoder.push(piece, &mut wire);
        }
        encoder.finish(&mut wire);
        wire
    }

    struct Seen {
        content: Vec<u8>,
        rest: Option<Vec<u8>>,
        bare: bool,
    }

    fn decode(wire: &[u8], pieces: &[usize], bare_newlines: BareNewlines) -> Seen {
        let mut decoder = DotDecoder::new(bare_newlines);
        let mut content = Vec::new();
        let mut fed = 0;
        for piece in split(wire, pieces) {
            fed += piece.len();
            let mut input = piece;
            loop {
                match decoder.next(&mut input) {
                    Decoded::Content(slice) => content.extend_from_slice(slice),
                    Decoded::NeedInput => break,
                    Decoded::End => {
                        let rest = wire[fed - input.len()..].to_vec();
                        return Seen {
                            content,
                            rest: Some(rest),
                            bare: decoder.saw_bare_newline(),
                        };
                    }
                }
            }
        }
        Seen { content, rest: None, bare: decoder.saw_bare_newline() }
    }

    fn split<'a>(mut octets: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        for &size in sizes.iter().cycle() {
            if octets.is_empty() {
                break;
            }
            let (piece, rest) = octets.split_at(size.clamp(1, octets.len()));
            pieces.push(piece);
            octets = rest;
        }
        pieces
    }

    #[test]
    fn known_contents() {
        for (content, wire) in [
            (&b""[..], &b".\r\n"[..]),
            (b"a\r\n", b"a\r\n.\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b".\r\n", b"..\r\n.\r\n"),
            (b".a\r\n.\r\n..\r\n", b"..a\r\n..\r\n...\r\n.\r\n"),
            (b"a.\r\nb\r\n", b"a.\r\nb\r\n.\r\n"),
        ] {
            assert_eq!(encode(content, &[100]), wire, "{}", content.escape_ascii());
        }
    }

    /// The sequences by which one server's content became another's commands in 2023.
    #[test]
    fn nothing_but_crlf_dot_crlf_ends_the_content() {
        for smuggled in [
            "\n.\n",
            "\n.\r\n",
            "\r.\r",
            "\r.\r\n",
            "\r\n.\n",
            "\r\n.\r",
            "\n.\r",
            "\r\n.\r\r\n",
            "\r\n.\0\r\n",
        ] {
            let wire = format!("a{smuggled}b\r\n.\r\nQUIT\r\n");
            for pieces in [&[100][..], &[1], &[2], &[3, 1]] {
                for bare in [BareNewlines::Note, BareNewlines::Normalise] {
                    let seen = decode(wire.as_bytes(), pieces, bare);
                    assert_eq!(seen.rest.as_deref(), Some(&b"QUIT\r\n"[..]), "{smuggled:?}");
                    assert!(seen.bare || smuggled.contains('\0'), "{smuggled:?}");
                }
            }
        }
    }

    #[test]
    fn bare_newlines_become_crlf_where_that_is_wanted() {
        let seen = decode(b"a\nb\rc\r\n\n.\r\nd\r\n.\r\n", &[100], BareNewlines::Normalise);
        assert_eq!(seen.content, b"a\r\nb\r\nc\r\n\r\n.\r\nd\r\n");
        assert!(seen.bare);
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(
            content in "([ab.]|\r\n){0,60}",
            out in proptest::collection::vec(1usize..9, 1..9),
            back in proptest::collection::vec(1usize..9, 1..9),
        ) {
            let mut wire = encode(content.as_bytes(), &out);
            wire.extend_from_slice(b"QUIT");
            let seen = decode(&wire, &back, BareNewlines::Note);
            let mut expected = content.clone().into_bytes();
            if !expected.is_empty() && !expected.ends_with(b"\r\n") {
                expected.extend_from_slice(b"\r\n");
            }
            prop_assert_eq!(seen.content, expected);
            prop_assert_eq!(seen.rest.as_deref(), Some(&b"QUIT"[..]));
            prop_assert!(!seen.bare);
        }

        #[test]
        fn splits_do_not_matter(
            wire in "[a.\r\n]{0,60}",
            pieces in proptest::collection::vec(1usize..9, 1..9),
            normalise: bool,
        ) {
            let bare = if normalise { BareNewlines::Normalise } else { BareNewlines::Note };
            let split = decode(wire.as_bytes(), &pieces, bare);
            let single = decode(wire.as_bytes(), &[1], bare);
            prop_assert_eq!(split.content, single.content);
            prop_assert_eq!(split.rest, single.rest);
            prop_assert_eq!(split.bare, single.bare);
        }
    }
}
