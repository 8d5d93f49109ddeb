//! Mailboxes in one file (RFC 4155), in all dialects: mboxo and mboxrd, which quote lines of a message that begin with
//! `From `, and mboxcl and mboxcl2, which count the octets of each message.
//!
//! | dialect | a line `From x` within a message | where a message ends |
//! |---|---|---|
//! | mboxo   | `>From x`; `>From x` stays as it is | before the next line `From `, with a date |
//! | mboxrd  | `>From x`; `>From x` becomes `>>From x` | the same |
//! | mboxcl  | `>From x` | after the octets that Content-Length counts |
//! | mboxcl2 | `From x` | the same |
//!
//! A Content-Length is believed only if another message, or the file's end, follows the octets that it counts. One `>`
//! is taken away from quoted lines, unless a counted message of the file has a line that is not quoted.

mod metadata;
mod reading;

pub(crate) use metadata::Metadata;
pub(crate) use reading::open;

use posta_mail::Timestamp;
use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    os::unix::fs::FileExt,
};

/// The octets of a line that are looked at. What follows in a longer one does not matter.
const LINE: usize = 4 * 1024;

/// The most messages of a file. What is known of each takes memory.
const MESSAGES: usize = 4_000_000;

/// A message in an mbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The offset of its line `From `.
    pub(crate) from: u64,
    /// The offsets at which its header section begins, and its body ends.
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// The date in the line `From `.
    pub(crate) date: Option<Timestamp>,
}

/// The messages of an mbox.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) parts: Vec<Part>,
    /// Whether lines that begin with `From ` are quoted.
    pub(crate) is_quoted: bool,
}

/// Finds the messages of a file; none if it is no mbox.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn index(file: &File) -> io::Result<Option<Index>> {
    let length = file.metadata()?.len();
    let mut lines =
        Lines { input: BufReader::with_capacity(1 << 16, file), line: Vec::new(), at: 0 };
    let mut scan = Scan { file, length, parts: Vec::new(), state: State::Between, is_quoted: true };
    while let Some(line) = lines.next()? {
        if !scan.take(&lines.line, line) {
            return Ok(None);
        }
        if scan.parts.len() > MESSAGES {
            let words = format!("it has more than {MESSAGES} messages: import it in parts");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, words));
        }
    }
    scan.finish(length);
    Ok(Some(Index { parts: scan.parts, is_quoted: scan.is_quoted }))
}

/// A line of the file.
#[derive(Clone, Copy)]
struct Line {
    start: u64,
    end: u64,
}

struct Lines<R> {
    input: R,
    /// The beginning of the line.
    line: Vec<u8>,
    at: u64,
}

impl<R: BufRead> Lines<R> {
    /// Reads a line to its end, and keeps its first [`LINE`] octets.
    fn next(&mut self) -> io::Result<Option<Line>> {
        let start = self.at;
        self.line.clear();
        loop {
            let piece = self.input.fill_buf()?;
            let end = memchr::memchr(b'\n', piece).map(|at| at + 1);
            let count = end.unwrap_or(piece.len());
            let room = LINE - self.line.len();
            self.line.extend_from_slice(&piece[..count.min(room)]);
            self.input.consume(count);
            self.at += count as u64;
            if end.is_some() || count == 0 {
                return Ok((self.at > start).then_some(Line { start, end: self.at }));
            }
        }
    }
}

enum State {
    /// Before the first message, or after one that was counted.
    Between,
    /// In a header section, which told this length.
    Header { part: Part, length: Option<u64> },
    /// In a body. The last line began at this offset, if it was empty.
    Body { part: Part, empty: Option<u64> },
    /// In a body whose length is known.
    Counted { part: Part },
}

struct Scan<'f> {
    file: &'f File,
    length: u64,
    parts: Vec<Part>,
    state: State,
    is_quoted: bool,
}

