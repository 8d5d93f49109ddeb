//! The header section of a message as signatures need it: the fields in their order, octet for octet.

use std::ops::Range;

/// The maximal number of octets of a header section that are examined. The fields of real messages
/// amount to 5 to 30 KiB; the signatures of a message with more than this cannot be verified.
pub const HEADER_SECTION: usize = 256 * 1024;

/// The maximal number of fields of a header section that are examined, which limits the cost of finding
/// those that a signature names.
pub const FIELDS: usize = 1_000;

/// A field of a header section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name, without the colon and any white space before it.
    pub name: &'a [u8],
    /// The value after the colon, including its folds, without the CRLF at its end.
    pub value: &'a [u8],
    /// The whole field, with the CRLF at its end.
    pub raw: &'a [u8],
}

impl Field<'_> {
    /// Returns whether the field has this name, in any case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Span {
    name: Range<usize>,
    /// The range of the value, which ends where the field ends.
    value: Range<usize>,
}

/// The fields of a message, octet for octet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderSection {
    octets: Vec<u8>,
    fields: Vec<Span>,
    is_too_large: bool,
    is_broken_off: bool,
}

impl HeaderSection {
    /// Returns the fields from the top down.
    pub fn fields(&self) -> impl DoubleEndedIterator<Item = Field<'_>> + ExactSizeIterator {
        self.fields.iter().map(|span| self.field(span))
    }

    /// Returns the field at a position, counted from the top.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<Field<'_>> {
        self.fields.get(position).map(|span| self.field(span))
    }

    fn field(&self, span: &Span) -> Field<'_> {
        Field {
            name: &self.octets[span.name.clone()],
            value: &self.octets[span.value.start..span.value.end - b"\r\n".len()],
            raw: &self.octets[span.name.start..span.value.end],
        }
    }

    /// Returns the fields with this name, in any case, from the top down.
    pub fn named(&self, name: &str) -> impl DoubleEndedIterator<Item = Field<'_>> {
        self.fields().filter(move |field| field.is(name))
    }

    /// Returns the octets of all fields, without the blank line after them.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Returns whether the header section exceeds [`HEADER_SECTION`] or [`FIELDS`], so that only its
    /// beginning is known.
    #[must_use]
    pub const fn is_too_large(&self) -> bool {
        self.is_too_large
    }

    /// Returns whether the header section ends at a line that is neither blank nor a field. Some programs
    /// go on reading fields after such a line.
    #[must_use]
    pub const fn is_broken_off(&self) -> bool {
        self.is_broken_off
    }

    /// Returns whether a field contains NUL, or a CR or LF that does not end a line. Some programs end
    /// the line there and display the rest as a separate field, which no signature covers.
    #[must_use]
    pub fn hides_lines(&self) -> bool {
        let mut rest = &self.octets[..];
        while let Some(at) = memchr::memchr3(b'\r', b'\n', 0, rest) {
            if !rest[at..].starts_with(b"\r\n") {
                return true;
            }
            rest = &rest[at + b"\r\n".len()..];
        }
        false
    }
}

/// Finds the header section of content that arrives in slices.
///
/// The section ends at the first line that is blank, or that is neither a field nor the continuation of
/// one. RFC 5322 §2.1 requires the blank line; programs that find none take the text for the body.
#[derive(Debug, Default)]
pub(crate) struct HeaderReader {
    section: HeaderSection,
    /// The beginning of the line that has no end yet.
    line: usize,
    /// The position up to which that line has been searched for its end.
    searched: usize,
}

impl HeaderReader {
    /// Takes the next slice of content. Once the header section is complete, returns it together with
    /// the slice's part of the body.
    pub(crate) fn push(&mut self, slice: &[u8]) -> Option<(HeaderSection, Vec<u8>)> {
        self.section.octets.extend_from_slice(slice);
        while let Some(end) = self.line_end() {
            let Some(body) = self.take_line(end) else { continue };
            // Only a blank line is skipped.
            self.section.is_broken_off = body == self.line;
            let rest = self.section.octets.split_off(body);
            self.section.octets.truncate(self.line);
            return Some((std::mem::take(&mut self.section), rest));
        }
        let is_full = self.line > HEADER_SECTION || self.section.octets.len() > 2 * HEADER_SECTION;
        (is_full || self.section.fields.len() > FIELDS).then(|| {
            self.section.is_too_large = true;
            self.section.octets.truncate(self.line);
            self.section.octets.shrink_to_fit();
            (std::mem::take(&mut self.section), Vec::new())
        })
    }

    fn line_end(&mut self) -> Option<usize> {
        if self.section.fields.len() > FIELDS || self.line > HEADER_SECTION {
            return None;
        }
        let octets = &self.section.octets;
        while let Some(at) = memchr::memchr(b'\n', &octets[self.searched..]) {
            let end = self.searched + at;
            self.searched = end + 1;
            if octets[self.line..end].ends_with(b"\r") {
                return Some(self.searched);
            }
        }
        self.searched = octets.len();
        None
    }

