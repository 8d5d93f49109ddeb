//! Removing Authentication-Results fields that claim to be this host's from content as it arrives (RFC
//! 8601 §5).
//!
//! Readers trust the field with our authserv-id, and a stranger can write one into a message. Programs
//! disagree on what ends a line: POP3 hands out messages with CRLF in place of a bare CR or LF, so what a
//! strict reader takes for one long field becomes two. Therefore CR, LF and CRLF all end a line here, but
//! only an empty line between two CRLFs, which every reader takes for the end, ends the header section. A
//! line that is not a field does not end it either, since some readers skip such a line.

use super::claims;
use std::mem;

/// The maximal number of octets of a field that are held until it is known whose field it is. Fields of
/// real mail have less than 4 KiB; a field longer than this limit is removed unread.
pub const HELD_FIELD: usize = 16 * 1024;

const NAME: &[u8] = b"Authentication-Results";

/// The end of the header section.
const BLANK_LINE: [u8; 4] = *b"\r\n\r\n";

/// Removes the fields that claim to be a host's from content that arrives in slices. It holds back no more
/// than the beginning of a line, or one field of at most [`HELD_FIELD`] octets.
#[derive(Debug)]
pub struct ResultsRemover {
    authserv_id: String,
    part: Part,
    /// The last octets, which show where the header section ends. The beginning of a message counts as that
    /// of a line.
    last: [u8; 4],
    /// Octets that have not been passed on.
    held: Vec<u8>,
    removed: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// At the beginning of a line, or in a name that may become that of the field.
    Name,
    /// In a line that is kept.
    Passing,
    /// In a field of results, which is held.
    Field,
    /// In a field that is too long, which is dropped.
    Dropping,
    /// The header section is over.
    Body,
}

impl ResultsRemover {
    /// Returns a remover of a host's fields for one message.
    #[must_use]
    pub const fn new(authserv_id: String) -> Self {
        let (part, last) = (Part::Name, *b"\0\0\r\n");
        Self { authserv_id, part, last, held: Vec::new(), removed: 0 }
    }

    /// Returns whether the header section has ended, so that later content need not pass through here.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.part == Part::Body
    }

    /// Returns the number of fields removed so far.
    #[must_use]
    pub const fn removed(&self) -> u32 {
        self.removed
    }

    /// Takes the next slice of content, and passes what is kept to `emit`.
    pub fn push(&mut self, mut content: &[u8], emit: &mut impl FnMut(&[u8])) {
        while let Some(&next) = content.first() {
            if self.part == Part::Body {
                return emit(content);
            }
            if self.is_at_line_start(next) {
                self.begin_line(next, emit);
            }
            let length = match self.part {
                Part::Name => 1,
                _ => piece_length(content),
            };
            let (piece, rest) = content.split_at(length);
            self.take(piece, emit);
            content = rest;
            self.note(piece);
            if self.last == BLANK_LINE {
                self.settle(emit);
                self.part = Part::Body;
            }
        }
    }

    /// Ends the content, and passes what was held back to `emit`.
    pub fn finish(&mut self, emit: &mut impl FnMut(&[u8])) {
        self.settle(emit);
        self.part = Part::Body;
    }

    /// Returns whether an octet begins a line; LF after CR belongs to the line before.
    fn is_at_line_start(&self, next: u8) -> bool {
        match self.last[3] {
            b'\n' => true,
            b'\r' => next != b'\n',
            _ => false,
        }
    }

    /// Begins a line. White space at its beginning continues the field before (RFC 5322 §2.2.3).
    fn begin_line(&mut self, next: u8, emit: &mut impl FnMut(&[u8])) {
        if !matches!(next, b' ' | b'\t') {
            self.settle(emit);
            self.part = Part::Name;
        }
    }

    /// Ends a field: removes it if it is forged.
    fn settle(&mut self, emit: &mut impl FnMut(&[u8])) {
        let held = mem::take(&mut self.held);
        let is_forged = self.part == Part::Dropping
            || self.part == Part::Field && is_forged(&held, &self.authserv_id);
        self.removed += u32::from(is_forged);
        if !is_forged && !held.is_empty() {
            emit(&held);
        }
    }

    fn take(&mut self, piece: &[u8], emit: &mut impl FnMut(&[u8])) {
        match self.part {
            Part::Name => {
                self.held.extend_from_slice(piece);
                self.read_name(emit);
            }
            Part::Passing | Part::Body => emit(piece),
            Part::Field if self.held.len() + piece.len() > HELD_FIELD => {
                self.held = Vec::new();
                self.part = Part::Dropping;
            }
            Part::Field => self.held.extend_from_slice(piece),
            Part::Dropping => {}
        }
    }

    /// Checks whether the held octets are still the beginning of the name, or all of it and the octet after
    /// it.
    fn read_name(&mut self, emit: &mut impl FnMut(&[u8])) {
        let held = &self.held[..];
        let name = &held[..held.len().min(NAME.len())];
        if !name.eq_ignore_ascii_case(&NAME[..name.len()]) {
            emit(&mem::take(&mut self.held));
            self.part = Part::Passing;
        } else if held.len() > NAME.len() {
            match held[NAME.len()] {
                b':' | b' ' | b'\t' | b'\r' | b'\n' => self.part = Part::Field,
                _ => {
                    emit(&mem::take(&mut self.held));
                    self.part = Part::Passing;
                }
            }
        }
    }

    /// Records the last octets.
    fn note(&mut self, piece: &[u8]) {
        for &octet in &piece[piece.len().saturating_sub(self.last.len())..] {
            self.last.rotate_left(1);
            self.last[3] = octet;
        }
    }
}

