//! The fields that name the author and the sender of a message (RFC 5322 §3.6.2, §3.6.6), collected
//! while the header section passes.
//!
//! The result decides whether a user who is logged in may send the message. Therefore only a reading
//! that no mail program can disagree with is acceptable. Mail programs differ in their reading of
//! `bob@x.test <ana@x.test>`, of a second From field, or of a lone LF in the middle of a line. Where a
//! mail program could display another author than the one found here, the result is an
//! [`OriginatorError`], not a guess. A library that reads as much as possible would hide exactly these
//! cases. Quoted strings, comments and encoded words are for display only, and are not searched for
//! addresses.

use posta_mail::{Address, limits};

/// The addresses in a message's originator fields, as a strict reader understands them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Originators {
    /// The addresses of From.
    pub from: Vec<Address>,
    /// The addresses of Sender, at most one.
    pub sender: Vec<Address>,
    /// The addresses of all Resent-From and Resent-Sender fields.
    pub resent: Vec<Address>,
}

/// The reason why mail programs could display different authors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginatorError {
    /// A field that may occur only once occurs twice (RFC 5322 §3.6).
    #[error("there is more than one {0} field: keep one")]
    Repeated(&'static str),
    /// A field is not a valid list of addresses.
    #[error("the {0} field cannot be read: write Name <address>, with a comma between several")]
    Malformed(&'static str),
    /// The fields have more than [`limits::ORIGINATOR_FIELDS`] octets or [`limits::ORIGINATORS`]
    /// addresses.
    #[error("the From and Sender fields are too long: name fewer addresses")]
    TooLong,
    /// The header section contains NUL, or a CR or LF that does not end a line.
    #[error("the header section has a control character: end lines in CRLF, and leave out NUL")]
    ControlCharacter,
}

/// The names of the fields. All mail programs display the first two, and some the others.
const FIELDS: [&str; 4] = ["From", "Sender", "Resent-From", "Resent-Sender"];

/// The maximal depth of comments inside comments.
const COMMENT_DEPTH: u32 = 16;

/// Collects originator fields line by line.
#[derive(Debug, Default)]
pub(crate) struct Gatherer {
    /// The current field, as an index into `FIELDS`.
    current: Option<usize>,
    /// The bodies of the fields so far, each with its index into `FIELDS`.
    fields: Vec<(usize, Vec<u8>)>,
    octets: usize,
    error: Option<OriginatorError>,
}

impl Gatherer {
    /// Begins a field.
    pub(crate) fn begin(&mut self, name: &[u8]) {
        self.current = FIELDS.iter().position(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        if let Some(index) = self.current {
            let may_repeat = index >= 2;
            if !may_repeat && self.fields.iter().any(|(other, _)| *other == index) {
                self.fail(OriginatorError::Repeated(FIELDS[index]));
            }
            self.fields.push((index, Vec::new()));
            // The field itself counts, since even an empty one takes memory.
            self.count(FIELDS[index].len());
        }
    }

    /// Takes octets of the current field, including its folded lines.
    pub(crate) fn push(&mut self, octets: &[u8]) {
        if self.current.is_some()
            && self.count(octets.len())
            && let Some((_, body)) = self.fields.last_mut()
        {
            body.extend_from_slice(octets);
        }
    }

    /// Records that the header section contains octets that mail programs read differently.
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

    /// Ends the header section. Returns the addresses found.
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
                // RFC 5322 §3.6.2: Sender has exactly one mailbox.
                1 if addresses.len() > 1 => return Err(OriginatorError::Malformed(FIELDS[1])),
                1 => originators.sender = addresses,
                _ => originators.resent.extend(addresses),
            }
        }
        Ok(originators)
    }
}

/// Returns the addresses of a field, at least one, given the text after its colon. Returns none if the
/// text is anything but a list of addresses. The order is that of the field; members of groups are
/// included.
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

/// Returns the address of a field that has a name and one address in angle brackets, as people read it: the name is for
/// display, even if it mentions another address without the quotes that RFC 5322 §3.4 wants, as in
/// `bob@b.test via List <l@l.test>`.
///
/// Returns none for any other field: if the name is nothing but an address, which people take for the author's; if
/// programs could differ in the address that it mentions; and if it has what separates addresses (`,`, `:`, `;`).
#[must_use]
pub fn named_address(body: &[u8]) -> Option<Address> {
    let (mut address, mut name) = (None, DisplayName::default());
    let mut rest = str::from_utf8(body).ok()?;
    while let Some(next) = rest.chars().next() {
        rest = match next {
            ' ' | '\t' | '\r' | '\n' => {
                name.end_word()?;
                &rest[1..]
            }
            '(' => {
                name.end_word()?;
                comment(rest)?
            }
            '<' if address.is_none() => {
                name.end_word()?;
                let (within, after) = rest[1..].split_once('>')?;
                address = Some(within.parse().ok()?);
                after
            }
            ',' | '<' | '>' | ':' | ';' => return None,
            // Text behind the brackets.
            _ if address.is_some() => return None,
            _ => {
                let after = piece(rest)?;
                name.word.push_str(&rest[..rest.len() - after.len()]);
                after
            }
        };
    }
    address.filter(|_| !name.mentions || name.words > 0)
}

