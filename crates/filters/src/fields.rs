//! The fields of a header section: cut out of content as it arrives, or made from the words of a filter.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use posta_mail::limits;

/// The maximal number of octets in a field. A longer one ends the header section, and its rest counts as
/// body: a filter sees it all the same.
pub const FIELD: usize = 64 * 1024;

/// The maximal number of octets in the value of a new field.
const VALUE: usize = 16 * 1024;

/// Octets in a line that cannot be broken at a space: with a name before them it has fewer than 998 (RFC 5322 §2.1.1).
const LINE: usize = 900;

/// Octets in a line of a new field where it can be broken.
const USUAL_LINE: usize = 200;

/// Octets of text in an encoded word: with their encoding it has at most 75 (RFC 2047 §2).
const ENCODED: usize = 45;

/// The next part of the content.
#[derive(Debug, PartialEq, Eq)]
pub enum NextField {
    /// Nothing yet: more content is needed.
    More,
    /// A whole field, with the CRLF of each of its lines.
    Field(Vec<u8>),
    /// The header section is over.
    Body(BodyStart),
}

/// The beginning of the body.
#[derive(Debug, PartialEq, Eq)]
pub struct BodyStart {
    /// Whether a blank line stands before it, which was taken off the content.
    pub is_separated: bool,
    /// The beginning of the body that was taken off the content already.
    pub beginning: Vec<u8>,
}

/// Cuts content into its fields and the body. Holds one field, of at most [`FIELD`] octets.
///
/// ```
/// use posta_filters::fields::{FieldReader, NextField};
///
/// let (mut reader, mut content) = (FieldReader::default(), &b"A: b\r\n c\r\n\r\nbody"[..]);
/// assert_eq!(reader.next(&mut content), NextField::Field(b"A: b\r\n c\r\n".to_vec()));
/// let NextField::Body(body) = reader.next(&mut content) else { panic!() };
/// assert!(body.is_separated && body.beginning.is_empty());
/// assert_eq!(content, b"body");
/// ```
#[derive(Debug, Default)]
pub struct FieldReader {
    /// The lines of the present field, and the beginning of the line that follows.
    held: Vec<u8>,
    /// Where that line begins.
    line: usize,
    /// Where the body begins, once the last field was handed on.
    body: Option<BodyStart>,
}

/// The kind of a line in a header section.
enum LineKind {
    First,
    Continuation,
    Blank,
    /// A line that no header section can have.
    Foreign,
}

impl FieldReader {
    /// Takes content off the front up to the end of a field. Not to be called after [`NextField::Body`].
    pub fn next(&mut self, content: &mut &[u8]) -> NextField {
        if let Some(body) = self.body.take() {
            return NextField::Body(body);
        }
        loop {
            let end = memchr::memchr(b'\n', content).map_or(content.len(), |at| at + 1);
            let (piece, rest) = content.split_at(end);
            self.held.extend_from_slice(piece);
            *content = rest;
            if self.held.len() > FIELD {
                return self.end(false);
            }
            if !self.held.ends_with(b"\r\n") || self.held.len() == self.line {
                if content.is_empty() {
                    return NextField::More;
                }
                continue;
            }
            if let Some(next) = self.line_came() {
                return next;
            }
        }
    }

    /// Returns the next part when the content has ended. It is called until it returns the body.
    pub fn finish(&mut self) -> NextField {
        if let Some(body) = self.body.take() {
            return NextField::Body(body);
        }
        if self.held.len() > self.line {
            self.held.extend_from_slice(b"\r\n");
            if let Some(next) = self.line_came() {
                return next;
            }
        }
        self.end(false)
    }

    /// Takes a complete line.
    fn line_came(&mut self) -> Option<NextField> {
        let has_field = self.line > 0;
        match kind(&self.held[self.line..]) {
            LineKind::Continuation if has_field => {
                self.line = self.held.len();
                None
            }
            LineKind::First if !has_field => {
                self.line = self.held.len();
                None
            }
            LineKind::First => {
                let next = self.held.split_off(self.line);
                let field = std::mem::replace(&mut self.held, next);
                self.line = self.held.len();
                Some(NextField::Field(field))
            }
            LineKind::Blank => {
                self.held.truncate(self.line);
                Some(self.end(true))
            }
            LineKind::Foreign | LineKind::Continuation => Some(self.end(false)),
        }
    }

    /// Ends the header section: the field that is held comes first.
    fn end(&mut self, is_separated: bool) -> NextField {
        let beginning = self.held.split_off(self.line);
        let field = std::mem::take(&mut self.held);
        self.line = 0;
        let body = BodyStart { is_separated, beginning };
        if field.is_empty() {
            return NextField::Body(body);
        }
        self.body = Some(body);
        NextField::Field(field)
    }
}

