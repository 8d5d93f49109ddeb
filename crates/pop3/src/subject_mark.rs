//! The mark of junk that is shown among the inbox's messages: `[Junk]` in front of the subject.
//!
//! The mark adds the same number of octets to every message, [`SubjectMark::OCTETS`], so LIST and STAT know the
//! size of a marked message from that of the kept one, without reading it (RFC 1939 §11). What the mark in the
//! subject takes depends on the message: whether it has a Subject, and how long the line is. The field `X-Junk`,
//! which ends the header section, is padded with spaces to make up the difference.
//!
//! The kept message is not changed: whoever moves it to the inbox gets it as it came.

use memchr::memchr;
use posta_mail::crlf::CrlfLines;

/// The mark where the value of the field begins with a space, as usual, or is empty.
const MARK: &[u8] = b" [Junk]";

/// The field of a message that has no Subject. None of the other marks is longer.
const SUBJECT: &[u8] = b"Subject: [Junk]\r\n";

/// The name and the value of the field that ends the header section.
const FIELD: &[u8] = b"X-Junk: yes";

/// The octets of a line, without its end, that suit all of RFC 5322 §2.1.1 and RFC 2047 §2, which limits a
/// line with an encoded-word.
const LINE: usize = 76;

/// The octets of a line of the header section that are looked at together: those of the longest line that has
/// room for the mark, and its end.
const LOOK: usize = LINE - MARK.len() - 1 + 2;

/// Marks the subject of a message that comes piece by piece, and hands it on as lines.
#[derive(Debug)]
pub struct SubjectMark {
    lines: CrlfLines,
    within: Within,
    /// The octets that the mark in the subject took; 0 before.
    marked: usize,
}

/// The part of the message that the next octet belongs to.
#[derive(Debug)]
enum Within {
    /// The first [`LOOK`] octets of a line of the header section, which are held back.
    Start(Vec<u8>),
    /// The rest of a longer line of the header section.
    Rest,
    Body,
}

impl Default for SubjectMark {
    fn default() -> Self {
        let (lines, within) = (CrlfLines::default(), Within::Start(Vec::with_capacity(LOOK)));
        Self { lines, within, marked: 0 }
    }
}

impl SubjectMark {
    /// The octets that a marked message has more than the kept one, as lines.
    pub const OCTETS: u64 = (SUBJECT.len() + FIELD.len() + 2) as u64;

    /// Takes the next piece, and hands on lines with the mark.
    pub fn push(&mut self, piece: &[u8], mut emit: impl FnMut(&[u8])) {
        let Self { lines, within, marked } = self;
        lines.push(piece, |run| take(run, within, marked, &mut emit));
    }

    /// Ends the message. Hands on the line end that the last line lacks, and the mark if the message has no
    /// body.
    pub fn finish(&mut self, mut emit: impl FnMut(&[u8])) {
        let Self { lines, within, marked } = self;
        take(lines.finish(), within, marked, &mut emit);
        if !matches!(within, Within::Body) {
            end_header(*marked, &mut emit);
            *within = Within::Body;
        }
    }
}

/// Takes a run of lines.
fn take(mut run: &[u8], within: &mut Within, marked: &mut usize, emit: &mut impl FnMut(&[u8])) {
    while !run.is_empty() {
        match within {
            Within::Body => return emit(run),
            Within::Rest => {
                let end = memchr(b'\n', run).map_or(run.len(), |at| at + 1);
                emit(&run[..end]);
                if run[..end].ends_with(b"\n") {
                    *within = Within::Start(Vec::with_capacity(LOOK));
                }
                run = &run[end..];
            }
            Within::Start(held) => {
                let end = memchr(b'\n', run).map_or(run.len(), |at| at + 1);
                let some = end.min(LOOK - held.len());
                held.extend_from_slice(&run[..some]);
                run = &run[some..];
                let is_line = held.ends_with(b"\n");
                if !is_line && held.len() < LOOK {
                    continue;
                }
                if held == b"\r\n" {
                    end_header(*marked, emit);
                    emit(held);
                    *within = Within::Body;
                    continue;
                }
                match subject_value(held).filter(|_| *marked == 0) {
                    Some(at) => *marked = mark(held, at, is_line, emit),
                    None => emit(held),
                }
                match is_line {
                    true => held.clear(),
                    false => *within = Within::Rest,
                }
            }
        }
    }
}