/// The words before an address in angle brackets.
#[derive(Default)]
struct DisplayName {
    /// The current word, without a gap.
    word: String,
    /// The number of words that are no addresses.
    words: usize,
    /// Whether a word is an address.
    mentions: bool,
}

impl DisplayName {
    /// Ends a word. Returns none if it could be part of an address that programs put together in different ways, such as
    /// `ceo@victim .test`.
    fn end_word(&mut self) -> Option<()> {
        let word = std::mem::take(&mut self.word);
        if word.is_empty() {
            return Some(());
        }
        if has_at(&word) {
            let mentioned: Address = word.trim_matches('\'').parse().ok()?;
            let domain = mentioned.domain();
            self.mentions = true;
            return (domain.contains('.') && !domain.ends_with('.')).then_some(());
        }
        self.words += 1;
        (!word.starts_with('.')).then_some(())
    }
}

/// The state of reading an address list (RFC 5322 §3.4).
#[derive(Default)]
struct List {
    addresses: Vec<Address>,
    /// The current word, without a gap: part of a name, or an address.
    word: String,
    /// The number of words and addresses of the current element, outside angle brackets.
    words: usize,
    /// Whether one of these words was an address.
    has_address: bool,
    angle: Angle,
    in_group: bool,
    /// Whether a group has ended, so that only a comma may follow.
    after_group: bool,
}

#[derive(Default, PartialEq)]
enum Angle {
    #[default]
    None,
    Open,
    /// The brackets hold an address.
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
            // Mail programs differ in which of two addresses in an element they use, so both count.
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

    /// Ends an element: nothing, an address by itself, or a name and an address in angle brackets.
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

/// Returns whether a word has an at sign outside quotes.
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

/// Returns the text after a quoted string, a domain literal or a single character.
fn piece(text: &str) -> Option<&str> {
    let mut characters = text.chars();
    match characters.next()? {
        '"' => loop {
            match characters.next()? {
                '"' => return Some(characters.as_str()),
                '\\' => is_shown(characters.next()?).then_some(())?,
                // The line is folded and continues.
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

/// Returns the text after a comment.
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

    #[test]
    fn a_name_before_the_brackets_is_no_address() {
        let named = |body: &str| named_address(body.as_bytes()).map(|it| it.as_str().to_owned());
        for body in [
            "<l@l.test>",
            "List <l@l.test>",
            "bob@b.test via List <l@l.test>",
            "'bob@b.test' via List <l@l.test> (bob@b.test)",
            "\"Bob, Ltd.\" bob@b.test (x) <l@l.test>\r\n",
            "bob@b.test via Acme Inc. <l@l.test>",
            "\"bob@b.test\" <l@l.test>",
        ] {
            assert_eq!(named(body).as_deref(), Some("l@l.test"), "{body}");
        }
        for body in [
            "",
            "l@l.test",
            "bob@b.test, List <l@l.test>",
            "Bob, Ltd. <l@l.test>",
            "us: <l@l.test>;",
            "Re: bob <l@l.test>",
            "<bob@b.test> <l@l.test>",
            "bob <l@l.test> via list",
            "<@b.test:l@l.test>",
            "<l@ l.test>",
            "<l@(x)l.test>",
            "<>",
            "\"Bob <l@l.test>",
            "(Bob <l@l.test>",
            "Bob) <l@l.test>",
            "Bob\0 <l@l.test>",
            "<l@l.test",
            // A name that is an address, or that could be put together to another one.
            "bob@b.test <l@l.test>",
            "bob@b.test (Bob) <l@l.test>",
            "=?utf-8?q?bob@b.test?= <l@l.test>",
            "bob@b .test <l@l.test>",
            "bob@b.test .c.test <l@l.test>",
            "bob@ b.test <l@l.test>",
            "bob@b (x).test via List <l@l.test>",
            "Sales @ Acme Inc. <l@l.test>",
        ] {
            assert_eq!(named(body), None, "{body}");
        }
        assert_eq!(named_address(b"\xe9 <l@l.test>"), None);
    }

    proptest! {
        /// Addresses are found outside quotes and comments only, and no input causes a panic.
        #[test]
        fn any_body_is_read_or_not(body in "([a-z]@x\\.test|[<>,:;()\"\\\\ \\[\\]@.]|\r\n |[^a]){0,40}") {
            if let Some(list) = addresses(body.as_bytes()) {
                prop_assert!(!list.is_empty());
                if let Some(named) = named_address(body.as_bytes()) {
                    prop_assert_eq!(list.last(), Some(&named));
                }
            }
        }
    }
}