impl Scan<'_> {
    /// Takes a line. Returns false if the file is no mbox.
    fn take(&mut self, text: &[u8], line: Line) -> bool {
        let is_empty = matches!(text, b"\n" | b"\r\n");
        if let State::Counted { part } = &self.state {
            if line.start < part.end {
                // Only where lines are not quoted can a message have one.
                self.is_quoted &= from_line(text).is_none();
                return true;
            }
            self.finish(line.start);
        }
        let from = text.starts_with(b"From ").then(|| from_line(text)).flatten();
        let is_first = line.start == 0 && text.starts_with(b"From ");
        if from.is_some() || is_first {
            self.finish(line.start);
            let date = from.flatten();
            let part = Part { from: line.start, start: line.end, end: line.end, date };
            self.state = State::Header { part, length: None };
            return true;
        }
        match &mut self.state {
            State::Between => return is_empty,
            State::Header { part, length } if is_empty => {
                let mut part = part.clone();
                let end = length.and_then(|length| line.end.checked_add(length));
                self.state = match end.filter(|&end| self.ends_at(end)) {
                    Some(end) => {
                        part.end = end;
                        State::Counted { part }
                    }
                    // The empty line after the header section belongs to it.
                    None => State::Body { part, empty: None },
                };
            }
            State::Header { length, .. } => *length = length.or(content_length(text)),
            State::Body { empty, .. } => *empty = is_empty.then_some(line.start),
            State::Counted { .. } => {}
        }
        true
    }

    /// Ends the current message at `end`, or before the empty line that separates it from what follows.
    fn finish(&mut self, end: u64) {
        match std::mem::replace(&mut self.state, State::Between) {
            State::Between => {}
            State::Counted { part } => self.parts.push(part),
            State::Header { part, .. } => self.parts.push(Part { end, ..part }),
            State::Body { part, empty } => {
                self.parts.push(Part { end: empty.unwrap_or(end), ..part });
            }
        }
    }

    /// Returns whether a message can end at an offset: another one follows, or nothing.
    fn ends_at(&self, end: u64) -> bool {
        let mut following = [0; 7];
        let Ok(count) = self.file.read_at(&mut following, end) else { return false };
        let following = &following[..count];
        let rest = following.strip_prefix(b"\r\n").or(following.strip_prefix(b"\n"));
        let rest = rest.unwrap_or(following);
        end <= self.length && (rest.is_empty() || rest.starts_with(b"From "))
    }
}

/// Reads a field Content-Length.
fn content_length(line: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"content-length:";
    let (name, value) = line.split_at_checked(NAME.len())?;
    let value = str::from_utf8(value).ok()?.trim();
    name.eq_ignore_ascii_case(NAME).then(|| value.parse().ok()).flatten()
}

