//! Deciding whether a message needs SMTPUTF8 to travel (RFC 6531 §3.2), by looking at its header section
//! and those of the parts and messages inside. Many clients request SMTPUTF8 for everything they send; a
//! message whose header sections are all in ASCII can still be sent to a server without SMTPUTF8.

use super::walk::{BOUNDARY, DEPTH, Fields, Open};

/// The number of octets kept of the fields that describe the content, for each header section. Real ones
/// have a few hundred.
const CONTENT_FIELDS: usize = 4 * 1024;

/// Reads a message piece by piece, and looks for octets outside ASCII in its header sections. Memory is
/// bounded: the beginning of a line, the fields that describe the content, and the boundaries of open
/// parts.
///
/// ```
/// use posta_mime::convert::HeaderSections;
///
/// let mut sections = HeaderSections::default();
/// sections.push("Subject: s\r\n\r\nblåbär\r\n".as_bytes());
/// assert!(!sections.need_utf8());
/// ```
#[derive(Debug)]
pub struct HeaderSections {
    state: State,
    /// The beginning of a line that is not classified yet.
    line: Vec<u8>,
    /// Whether the rest of the current line is being skipped.
    in_line: bool,
    /// The fields of the current header section that describe its content, so far.
    fields: Vec<u8>,
    /// Whether the current field describes the content.
    is_kept: bool,
    /// The open parts, from the outermost to the innermost.
    open: Vec<Open>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Header,
    Content,
    /// No more header sections can follow.
    Over,
    /// There is an octet outside ASCII, or a structure that cannot be followed.
    NeedsUtf8,
}

impl Default for HeaderSections {
    fn default() -> Self {
        Self {
            state: State::Header,
            line: Vec::new(),
            in_line: false,
            fields: Vec::new(),
            is_kept: false,
            open: Vec::new(),
        }
    }
}

impl HeaderSections {
    /// Takes the next octets of the message.
    pub fn push(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() && matches!(self.state, State::Header | State::Content) {
            let end = memchr::memchr(b'\n', octets).map_or(octets.len(), |at| at + 1);
            let (piece, rest) = octets.split_at(end);
            octets = rest;
            self.piece(piece);
        }
    }

    /// Returns whether any header section so far has octets outside ASCII. If the message cannot be
    /// followed, as with parts nested too deeply, the answer is yes.
    #[must_use]
    pub fn need_utf8(&self) -> bool {
        self.state == State::NeedsUtf8
    }

    /// Takes a piece of a line; the last piece of a line ends in LF.
    fn piece(&mut self, piece: &[u8]) {
        if self.state == State::Header && !piece.is_ascii() {
            self.state = State::NeedsUtf8;
            return;
        }
        let is_last = piece.ends_with(b"\n");
        let mut rest = piece;
        if !self.in_line {
            let (start, after) = piece.split_at(piece.len().min(BOUNDARY - self.line.len()));
            self.line.extend_from_slice(start);
            rest = after;
            let is_seen = self.line.len() == BOUNDARY || is_last;
            let is_content = self.state == State::Content
                && !b"--".starts_with(&self.line[..self.line.len().min(2)]);
            if !is_seen && !is_content {
                return;
            }
            let line = std::mem::take(&mut self.line);
            self.begin_line(&line);
            self.in_line = true;
        }
        if self.state == State::Header && self.is_kept {
            self.keep(rest);
        }
        self.in_line &= !is_last;
    }

    fn begin_line(&mut self, line: &[u8]) {
        match self.state {
            State::Header if matches!(line, b"\r\n" | b"\n") => self.end_of_header(),
            State::Header => {
                if let Some(found) =
                    Open::boundary(&self.open, line).filter(|_| line.ends_with(b"\n"))
                {
                    // The part consists of a header section only.
                    self.end_of_header();
                    self.at_boundary(found);
                    return;
                }
                if !matches!(line, [b' ' | b'\t', ..]) {
                    let name = line.get(..8).unwrap_or_default();
                    self.is_kept = name.eq_ignore_ascii_case(b"Content-");
                }
                if self.is_kept {
                    self.keep(line);
                }
            }
            State::Content if line.ends_with(b"\r\n") => {
                if let Some(found) = Open::boundary(&self.open, line) {
                    self.at_boundary(found);
                }
            }
            _ => {}
        }
    }

    fn keep(&mut self, octets: &[u8]) {
        if self.fields.len() + octets.len() > CONTENT_FIELDS {
            self.state = State::NeedsUtf8;
        } else {
            self.fields.extend_from_slice(octets);
        }
    }