/// Returns where the value begins in a line that begins a Subject field; RFC 5322 §4.5 allows white space before
/// the colon.
fn subject_value(line: &[u8]) -> Option<usize> {
    let (name, rest) = line.split_at_checked(7)?;
    let colon = rest.iter().position(|octet| !matches!(octet, b' ' | b'\t'))?;
    (name.eq_ignore_ascii_case(b"Subject") && rest[colon] == b':').then_some(7 + colon + 1)
}

/// Hands on the beginning of a Subject field with the mark before its value, which begins at `at`. Returns the
/// octets that the mark took.
///
/// A line that would become too long gets the mark on a line of its own with the value, which is not longer
/// than the line was. An encoded-word must have white space before it (RFC 2047 §5), so a value that follows the
/// colon at once is set apart from the mark.
fn mark(held: &[u8], at: usize, is_line: bool, emit: &mut impl FnMut(&[u8])) -> usize {
    let (name, value) = held.split_at(at);
    let fold: &[u8] = if is_line { b"" } else { b"\r\n" };
    let is_apart = matches!(value.first(), None | Some(b' ' | b'\t' | b'\r'));
    let space: &[u8] = if is_apart { b"" } else { b" " };
    let parts = [name, fold, MARK, space, value];
    parts.iter().filter(|part| !part.is_empty()).for_each(|part| emit(part));
    fold.len() + MARK.len() + space.len()
}

