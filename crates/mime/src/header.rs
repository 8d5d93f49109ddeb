//! The header section of an arriving message: recording the fields that matter to the server, and adding
//! required fields that are missing (RFC 5322 §3.6, RFC 6409 §8).
//!
//! All content that the server accepts passes through a [`HeaderCompleter`] on its way into the store.

use crate::originators::{Gatherer, OriginatorError, Originators};
use posta_mail::{ThreadId, limits, thread::Names};

/// The fields that every message must have, prepared for the case that they are missing. Each is a whole
/// field including CRLF.
#[derive(Debug, Clone)]
pub struct RequiredFields {
    /// `Message-ID: …` (RFC 5322 §3.6.4).
    pub message_id: String,
    /// `Date: …` (RFC 5322 §3.6.1).
    pub date: String,
    /// `From: …` (RFC 5322 §3.6.2).
    pub from: String,
}

/// The messages to which missing fields are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// All messages, and Bcc is removed: the task of a submission server (RFC 6409 §8).
    Always,
    /// All messages, because printers and programs that may relay leave fields out (RFC 5321 §6.4).
    IfMissing,
    /// Only content without any header section, which would otherwise merge with the trace fields above
    /// it. A relay changes nothing else (RFC 5321 §6.4).
    IfNoHeader,
}

/// Passes a message through piece by piece. Counts its hops, removes `Bcc` where [`Completion::Always`]
/// applies, and adds missing [`RequiredFields`] at the end of the header section. No more than the
/// beginning of a line is held back.
#[derive(Debug)]
pub struct HeaderCompleter {
    fields: RequiredFields,
    completion: Completion,
    state: State,
    seen_field: bool,
    /// Whether the current field is being removed.
    dropping: bool,
    /// The number of Received fields so far.
    hops: usize,
    /// The message ids in the header section, its own among them.
    names: Names,
    /// Collects the authors and the sender, where these matter.
    originators: Option<Box<Gatherer>>,
    /// The beginning of a line that is not classified yet.
    held: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the beginning of a line of the header section.
    LineStart,
    /// Within a line of the header section; `after_cr` says whether the last octet was a CR.
    InLine { after_cr: bool },
    /// After the header section.
    Body,
}

/// The kinds of lines in a header section.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Unknown,
    Field,
    Continuation,
    Blank,
    /// A line that cannot be part of a header section.
    Foreign,
}

impl HeaderCompleter {
    /// Returns a completer at the start of a message.
    #[must_use]
    pub fn new(fields: RequiredFields, completion: Completion) -> Self {
        Self {
            fields,
            completion,
            state: State::LineStart,
            seen_field: false,
            dropping: false,
            hops: 0,
            names: Names::default(),
            originators: None,
            held: Vec::new(),
        }
    }

    /// Makes the completer collect the authors and the sender as well.
    #[must_use]
    pub fn gathering_originators(self) -> Self {
        Self { originators: Some(Box::default()), ..self }
    }

    /// Returns the authors and the sender, once, after the header section has ended; none if they are
    /// not collected.
    pub fn take_originators(&mut self) -> Option<Result<Originators, OriginatorError>> {
        self.originators.take().map(|gatherer| gatherer.finish())
    }

    /// Returns the value of the Message-ID field, `<…>`, as far as the header section has been read.
    #[must_use]
    pub fn message_id(&self) -> Option<String> {
        let given = str::from_utf8(self.names.message_id().trim_ascii()).ok();
        let added = self.fields.message_id.split_once(':').map(|(_, id)| id.trim());
        let added = added.filter(|_| self.adds_missing());
        let id = given.filter(|id| !id.is_empty()).or(added)?;
        let is_one = id.len() <= limits::FIELD_NAME
            && id.starts_with('<')
            && id.ends_with('>')
            && id.bytes().all(|octet| octet.is_ascii_graphic());
        is_one.then(|| id.to_owned())
    }