fn kind(line: &[u8]) -> LineKind {
    match line {
        b"\r\n" => LineKind::Blank,
        [b' ' | b'\t', ..] => LineKind::Continuation,
        line if field_name(line).is_some() => LineKind::First,
        _ => LineKind::Foreign,
    }
}

/// Returns the name of a field, without the spaces that obsolete syntax has before the colon (RFC 5322 §4.5.3).
#[must_use]
pub fn field_name(field: &[u8]) -> Option<&[u8]> {
    let beginning = &field[..field.len().min(limits::FIELD_NAME)];
    let name = beginning[..memchr::memchr(b':', beginning)?].trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    is_name.then_some(name)
}

/// Returns what follows the colon of a field, without the CRLF at its end.
#[must_use]
pub fn field_value(field: &[u8]) -> &[u8] {
    let value = memchr::memchr(b':', field).map_or(&b""[..], |colon| &field[colon + 1..]);
    value.strip_suffix(b"\r\n").unwrap_or(value)
}

/// A field that a filter adds to a message: safe to stand in a header section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewField(Vec<u8>);

/// A filter's field cannot stand in a header section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NewFieldError {
    /// The name is empty, too long, or has characters that no name has.
    #[error("a field's name has 1 to 76 characters of ASCII without space and colon")]
    Name,
    /// The value is too long.
    #[error("a field has at most 16 KiB")]
    TooLong,
}

impl NewField {
    /// Makes a field of a name and a value, which may have several lines, ended by LF or CRLF.
    ///
    /// Whatever the value holds, the result is one field: control characters become spaces, a line that would begin a
    /// field of its own is indented, long lines are folded, and text outside ASCII is encoded (RFC 2047).
    ///
    /// # Errors
    /// When the name is invalid, or the value is longer than 16 KiB.
    pub fn new(name: &[u8], value: &[u8]) -> Result<Self, NewFieldError> {
        let is_name = |octet: &u8| octet.is_ascii_graphic() && *octet != b':';
        if name.is_empty() || name.len() > 76 || !name.iter().all(is_name) {
            return Err(NewFieldError::Name);
        }
        if value.len() > VALUE {
            return Err(NewFieldError::TooLong);
        }
        let value = match value.is_ascii() {
            true => String::from_utf8_lossy(value).into_owned(),
            false => encoded_words(&String::from_utf8_lossy(value)),
        };
        let mut field = [name, b":"].concat();
        let mut is_first = true;
        for line in value.split('\n') {
            let seen = |character: char| match character {
                '\t' => '\t',
                other if other.is_ascii_control() => ' ',
                other => other,
            };
            let line: String = line.chars().map(seen).collect();
            let line = line.trim_end();
            if line.trim().is_empty() && !is_first {
                continue;
            }
            if !is_first {
                field.extend_from_slice(b"\r\n");
            }
            if !line.starts_with([' ', '\t']) {
                field.push(if is_first { b' ' } else { b'\t' });
            }
            let room = USUAL_LINE - if is_first { name.len() + 1 } else { 0 };
            fold(line, room, &mut field);
            is_first = false;
        }
        field.extend_from_slice(b"\r\n");
        Ok(Self(field))
    }

    /// Returns the field, with its CRLF.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Writes a line, broken before white space where it is long, and anywhere where there is none.
fn fold(line: &str, mut room: usize, field: &mut Vec<u8>) {
    let mut rest = line.as_bytes();
    while rest.len() > room {
        let is_space = |octet: &u8| matches!(octet, b' ' | b'\t');
        let begins = rest.iter().position(|octet| !is_space(octet)).unwrap_or_default();
        let within = rest[begins..room.max(begins + 1).min(rest.len())].iter().rposition(is_space);
        let beyond = || rest[begins..].iter().position(is_space);
        let at = within.or_else(beyond).map_or(rest.len(), |at| at + begins).min(LINE);
        if at >= rest.len() {
            break;
        }
        let (now, later) = rest.split_at(at);
        field.extend_from_slice(now);
        field.extend_from_slice(b"\r\n");
        if !is_space(&later[0]) {
            field.push(b'\t');
        }
        (rest, room) = (later, USUAL_LINE);
    }
    field.extend_from_slice(rest);
}

/// Returns text as encoded words (RFC 2047 §2), a line each.
fn encoded_words(text: &str) -> String {
    let mut words = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let mut end = rest.len().min(ENCODED);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (now, later) = rest.split_at(end);
        words.push(format!("=?utf-8?B?{}?=", BASE64.encode(now)));
        rest = later;
    }
    words.join("\n\t")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(content: &[u8], size: usize) -> (Vec<Vec<u8>>, bool, Vec<u8>) {
        let (mut reader, mut fields) = (FieldReader::default(), Vec::new());
        let mut pieces = content.chunks(size);
        let mut piece = pieces.next().unwrap_or_default();
        loop {
            match reader.next(&mut piece) {
                NextField::Field(field) => fields.push(field),
                NextField::Body(body) => return whole(fields, body, piece, pieces),
                NextField::More => match pieces.next() {
                    Some(next) => piece = next,
                    None => break,
                },
            }
        }
        loop {
            match reader.finish() {
                NextField::Field(field) => fields.push(field),
                NextField::Body(body) => return whole(fields, body, b"", [].chunks(1)),
                NextField::More => unreachable!("nothing comes after the end"),
            }
        }
    }