/// Returns the number of octets up to the end of a line, with the LF, CR or CRLF that ends it.
fn piece_length(content: &[u8]) -> usize {
    match memchr::memchr2(b'\r', b'\n', content) {
        Some(at) if content[at..].starts_with(b"\r\n") => at + 2,
        Some(at) => at + 1,
        None => content.len(),
    }
}

/// Returns whether a whole field claims to be the host's. Without a colon, it is not a field.
fn is_forged(field: &[u8], authserv_id: &str) -> bool {
    let rest = field[NAME.len().min(field.len())..].trim_ascii_start();
    rest.strip_prefix(b":").is_some_and(|body| claims(body, authserv_id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn without(content: &[u8], size: usize) -> (Vec<u8>, u32) {
        let mut remover = ResultsRemover::new("mx.example.org".to_owned());
        let mut output = Vec::new();
        for slice in content.chunks(size) {
            remover.push(slice, &mut |octets| output.extend_from_slice(octets));
        }
        remover.finish(&mut |octets| output.extend_from_slice(octets));
        (output, remover.removed())
    }

    #[track_caller]
    fn expect(content: &str, expected: &str) {
        for size in 1..=content.len().max(1) {
            let (output, _) = without(content.as_bytes(), size);
            assert_eq!(String::from_utf8_lossy(&output), expected, "{content:?} in {size}");
        }
    }

    #[test]
    fn forged_fields_are_taken_out_in_every_folding() {
        for field in [
            "Authentication-Results: mx.example.org; spf=pass\r\n",
            "AUTHENTICATION-RESULTS:mx.example.org; spf=pass\r\n",
            "authentication-results \t: mx.example.org; spf=pass\r\n",
            "Authentication-Results:\r\n\tmx.example.org\r\n ; spf=pass\r\n",
            "Authentication-Results:\r\n \r\n mx.example.org; spf=pass\r\n",
            "Authentication-Results\r\n : mx.example.org; spf=pass\r\n",
            "Authentication-Results: (a\r\n b) \"MX.example.org\"; spf=pass\r\n",
            "Authentication-Results: mx.example.org; spf=pass\n",
            "Authentication-Results:\n mx.example.org; spf=pass\r",
            "Authentication-Results:\r mx.example.org; spf=pass\r\n",
        ] {
            for (before, after) in [
                ("", "Subject: s\r\n\r\nbody"),
                ("Subject: s\r\n", "\r\nbody"),
                ("Subject: s\r\n folded\r\n", "To: b\r\n\r\nbody"),
                ("Subject: s\n", "\r\n\r\nbody"),
                ("Subject: s\r", "To: b\r\n\r\nbody"),
                ("no field at all\r\n", "\r\nbody"),
                ("Subject: s\r\r\n", "To: b\r\n\r\nbody"),
                ("Subject: s\n\r\n", "To: b\r\n\r\nbody"),
                ("Subject: s\r\n", ""),
            ] {
                expect(&format!("{before}{field}{after}"), &format!("{before}{after}"));
            }
        }
    }

    #[test]
    fn all_else_stays() {
        let forged = "Authentication-Results: mx.example.org; spf=pass\r\n";
        for content in [
            "",
            "\r\n",
            "Subject: s\r\n\r\n",
            "A: b",
            "Authentication-Results",
            "Authentication-Results\r\nA: b\r\n\r\n",
            "Authentication-Results: other.test; spf=pass\r\n\r\n",
            "Authentication-Results-Too: mx.example.org; spf=pass\r\n\r\n",
            "ARC-Authentication-Results: i=1; mx.example.org; spf=pass\r\n\r\n",
            "Subject: Authentication-Results: mx.example.org; spf=pass\r\n\r\n",
            &format!("A: b\r\n\r\n{forged}"),
            &format!("\r\n{forged}"),
            &format!("A: b\r\n\r\n\r\n{forged}"),
        ] {
            expect(content, content);
        }
    }

    #[test]
    fn a_field_without_end_takes_no_memory() {
        let content = ["Authentication-Results: ", &"(x)".repeat(HELD_FIELD), "\r\nA: b\r\n\r\n"];
        let (output, removed) = without(content.concat().as_bytes(), 4_096);
        assert_eq!((output.as_slice(), removed), (&b"A: b\r\n\r\n"[..], 1));
        let many = "Authentication-Results: mx.example.org; none\r\n".repeat(1_000);
        assert_eq!(without(many.as_bytes(), 4_096), (Vec::new(), 1_000));
    }

    proptest! {
        /// Splits between slices change nothing, and content without such fields stays as it is.
        #[test]
        fn splits_change_nothing(
            content in "((Authentication-Results|A)[: \r\n\t](mx.example.org; a=b)?[ \t]?\r?\n?){0,6}",
            size in 1_usize..20,
        ) {
            let whole = without(content.as_bytes(), content.len().max(1));
            prop_assert_eq!(&without(content.as_bytes(), size), &whole);
            let (again, removed) = without(&whole.0, size);
            prop_assert!(whole.1 > 0 || again == content.as_bytes() && removed == 0);
        }
    }
}