    fn end_of_header(&mut self) {
        let is_digest = self.open.last().is_some_and(|open| open.is_digest);
        let mut fields = Fields::read(&self.fields, is_digest);
        self.begin_header();
        self.state = match Open::by(&mut fields) {
            _ if self.state == State::NeedsUtf8 => State::NeedsUtf8,
            Some(_) if self.open.len() >= DEPTH => State::NeedsUtf8,
            Some(open) => {
                self.open.push(open);
                State::Content
            }
            // Encoded content is ASCII.
            None if fields.is_message && !fields.is_encoded => State::Header,
            None if self.open.is_empty() => State::Over,
            None => State::Content,
        };
    }

    fn begin_header(&mut self) {
        self.fields.clear();
        self.is_kept = false;
    }

    fn at_boundary(&mut self, (index, ends): (usize, bool)) {
        if self.state == State::NeedsUtf8 {
            return;
        }
        // Inner parts that were not closed end here.
        self.open.truncate(if ends { index } else { index + 1 });
        self.begin_header();
        self.state = match (ends, self.open.is_empty()) {
            (false, _) => State::Header,
            (true, true) => State::Over,
            (true, false) => State::Content,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn need_utf8(message: &[u8], pieces: &[usize]) -> bool {
        let mut sections = HeaderSections::default();
        let mut rest = message;
        for &size in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(size.min(rest.len()));
            sections.push(piece);
            rest = after;
        }
        sections.need_utf8()
    }

    const MIXED: &str = "Content-Type: multipart/mixed;\r\n\tboundary=\"b b\"\r\n\r\nå\r\n";

    #[test]
    fn header_sections_are_told_from_what_stands_between_them() {
        let inside = |text: &str| format!("{MIXED}--b b\r\n{text}\r\n--b b--\r\nå: å\r\n");
        for (message, expected) in [
            ("Subject: s\r\n\r\nå".to_owned(), false),
            ("Subject: å\r\n\r\n".to_owned(), true),
            ("Subject: å".to_owned(), true),
            (format!("Subject: {}å\r\n\r\n", "s".repeat(1000)), true),
            (format!("Subject: {}\r\n\r\nå", "s".repeat(10_000)), false),
            ("Content-Type: text/plain; name=\"å\"\r\n\r\n".to_owned(), true),
            (inside("Content-Type: text/plain\r\n\r\nå\r\n"), false),
            (inside("\r\nå: å"), false),
            (inside("Content-Description: å\r\n\r\ntext"), true),
            (inside("Content-Description: å"), true),
            (inside("Content-Type: text/plain\r\n--b b\r\nContent-ID: å\r\n"), true),
            (inside("\r\none\r\n--b b\t\r\nContent-ID: å\r\n\r\n"), true),
            (inside("Content-Type: message/rfc822\r\n\r\nSubject: s\r\n\r\nå"), false),
            (inside("Content-Type: message/rfc822\r\n\r\nSubject: å\r\n\r\ntext"), true),
            (inside("Content-Type: text/rfc822-headers\r\n\r\nSubject: å\r\n"), false),
            ("content-type: MESSAGE/global\r\n\r\nSubject: å\r\n\r\n".to_owned(), true),
            (
                inside(
                    "Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/digest;boundary=c\r\n\r\n--c\r\n\r\nTo: å\r\n",
                ),
                true,
            ),
            (
                inside(
                    "Content-Type: multipart/digest;boundary=c\r\n\r\n--c\r\nContent-Type: text/plain\r\n\r\nTo: å",
                ),
                false,
            ),
            (format!("Content-Type: {}\r\n\r\n", "x".repeat(5000)), true),
            (format!("Content-Type: x/y;\r\n{}\r\n", " x=y;\r\n".repeat(1000)), true),
            ("Content-Type: message/rfc822\r\n\r\n".repeat(9), false),
        ] {
            assert_eq!(need_utf8(message.as_bytes(), &[usize::MAX]), expected, "{message}");
            assert_eq!(need_utf8(message.as_bytes(), &[1]), expected, "octet by octet: {message}");
        }
        let deep: String = (0..60)
            .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"))
            .collect();
        assert!(need_utf8(deep.as_bytes(), &[usize::MAX]));
    }

    proptest! {
        #[test]
        fn splits_do_not_matter(
            message in "(Content-Type: multipart/mixed; boundary=b\r\n|Content-Type: message/rfc822\r\n|\r\n|\n|--b|--|å|x: y\r\n| ){0,30}",
            pieces in proptest::collection::vec(1usize..9, 1..9),
        ) {
            let message = message.as_bytes();
            prop_assert_eq!(need_utf8(message, &pieces), need_utf8(message, &[usize::MAX]));
        }
    }
}