    /// Takes the line that ends at `end`. Returns the beginning of the body if the header section ends
    /// there.
    fn take_line(&mut self, end: usize) -> Option<usize> {
        let line = &self.section.octets[self.line..end];
        if line == b"\r\n" {
            return Some(end);
        }
        if let ([b' ' | b'\t', ..], Some(last)) = (line, self.section.fields.last_mut()) {
            last.value.end = end;
        } else if let Some((name, value)) = name_and_value(line) {
            self.section
                .fields
                .push(Span { name: self.line..self.line + name, value: self.line + value..end });
        } else {
            return Some(self.line);
        }
        self.line = end;
        None
    }

    /// Ends the content, which consists of a header section only or lacks the end of its last line.
    pub(crate) fn finish(mut self) -> (HeaderSection, Vec<u8>) {
        let end: &[u8] = if self.line == self.section.octets.len() { b"" } else { b"\r\n" };
        match self.push(end) {
            Some(found) => found,
            None => (self.section, Vec::new()),
        }
    }
}

/// Returns the end of a field's name and the beginning of its value; none if the line does not begin a
/// field (RFC 5322 §2.2, and §4.5.3 for white space before the colon).
fn name_and_value(line: &[u8]) -> Option<(usize, usize)> {
    let colon = memchr::memchr(b':', line)?;
    let name = line[..colon].trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    is_name.then_some((name.len(), colon + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8], size: usize) -> (HeaderSection, Vec<u8>) {
        let mut reader = HeaderReader::default();
        let mut pieces = content.chunks(size);
        while let Some(piece) = pieces.next() {
            if let Some((section, mut body)) = reader.push(piece) {
                pieces.for_each(|piece| body.extend_from_slice(piece));
                return (section, body);
            }
        }
        reader.finish()
    }

    #[test]
    fn fields_are_read_in_any_slices() {
        for (content, fields, body) in [
            ("A: b\r\n\r\nbody", &["A: b\r\n"][..], "body"),
            ("A: b\r\n c\r\nD :e\r\n\r\n", &["A: b\r\n c\r\n", "D :e\r\n"], ""),
            (
                "A:\r\n\tb\r\nno field\r\nC: d\r\n\r\n",
                &["A:\r\n\tb\r\n"],
                "no field\r\nC: d\r\n\r\n",
            ),
            (" folded: first\r\n\r\n", &[], " folded: first\r\n\r\n"),
            ("\r\nA: b\r\n", &[], "A: b\r\n"),
            ("A: b", &["A: b\r\n"], ""),
            ("A: b\r\n", &["A: b\r\n"], ""),
            ("A: b\nC: d\r\n\r\n", &["A: b\nC: d\r\n"], ""),
            ("A: b\r", &["A: b\r\r\n"], ""),
            ("", &[], ""),
        ] {
            for size in 1..=content.len().max(1) {
                let (section, rest) = read(content.as_bytes(), size);
                let found: Vec<_> =
                    section.fields().map(|field| str::from_utf8(field.raw).unwrap()).collect();
                assert_eq!(found, fields, "{content:?} in {size}");
                assert_eq!(rest, body.as_bytes(), "{content:?} in {size}");
            }
        }
    }

    #[test]
    fn names_and_values_are_told_apart() {
        let (section, _) = read(b"Subject \t: a:b\r\n c\r\n\r\n", 100);
        let field = section.get(0).unwrap();
        assert_eq!((field.name, field.value), (&b"Subject"[..], &b" a:b\r\n c"[..]));
        assert!(field.is("SUBJECT"));
    }

    #[test]
    fn a_section_is_broken_off_by_a_line_that_is_no_field() {
        for (content, is_broken_off) in [
            ("A: b\r\n\r\nbody", false),
            ("A: b\r\n", false),
            ("A: b", false),
            ("\r\nbody", false),
            ("", false),
            ("A: b\r\nbody\r\n", true),
            ("A: b\r\nbody", true),
            (" A: b\r\n\r\n", true),
        ] {
            for size in 1..=content.len().max(1) {
                let section = read(content.as_bytes(), size).0;
                assert_eq!(section.is_broken_off(), is_broken_off, "{content:?} in {size}");
            }
        }
    }

    #[test]
    fn what_is_hidden_in_a_line_is_noticed() {
        for (content, hidden) in [
            (&b"A: b\r\n\r\n"[..], false),
            (b"A: b\nFrom: c\r\n\r\n", true),
            (b"A: b\rFrom: c\r\n\r\n", true),
            (b"A: b\0\r\n\r\n", true),
        ] {
            assert_eq!(read(content, 100).0.hides_lines(), hidden);
        }
    }

    #[test]
    fn what_is_too_large_is_cut_off() {
        let fields = |count: usize| ["A:\r\n".repeat(count), "\r\nbody".into()].concat();
        assert!(!read(fields(FIELDS).as_bytes(), 7).0.is_too_large());
        assert!(read(fields(FIELDS + 1).as_bytes(), 7).0.is_too_large());
        let octets = |count: usize| ["A: ", &"x".repeat(count), "\r\n\r\nbody"].concat();
        assert!(!read(octets(HEADER_SECTION - 5).as_bytes(), 4096).0.is_too_large());
        let (section, body) = read(octets(3 * HEADER_SECTION).as_bytes(), 4096);
        assert!(section.is_too_large());
        assert!(section.octets().len() + body.len() <= 3 * HEADER_SECTION, "the rest is dropped");
    }
}