/// Hands on the fields that end the header section.
fn end_header(marked: usize, emit: &mut impl FnMut(&[u8])) {
    if marked == 0 {
        emit(SUBJECT);
    }
    emit(FIELD);
    let marked = if marked == 0 { SUBJECT.len() } else { marked };
    let padding = [b' '; SUBJECT.len()];
    if marked < SUBJECT.len() {
        emit(&padding[marked..]);
    }
    emit(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use posta_mail::crlf::lines_of;
    use proptest::prelude::*;

    fn marked(message: &[u8], size: usize) -> Vec<u8> {
        let (mut mark, mut shown) = (SubjectMark::default(), Vec::new());
        for piece in message.chunks(size) {
            mark.push(piece, |octets| shown.extend_from_slice(octets));
        }
        mark.finish(|octets| shown.extend_from_slice(octets));
        shown
    }

    /// The field that ends the header section, where the mark in the subject took so many octets.
    fn field(taken: usize) -> String {
        format!("X-Junk: yes{}\r\n", " ".repeat(17 - taken))
    }

    /// Checks what is shown of messages: what comes before the added field, the octets that the mark took, and what
    /// comes after the field.
    fn check<const ROWS: usize>(rows: [(&str, String, usize, &str); ROWS]) {
        for (message, before, taken, after) in rows {
            let expected = format!("{before}{}{after}", field(taken));
            for size in [1, 2, 3, 7, 68, 69, 70, 71, 1_000] {
                let shown = marked(message.as_bytes(), size);
                assert_eq!(shown.escape_ascii().to_string(), expected.escape_default().to_string());
            }
            let octets = lines_of(message.as_bytes()).len() as u64 + SubjectMark::OCTETS;
            assert_eq!(expected.len() as u64, octets, "{message:?}");
        }
    }

    #[test]
    fn every_form_of_subject_is_marked() {
        check([
            (
                "Subject: Offer\r\n\r\nbuy\r\n",
                "Subject: [Junk] Offer\r\n".to_owned(),
                7,
                "\r\nbuy\r\n",
            ),
            // In any case, with white space before the colon, or none behind it.
            ("sUBJECT\t :\tOffer\r\n\r\n", "sUBJECT\t : [Junk]\tOffer\r\n".into(), 7, "\r\n"),
            ("Subject:Offer\r\n\r\n", "Subject: [Junk] Offer\r\n".into(), 8, "\r\n"),
            (
                "Subject:=?utf-8?q?a?=\r\n\r\n",
                "Subject: [Junk] =?utf-8?q?a?=\r\n".into(),
                8,
                "\r\n",
            ),
            // Empty, or folded at once.
            ("Subject:\r\n\r\n", "Subject: [Junk]\r\n".into(), 7, "\r\n"),
            ("Subject: \r\n\r\n", "Subject: [Junk] \r\n".into(), 7, "\r\n"),
            ("Subject:\r\n Offer\r\n\r\n", "Subject: [Junk]\r\n Offer\r\n".into(), 7, "\r\n"),
            // None, and no body, and no blank line.
            (
                "A: 1\r\n\r\nSubject: no\r\n",
                "A: 1\r\nSubject: [Junk]\r\n".into(),
                17,
                "\r\nSubject: no\r\n",
            ),
            ("A: 1", "A: 1\r\nSubject: [Junk]\r\n".into(), 17, ""),
            ("\r\nbody", "Subject: [Junk]\r\n".into(), 17, "\r\nbody\r\n"),
            ("", "Subject: [Junk]\r\n".into(), 17, ""),
            // Only the first is marked; neither another field nor a line that goes on is one.
            (
                "Subjects: 1\r\nA:\r\n Subject: 2\r\nSubject: 3\r\nSubject: 4\r\n\r\n",
                "Subjects: 1\r\nA:\r\n Subject: 2\r\nSubject: [Junk] 3\r\nSubject: 4\r\n".into(),
                7,
                "\r\n",
            ),
            // Lines that end otherwise.
            ("A: 1\nSubject: 2\r\rbody", "A: 1\r\nSubject: [Junk] 2\r\n".into(), 7, "\r\nbody\r\n"),
        ]);
    }

    #[test]
    fn a_long_first_line_goes_on_in_another() {
        let long = "x".repeat(61);
        let word = format!("=?utf-8?q?{}?=", "a".repeat(55));
        check([
            // The longest line that has room, and the shortest that has none.
            (
                &format!("Subject:{}\r\n\r\n", &long[1..]),
                format!("Subject: [Junk] {}\r\n", &long[1..]),
                8,
                "\r\n",
            ),
            (
                &format!("Subject: {}\r\n\r\n", &long[1..]),
                format!("Subject:\r\n [Junk] {}\r\n", &long[1..]),
                9,
                "\r\n",
            ),
            (
                &format!("Subject:{long}\r\n\r\n"),
                format!("Subject:\r\n [Junk] {long}\r\n"),
                10,
                "\r\n",
            ),
            (
                &format!("Subject: {word}\r\n {word}\r\n\r\n"),
                format!("Subject:\r\n [Junk] {word}\r\n {word}\r\n"),
                9,
                "\r\n",
            ),
        ]);
    }

    #[test]
    fn no_line_becomes_longer_than_it_may_be() {
        for (value, limit) in [(" ", 998), ("", 998), (" ", 76), ("", 76)] {
            for length in 0..=limit - "Subject:".len() - value.len() {
                let message = format!("Subject:{value}{}\r\n\r\n", "x".repeat(length));
                let shown = marked(message.as_bytes(), 1_000);
                let longest = shown.split(|&octet| octet == b'\n').map(<[u8]>::len).max();
                // With the CR.
                assert!(longest.unwrap() <= limit + 1, "{length}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_message_gets_as_many_octets(
            message in prop_oneof![
                any::<Vec<u8>>(),
                "(A: b\r\n|Subject|SUBJECT|:| |\t|\r\n|\n|\r|x{60}|=\\?q\\?=){0,20}"
                    .prop_map(String::into_bytes),
            ],
            size in 1usize..90,
        ) {
            let shown = marked(&message, size);
            let lines = lines_of(&message);
            prop_assert_eq!(shown.len() as u64, lines.len() as u64 + SubjectMark::OCTETS);
            prop_assert_eq!(&shown, &lines_of(&shown), "they are lines");
            prop_assert_eq!(&shown, &marked(&message, usize::MAX), "however it is split");
            // Nothing that was there is gone.
            let mut rest = shown.iter();
            prop_assert!(lines.iter().all(|octet| rest.any(|other| other == octet)));
        }
    }
}