    fn whole(
        fields: Vec<Vec<u8>>,
        body: BodyStart,
        piece: &[u8],
        pieces: std::slice::Chunks<'_, u8>,
    ) -> (Vec<Vec<u8>>, bool, Vec<u8>) {
        let rest: Vec<_> = pieces.flatten().copied().collect();
        (fields, body.is_separated, [&body.beginning[..], piece, &rest].concat())
    }

    #[test]
    fn header_sections_are_cut() {
        for (content, fields, separated, body) in [
            (
                "A: b\r\nC : d\r\n e\r\n\r\nx\r\n",
                &["A: b\r\n", "C : d\r\n e\r\n"][..],
                true,
                "x\r\n",
            ),
            ("A: b\r\nno field\r\nx", &["A: b\r\n"], false, "no field\r\nx"),
            ("\r\nx", &[], true, "x"),
            (" x\r\ny", &[], false, " x\r\ny"),
            ("A: b", &["A: b\r\n"], false, ""),
            ("A: b\nc\r\n\r\n", &["A: b\nc\r\n"], true, ""),
            ("A: b\r\n\r\n", &["A: b\r\n"], true, ""),
            ("", &[], false, ""),
        ] {
            let found = cut(content.as_bytes(), 100);
            let expected: Vec<_> = fields.iter().map(|field| field.as_bytes().to_vec()).collect();
            assert_eq!(found, (expected, separated, body.as_bytes().to_vec()), "{content:?}");
        }
    }

    #[test]
    fn a_field_without_end_is_body() {
        let content = [b"A: b\r\nB: ", "x".repeat(2 * FIELD).as_bytes()].concat();
        let (fields, separated, body) = cut(&content, 1_000);
        assert_eq!((fields, separated), (vec![b"A: b\r\n".to_vec()], false));
        assert_eq!(body.len(), 2 * FIELD + 3);
    }

    #[test]
    fn new_fields_are_one_field() {
        for (value, field) in [
            ("v", "X-A: v\r\n"),
            (" v", "X-A: v\r\n"),
            ("a\nb", "X-A: a\r\n\tb\r\n"),
            ("a\r\n\tb\r\n", "X-A: a\r\n\tb\r\n"),
            ("a\r\n\r\nBcc: b", "X-A: a\r\n\tBcc: b\r\n"),
            ("a\rb\0", "X-A: a b\r\n"),
            ("știre", "X-A: =?utf-8?B?yJl0aXJl?=\r\n"),
            ("", "X-A: \r\n"),
        ] {
            let made = NewField::new(b"X-A", value.as_bytes()).unwrap();
            assert_eq!(String::from_utf8_lossy(made.as_bytes()), field, "{value:?}");
        }
        for name in [&b""[..], b"A B", b"A:", b"A\n", "ă".as_bytes(), &[b'x'; 77]] {
            assert_eq!(NewField::new(name, b"v"), Err(NewFieldError::Name));
        }
        assert_eq!(NewField::new(b"A", &[b'x'; VALUE + 1]), Err(NewFieldError::TooLong));
    }

    proptest! {
        #[test]
        fn whatever_a_filter_says_is_one_field(value in "(\r\n|\n|\r|x{1,1200}| |\t|:|ă|[^a]){0,40}") {
            prop_assume!(value.len() <= VALUE);
            let made = NewField::new(b"X-A", value.as_bytes()).unwrap();
            let content = [made.as_bytes(), b"\r\nbody"].concat();
            let (fields, separated, body) = cut(&content, 7);
            prop_assert_eq!(fields, vec![made.as_bytes().to_vec()]);
            prop_assert!(separated && body == b"body");
            prop_assert!(made.as_bytes().is_ascii());
            for line in made.as_bytes().split(|&octet| octet == b'\n') {
                prop_assert!(line.len() <= 999, "{}", line.len());
            }
        }

        #[test]
        fn splits_do_not_matter(content in "(A: b|a|:| |\r\n|\r|\n|[^a]){0,30}", size in 1usize..9) {
            prop_assert_eq!(cut(content.as_bytes(), size), cut(content.as_bytes(), 1_000));
        }
    }
}