    /// Returns the conversation that the message belongs to, as far as the header section has been read;
    /// none if there is no message id, not even the message's own.
    #[must_use]
    pub fn thread(&self) -> Option<ThreadId> {
        self.names.thread().or_else(|| ThreadId::of_message_id(&self.message_id()?))
    }

    /// Returns the number of Received fields so far: the servers that the message has passed through.
    #[must_use]
    pub const fn hops(&self) -> usize {
        self.hops
    }

    /// Returns whether the header section is over, so that further content need not pass through.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Body
    }

    /// Appends `content` to `output`, with missing fields added.
    pub fn push(&mut self, mut content: &[u8], output: &mut Vec<u8>) {
        while !content.is_empty() {
            match self.state {
                State::Body => {
                    output.extend_from_slice(content);
                    return;
                }
                State::InLine { after_cr } => self.pass_line(&mut content, after_cr, output),
                State::LineStart => {
                    self.held.push(content[0]);
                    content = &content[1..];
                    let kind = kind(&self.held, self.seen_field);
                    self.begin_line(kind, output);
                }
            }
        }
    }

    /// Ends the content.
    pub fn finish(mut self, output: &mut Vec<u8>) {
        match self.state {
            State::Body => {}
            State::LineStart if self.held.is_empty() => self.add_missing(output),
            State::LineStart => self.begin_line(Kind::Foreign, output),
            State::InLine { .. } => {
                if !self.dropping {
                    output.extend_from_slice(b"\r\n");
                }
                self.add_missing(output);
            }
        }
    }

    fn begin_line(&mut self, kind: Kind, output: &mut Vec<u8>) {
        match kind {
            Kind::Unknown => return,
            Kind::Field => {
                self.note_field();
                self.seen_field = true;
                self.state = State::InLine { after_cr: false };
            }
            Kind::Continuation => {
                self.state = State::InLine { after_cr: false };
                self.names.push(&self.held);
                if let Some(gatherer) = &mut self.originators {
                    gatherer.push(&self.held);
                }
            }
            Kind::Blank => {
                self.dropping = false;
                self.add_missing(output);
                self.state = State::Body;
            }
            Kind::Foreign => {
                // The body begins without the empty line that RFC 5322 §2.1 requires.
                let separate = self.adds_missing();
                self.add_missing(output);
                if separate {
                    output.extend_from_slice(b"\r\n");
                }
                self.state = State::Body;
            }
        }
        if self.dropping && matches!(kind, Kind::Field | Kind::Continuation) {
            self.held.clear();
        }
        output.append(&mut self.held);
    }

    fn pass_line(&mut self, content: &mut &[u8], after_cr: bool, output: &mut Vec<u8>) {
        let end = if after_cr && content[0] == b'\n' {
            Some(1)
        } else {
            memchr::memmem::find(content, b"\r\n").map(|at| at + 2)
        };
        let (line, rest) = content.split_at(end.unwrap_or(content.len()));
        if !self.dropping {
            output.extend_from_slice(line);
        }
        if let Some(gatherer) = &mut self.originators {
            if hides_a_line(line, end.is_some(), after_cr) {
                gatherer.fail(OriginatorError::ControlCharacter);
            }
            gatherer.push(line);
        }
        self.names.push(line);
        *content = rest;
        self.state = match end {
            Some(_) => State::LineStart,
            None => State::InLine { after_cr: line.ends_with(b"\r") },
        };
    }

    fn note_field(&mut self) {
        let name = self.held.trim_ascii_end().strip_suffix(b":").unwrap_or(&self.held);
        let name = name.trim_ascii_end();
        // RFC 5322 §3.6.3: blind copies must not be revealed.
        self.dropping = self.completion == Completion::Always && name.eq_ignore_ascii_case(b"Bcc");
        self.names.begin(name);
        if let Some(gatherer) = &mut self.originators {
            gatherer.begin(name);
        }
        self.hops += usize::from(name.eq_ignore_ascii_case(b"Received"));
        for (known, field) in [
            (&b"Message-ID"[..], &mut self.fields.message_id),
            (b"Date", &mut self.fields.date),
            (b"From", &mut self.fields.from),
        ] {
            if name.eq_ignore_ascii_case(known) {
                field.clear();
            }
        }
    }

    /// Returns whether missing fields are added to this message, judging by what has been read.
    fn adds_missing(&self) -> bool {
        !self.seen_field || self.completion != Completion::IfNoHeader
    }

    fn add_missing(&mut self, output: &mut Vec<u8>) {
        if !self.adds_missing() {
            return;
        }
        for field in [&self.fields.message_id, &self.fields.date, &self.fields.from] {
            output.extend_from_slice(field.as_bytes());
        }
    }
}