/// Reads the line before a message, `From ana@x.test Tue Nov 24 08:00:00 2026`. Returns none if it is another line, and
/// the date if it has a year. A line of text that begins with `From ` is hardly followed by a date.
fn from_line(line: &[u8]) -> Option<Option<Timestamp>> {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = String::from_utf8_lossy(line.strip_prefix(b"From ")?);
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let at = words.iter().position(|word| DAYS.contains(word))?;
    let [month, day, time, rest @ ..] = words.get(at + 1..)? else { return None };
    let month = MONTHS.iter().position(|name| name == month)? as i8 + 1;
    let day: i8 = day.parse().ok()?;
    let mut parts = time.split(':').map(|part| part.parse::<i8>().ok());
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    let year = rest.iter().find_map(|word| word.parse::<i16>().ok().filter(|year| *year > 1969));
    let moment = year.and_then(|year| {
        let date = jiff::civil::Date::new(year, month, day).ok()?;
        let time = jiff::civil::Time::new(hour, minute, second.min(59), 0).ok()?;
        jiff::tz::Offset::UTC.to_timestamp(date.to_datetime(time)).ok()
    });
    Some(moment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    fn file(text: &str) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        file
    }

    /// The messages of an mbox, as they are imported.
    fn messages(text: &str) -> Option<Vec<String>> {
        let file = file(text);
        let index = index(&file).unwrap()?;
        let read = |part: &Part| {
            let file = file.try_clone().unwrap();
            let (_, mut content) = open(file, part, index.is_quoted).unwrap();
            let mut read = String::new();
            content.read_to_string(&mut read).unwrap();
            read
        };
        Some(index.parts.iter().map(read).collect())
    }

    const FROM: &str = "From ana@x.test Tue Nov 24 08:00:00 2026";

    #[test]
    fn each_dialect_is_read() {
        let one = "Subject: 1\r\n\r\nFrom here on\r\n>From there\r\n\r\nx\r\n";
        for (text, expected) in [
            // mboxo and mboxrd.
            (
                format!(
                    "{FROM}\nSubject: 1\n\n>From here on\n>>From there\n\nx\n\n{FROM}\nA: b\n\n"
                ),
                vec![one, "A: b\r\n\r\n"],
            ),
            // A line that begins like the one before a message, but has no date.
            (format!("{FROM}\nSubject: 1\n\nFrom here on\n>>From there\n\nx\n"), vec![one]),
            // mboxcl: quoted, and counted.
            (
                format!(
                    "{FROM}\nContent-Length: 31\nSubject: 1\n\n>From here on\n>>From there\n\nx\n\n\n{FROM}\nA: b\n\ny"
                ),
                vec![
                    "Subject: 1\r\n\r\nFrom here on\r\n>From there\r\n\r\nx\r\n\r\n",
                    "A: b\r\n\r\ny",
                ],
            ),
            // mboxcl2: counted only.
            (
                format!(
                    "{FROM}\nSubject: 1\nContent-Length: 49\n\n>From x\n{FROM}\n\n{FROM}\nA: b\n\n"
                ),
                vec![
                    "Subject: 1\r\n\r\n>From x\r\nFrom ana@x.test Tue Nov 24 08:00:00 2026\r\n",
                    "A: b\r\n\r\n",
                ],
            ),
            // A length that is wrong.
            (
                format!("{FROM}\nContent-Length: 3\n\nabcdef\n\n{FROM}\nA: b\n"),
                vec!["\r\nabcdef\r\n", "A: b\r\n"],
            ),
            (
                format!("{FROM}\nContent-Length: 99999999999999999999\n\nabcdef\n"),
                vec!["\r\nabcdef\r\n"],
            ),
            // A file from a system whose lines end in CRLF.
            (
                format!("{FROM}\r\nA: b\r\n\r\n>From c\r\n\r\n{FROM}\r\nA: c\r\n\r\n"),
                vec!["A: b\r\n\r\nFrom c\r\n", "A: c\r\n\r\n"],
            ),
            (String::new(), vec![]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(messages(&text).unwrap(), expected, "{text}");
        }
        for none in ["Subject: x\n\n", "\0\0\0", &format!("x\n{FROM}\nA: b\n")] {
            assert_eq!(messages(none), None, "{none:?}");
        }
    }

    #[test]
    fn lines_before_messages_have_dates() {
        for (line, expected) in [
            ("From ana@x.test Tue Nov 24 08:00:00 2026\n", Some("2026-11-24T08:00:00Z")),
            ("From - Tue Nov  4 08:00:00 2026\r\n", Some("2026-11-04T08:00:00Z")),
            ("From \"a b\"@x Tue Nov 24 08:00 2026", Some("2026-11-24T08:00:00Z")),
            ("From ana Tue Nov 24 08:00:00 +0000 2026", Some("2026-11-24T08:00:00Z")),
        ] {
            let date = from_line(line.as_bytes()).unwrap();
            assert_eq!(date.map(|date| date.to_string()).as_deref(), expected, "{line}");
        }
        assert_eq!(from_line(b"From ana Tue Nov 24 08:00:00"), Some(None));
        for none in
            ["From ", "From Tue to Wed", "From me, Tue Nov 24", "From x Tue Nov x 08:00 2026"]
        {
            assert_eq!(from_line(none.as_bytes()), None, "{none}");
        }
    }

    /// Whatever the file holds, reading it ends.
    #[test]
    fn any_octets_are_read() {
        let long = format!("{FROM}\n{}\n\n{}", "x".repeat(100_000), ">".repeat(100_000));
        let read = messages(&long).unwrap();
        assert_eq!(read[0].len(), 200_004);
        for text in [&format!("{FROM}\n"), FROM, "From ", "From \n\n\n\n", "\n\n"] {
            messages(text);
        }
    }
}
