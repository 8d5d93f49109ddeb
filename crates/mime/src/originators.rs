//! The fields that tell who wrote a message and who sent it (RFC 5322 §3.6.2, §3.6.6), gathered while
//! its header section passes.
//!
//! What is gathered decides whether somebody who logged in may send the message, so the only good
//! reading is one that no mail program can disagree with. Mail programs differ in what they make of
//! `bob@x.test <ana@x.test>`, of a second From field, of a bare LF in the middle of a line; where
//! they could show another author than the one that was found here, the fields are
//! [`OriginatorError`] rather than a guess. A library that reads as much as it can would hide just
//! these cases. Quoted strings, comments and encoded words are for display, and no address is
//! looked for in them.

use posta_mail::{Address, limits};

/// The originator fields of a message that a strict reader understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Originators {
    /// The addresses of From.
    pub from: Vec<Address>,
    /// The addresses of Sender: none or one.
    pub sender: Vec<Address>,
    /// The addresses of Resent-From and Resent-Sender, of which there may be several fields.
    pub resent: Vec<Address>,
}

/// Fields of which mail programs could show different authors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginatorError {
    /// A field that may stand once stands twice (RFC 5322 §3.6).
    #[error("there is more than one {0} field: keep one")]
    Repeated(&'static str),
    /// A field that is no list of addresses.
    #[error("the {0} field cannot be read: write Name <address>, with a comma between several")]
    Malformed(&'static str),
    /// They have more than [`limits::ORIGINATOR_FIELDS`] octets or [`limits::ORIGINATORS`] addresses.
    #[error("the From and Sender fields are too long: name fewer addresses")]
    TooLong,
    /// The header section has NUL, or CR or LF that does not end a line.
    #[error("the header section has a control character: end lines in CRLF, and leave out NUL")]
    ControlCharacter,
}

/// The fields by their names. Mail programs show the first two, and some the others.
const FIELDS: [&str; 4] = ["From", "Sender", "Resent-From", "Resent-Sender"];

/// Comments inside comments at most, as far as a reader follows.
const COMMENT_DEPTH: u32 = 16;

/// Gathers originator fields line by line.
#[derive(Debug, Default)]
pub(crate) struct Gatherer {
    /// The field that passes, as an index of `FIELDS`.
    current: Option<usize>,
    /// The bodies of the fields so far, each with its index.
    fields: Vec<(usize, Vec<u8>)>,
    octets: usize,
    error: Option<OriginatorError>,
}

impl Gatherer {
    /// A field begins.
    pub(crate) fn begin(&mut self, name: &[u8]) {
        self.current = FIELDS.iter().position(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        if let Some(index) = self.current {
            let may_repeat = index >= 2;
            if !may_repeat && self.fields.iter().any(|(other, _)| *other == index) {
                self.fail(OriginatorError::Repeated(FIELDS[index]));
            }
            self.fields.push((index, Vec::new()));
            // The field itself counts: an empty one takes memory, too.
            self.count(FIELDS[index].len());
        }
    }

    /// Octets of the field that passes, its folds included.
    pub(crate) fn push(&mut self, octets: &[u8]) {
        if self.current.is_some()
            && self.count(octets.len())
            && let Some((_, body)) = self.fields.last_mut()
        {
            body.extend_from_slice(octets);
        }
    }

    /// The header section has an octet that programs read differently.
    pub(crate) fn fail(&mut self, error: OriginatorError) {
        self.error.get_or_insert(error);
        self.fields = Vec::new();
        self.current = None;
    }

    fn count(&mut self, octets: usize) -> bool {
        self.octets += octets;
        if self.octets > limits::ORIGINATOR_FIELDS {
            self.fail(OriginatorError::TooLong);
        }
        self.error.is_none()
    }

    /// The header section is over.
    pub(crate) fn finish(self) -> Result<Originators, OriginatorError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut originators = Originators::default();
        let mut count = 0;
        for (index, body) in self.fields {
            let addresses = addresses(&body).ok_or(OriginatorError::Malformed(FIELDS[index]))?;
            count += addresses.len();
            if count > limits::ORIGINATORS {
                return Err(OriginatorError::TooLong);
            }
            match index {
                0 => originators.from = addresses,
                // RFC 5322 §3.6.2: one mailbox.
                1 if addresses.len() > 1 => return Err(OriginatorError::Malformed(FIELDS[1])),
                1 => originators.sender = addresses,
                _ => originators.resent.extend(addresses),
            }
        }
        Ok(originators)
    }
}

/// Returns the addresses of a field, of which there is at least one, given what stands behind its colon; `None` if
/// that is anything but a list of addresses. Address by address in the order of the field, those of groups included.
#[must_use]
pub fn addresses(body: &[u8]) -> Option<Vec<Address>> {
    let mut list = List::default();
    let mut rest = str::from_utf8(body).ok()?;
    while let Some(next) = rest.chars().next() {
        rest = match next {
            ' ' | '\t' | '\r' | '\n' => {
                list.end_word()?;
                &rest[1..]
            }
            '(' => {
                list.end_word()?;
                comment(rest)?
            }
            ',' | '<' | '>' | ':' | ';' => {
                list.end_word()?;
                list.special(next)?;
                &rest[1..]
            }
            _ => {
                let after = piece(rest)?;
                list.word.push_str(&rest[..rest.len() - after.len()]);
                after
            }
        };
    }
    list.end_word()?;
    list.end_element()?;
    (!list.in_group && !list.addresses.is_empty()).then_some(list.addresses)
}

/// What has been read of a list (RFC 5322 §3.4).
#[derive(Default)]
struct List {
    addresses: Vec<Address>,
    /// What stands without a gap: a word of a name, or an address.
    word: String,
    /// Words and addresses of this element so far, outside of angle brackets.
    words: usize,
    /// Whether one of them was an address.
    has_address: bool,
    angle: Angle,
    in_group: bool,
    /// A group ended, and nothing but a comma may follow.
    after_group: bool,
}

#[derive(Default, PartialEq)]
enum Angle {
    #[default]
    None,
    Open,
    /// With its address.
    Filled,
    Closed,
}

impl List {
    fn end_word(&mut self) -> Option<()> {
        if self.word.is_empty() {
            return Some(());
        }
        let word = std::mem::take(&mut self.word);
        let is_address = has_at(&word);
        if self.after_group {
            return None;
        }
        match self.angle {
            Angle::None => {
                self.words += 1;
                self.has_address |= is_address;
            }
            Angle::Open if is_address => self.angle = Angle::Filled,
            Angle::Open | Angle::Filled | Angle::Closed => return None,
        }
        if is_address {
            // Programs differ in which of two addresses of an element they take: all of them count.
            self.addresses.push(word.parse().ok()?);
        }
        Some(())
    }

    fn special(&mut self, special: char) -> Option<()> {
        match special {
            ',' => self.end_element()?,
            '<' if self.angle == Angle::None && !self.after_group => self.angle = Angle::Open,
            '>' if self.angle == Angle::Filled => self.angle = Angle::Closed,
            ':' if self.words > 0
                && !self.has_address
                && self.angle == Angle::None
                && !self.in_group =>
            {
                (self.in_group, self.words) = (true, 0);
            }
            ';' if self.in_group => {
                self.end_element()?;
                (self.in_group, self.after_group) = (false, true);
            }
            _ => return None,
        }
        Some(())
    }

    /// An element is nothing, an address by itself, or an address in angle brackets behind a name.
    fn end_element(&mut self) -> Option<()> {
        let is_whole = match self.angle {
            Angle::None if self.words == 0 => true,
            Angle::None => self.words == 1 && self.has_address,
            Angle::Closed => true,
            Angle::Open | Angle::Filled => false,
        };
        (self.words, self.has_address, self.angle) = (0, false, Angle::None);
        self.after_group = false;
        (is_whole && self.addresses.len() <= limits::ORIGINATORS).then_some(())
    }
}

/// Whether a word has an at sign outside of quotes.
fn has_at(word: &str) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    word.chars().any(|character| {
        if escaped {
            escaped = false;
            return false;
        }
        match character {
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        character == '@' && !quoted
    })
}

/// What stands behind a quoted string, a domain literal or a character that may stand by itself.
fn piece(text: &str) -> Option<&str> {
    let mut characters = text.chars();
    match characters.next()? {
        '"' => loop {
            match characters.next()? {
                '"' => return Some(characters.as_str()),
                '\\' => is_shown(characters.next()?).then_some(())?,
                // A folded line goes on in the next.
                '\r' | '\n' => {}
                other => is_shown(other).then_some(())?,
            }
        },
        '[' => loop {
            match characters.next()? {
                ']' => return Some(characters.as_str()),
                other => (is_shown(other) && !matches!(other, '[' | '\\')).then_some(())?,
            }
        },
        ')' | ']' | '\\' => None,
        other => is_shown(other).then_some(characters.as_str()),
    }
}

/// What stands behind a comment.
fn comment(text: &str) -> Option<&str> {
    let mut characters = text.chars();
    let mut depth = 0;
    loop {
        match characters.next()? {
            '(' => depth += 1,
            ')' => depth -= 1,
            '\\' => is_shown(characters.next()?).then_some(())?,
            '\r' | '\n' => {}
            other => is_shown(other).then_some(())?,
        }
        if depth == 0 {
            return Some(characters.as_str());
        }
        if depth > COMMENT_DEPTH {
            return None;
        }
    }
}

fn is_shown(character: char) -> bool {
    character == '\t' || !character.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(body: &str) -> Option<String> {
        addresses(body.as_bytes())
            .map(|list| list.iter().map(Address::as_str).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn lists_are_read() {
        for (body, expected) in [
            (" a@x.test", "a@x.test"),
            ("\"b@y.test\" <a@x.test>", "a@x.test"),
            ("John Q. Public (b@y.test (c)) <a@x.test> (d)", "a@x.test"),
            ("a@x.test,, b@y.test,", "a@x.test b@y.test"),
            ("\"a b\"@x.test", "\"a b\"@x.test"),
            ("\"a@b\"@x.test", "\"a@b\"@x.test"),
            ("<a@[192.0.2.1]>", "a@[192.0.2.1]"),
            ("us: a@x.test, B <b@y.test>;, c@z.test", "a@x.test b@y.test c@z.test"),
            ("a@x.test <b@y.test>", "a@x.test b@y.test"),
            ("\"A\\\"\r\n B\"\r\n\t<a@x.test>", "a@x.test"),
            ("ană@x.test", "ană@x.test"),
        ] {
            assert_eq!(read(body).as_deref(), Some(expected), "{body}");
        }
    }

    #[test]
    fn what_could_be_read_differently_is_not_read() {
        for body in [
            "",
            " ",
            "Ana",
            "us:;",
            "us: a@x.test",
            "us: them: a@x.test;;",
            ": a@x.test;",
            "a@x.test;",
            "us: a@x.test; b@y.test",
            "a@x.test b@y.test",
            "a @x.test",
            "a@ x.test",
            "a(b)@x.test",
            "a@x.test .y.test",
            "a@b@x.test",
            "<a@x.test> b",
            "<a@x.test> <b@y.test>",
            "<<a@x.test>>",
            "<a@x.test b@y.test>",
            "<a>",
            "<>",
            "a@x.test>",
            "<@y.test:a@x.test>",
            "\"a <a@x.test>",
            "(a <a@x.test>",
            ") <a@x.test>",
            "a\\b <a@x.test>",
            "[a] b]@x.test",
            "a@x.test\0",
            "\"\0\" <a@x.test>",
            "\u{85} <a@x.test>",
            "=?utf-8?q?b@y.test?= <a@x.test>",
        ] {
            assert_eq!(read(body), None, "{body}");
        }
        assert_eq!(addresses(b"\"\xff\" <a@x.test>"), None);
        assert_eq!(read(&format!("{} <a@x.test>", "(".repeat(100_000))), None);
    }

    proptest! {
        /// Whatever is found was written outside of quotes and comments, and nothing panics.
        #[test]
        fn any_body_is_read_or_not(body in "([a-z]@x\\.test|[<>,:;()\"\\\\ \\[\\]@.]|\r\n |[^a]){0,40}") {
            if let Some(list) = addresses(body.as_bytes()) {
                prop_assert!(!list.is_empty());
            }
        }
    }
}