/// Returns whether a piece of a line contains NUL, or a CR or LF that does not end the line. Some
/// programs end the line or the whole header section there, and would display the rest as a field of its
/// own.
fn hides_a_line(piece: &[u8], ended: bool, after_cr: bool) -> bool {
    if after_cr && piece == b"\n" {
        return false;
    }
    let end: &[u8] = if ended { b"\r\n" } else { b"\r" };
    let text = piece.strip_suffix(end).unwrap_or(piece);
    after_cr || memchr::memchr3(b'\r', b'\n', 0, text).is_some()
}

/// Classifies a line by its beginning. The function is called after each octet, so only the last one
/// needs to be examined; a name's length is bounded, and so is the total work.
fn kind(beginning: &[u8], seen_field: bool) -> Kind {
    match beginning {
        b" " | b"\t" if seen_field => Kind::Continuation,
        b"\r" => Kind::Unknown,
        b"\r\n" => Kind::Blank,
        [_, .., b':'] => Kind::Field,
        // RFC 5322 §4.5.3: obsolete syntax allows spaces before the colon.
        [b'!'..=b'9' | b';'..=b'~', .., b' ' | b'\t'] if beginning.len() < limits::FIELD_NAME => {
            Kind::Unknown
        }
        [.., b'!'..=b'9' | b';'..=b'~'] if beginning.len() < limits::FIELD_NAME => {
            let before = beginning.len().checked_sub(2).map(|at| beginning[at]);
            if matches!(before, Some(b' ' | b'\t' | b'\r')) { Kind::Foreign } else { Kind::Unknown }
        }
        _ => Kind::Foreign,
    }
}

/// Returns the header section of a message if all of it is within `beginning`, otherwise as much as
/// there is.
#[must_use]
pub fn header_section(beginning: &[u8]) -> &[u8] {
    match memchr::memmem::find(beginning, b"\r\n\r\n") {
        Some(end) => &beginning[..end + 2],
        None => match memchr::memmem::rfind(beginning, b"\r\n") {
            Some(end) => &beginning[..end + 2],
            None => b"",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn complete(message: &str, pieces: &[usize], completion: Completion) -> String {
        let fields = RequiredFields {
            message_id: "Message-ID: <1>\r\n".into(),
            date: "Date: now\r\n".into(),
            from: "From: ana\r\n".into(),
        };
        let mut completer = HeaderCompleter::new(fields, completion);
        let mut output = Vec::new();
        let mut rest = message.as_bytes();
        for &size in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(size.min(rest.len()));
            completer.push(piece, &mut output);
            rest = after;
        }
        completer.finish(&mut output);
        String::from_utf8(output).unwrap()
    }

    const ALL: &str = "Message-ID: <1>\r\nDate: now\r\nFrom: ana\r\n";

    #[test]
    fn submission_adds_what_is_missing() {
        for (message, expected) in [
            ("body\r\n", format!("{ALL}\r\nbody\r\n")),
            ("two words\r\n", format!("{ALL}\r\ntwo words\r\n")),
            ("", ALL.to_owned()),
            ("\r\nbody\r\n", format!("{ALL}\r\nbody\r\n")),
            (" indented\r\n", format!("{ALL}\r\n indented\r\n")),
            (
                "Bcc: x\r\n\ty: z\r\nTo: a\r\nBCC : q\r\n\r\nBcc: b\r\n",
                format!("To: a\r\n{ALL}\r\nBcc: b\r\n"),
            ),
            ("Subject: s\r\n\r\nb\r\n", format!("Subject: s\r\n{ALL}\r\nb\r\n")),
            ("Subject: s\r\n", format!("Subject: s\r\n{ALL}")),
            ("Subject: s\r\nno field\r\n", format!("Subject: s\r\n{ALL}\r\nno field\r\n")),
            (
                "dATE: d\r\nFROM : f\r\nSubject: a\r\n b: c\r\n\r\nMessage-ID: x\r\n",
                "dATE: d\r\nFROM : f\r\nSubject: a\r\n b: c\r\nMessage-ID: <1>\r\n\r\nMessage-ID: x\r\n"
                    .to_owned(),
            ),
            (
                "From: a\r\nDate: b\r\nMessage-ID: c\r\n\r\n",
                "From: a\r\nDate: b\r\nMessage-ID: c\r\n\r\n".to_owned(),
            ),
        ] {
            assert_eq!(complete(message, &[1000], Completion::Always), expected, "{message:?}");
        }
    }

    #[test]
    fn a_relay_leaves_a_header_section_alone() {
        for message in ["Subject: s\r\n\r\nb\r\n", "A: b\r\nfoo bar\r\n", "A: b", "A: b\r\nc"] {
            let seen = complete(message, &[1000], Completion::IfNoHeader);
            assert_eq!(seen.trim_end(), message.trim_end());
        }
        assert_eq!(complete("b\r\n", &[9], Completion::IfNoHeader), format!("{ALL}\r\nb\r\n"));
    }

    #[test]
    fn who_may_relay_gets_what_is_missing_and_loses_nothing() {
        for (message, expected) in [
            (
                "Bcc: x\r\nDate: d\r\n\r\nb\r\n",
                "Bcc: x\r\nDate: d\r\nMessage-ID: <1>\r\nFrom: ana\r\n\r\nb\r\n",
            ),
            (
                "A: b\r\nno field\r\n",
                "A: b\r\nMessage-ID: <1>\r\nDate: now\r\nFrom: ana\r\n\r\nno field\r\n",
            ),
        ] {
            assert_eq!(complete(message, &[1000], Completion::IfMissing), expected);
        }
    }

    /// The history and reports contain the message's own Message-ID, and no invented one.
    #[test]
    fn no_message_id_is_invented() {
        for (message, completion, told) in [
            ("A: b\r\n\r\n", Completion::IfNoHeader, None),
            ("A: b", Completion::IfNoHeader, None),
            ("Message-ID: <m@x.test>\r\n\r\n", Completion::IfNoHeader, Some("<m@x.test>")),
            ("no header", Completion::IfNoHeader, Some("<1>")),
            ("A: b\r\n\r\n", Completion::IfMissing, Some("<1>")),
            ("A: b\r\n\r\n", Completion::Always, Some("<1>")),
        ] {
            let fields = RequiredFields {
                message_id: "Message-ID: <1>\r\n".into(),
                date: String::new(),
                from: String::new(),
            };
            let mut completer = HeaderCompleter::new(fields, completion);
            completer.push(message.as_bytes(), &mut Vec::new());
            assert_eq!(completer.message_id().as_deref(), told, "{message:?} {completion:?}");
        }
    }

    #[test]
    fn the_header_section_is_found() {
        assert_eq!(header_section(b"a: b\r\nc: d\r\n\r\nbody"), b"a: b\r\nc: d\r\n");
        assert_eq!(header_section(b"a: b\r\nc: d"), b"a: b\r\n");
        assert_eq!(header_section(b"a: b"), b"");
    }

    proptest! {
        #[test]
        fn splits_do_not_matter(
            message in "(Date|a|:| |\r\n|\r|\n|[^a]){0,30}",
            pieces in proptest::collection::vec(1usize..9, 1..9),
            always: bool,
        ) {
            let completion = if always { Completion::Always } else { Completion::IfNoHeader };
            prop_assert_eq!(
                complete(&message, &pieces, completion),
                complete(&message, &[usize::MAX], completion)
            );
        }
    }
}
