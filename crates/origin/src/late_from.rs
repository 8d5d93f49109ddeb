//! A From field after the end of the header section.
//!
//! The header section ends at a line that is no field ([`crate::header`]). Some programs skip such a line
//! and read fields up to the first blank line: they would show an author whom nobody checked. The
//! [`Observer`](crate::observer::Observer) therefore has the lines between the two searched.

/// Searches the lines up to the first blank one for a From field.
#[derive(Debug, Clone, Default)]
pub(crate) struct LateFrom {
    at: At,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    /// At the beginning of a line.
    #[default]
    Begin,
    /// After so many letters of the name.
    Name(usize),
    /// After the name, before the colon.
    Colon,
    /// In a line that is not the field.
    Line,
    /// After a CR at the end of a line that is not blank. Some programs end the line there.
    Cr,
    /// After a CR at the beginning of a line.
    BlankCr,
    /// The blank line has come.
    Done,
    Found,
}

impl LateFrom {
    /// Takes the next slice of the content.
    pub(crate) fn push(&mut self, slice: &[u8]) {
        for octet in slice {
            if matches!(self.at, At::Done | At::Found) {
                return;
            }
            self.at = self.at.after(*octet);
        }
    }

    /// Returns whether there was a From field.
    pub(crate) fn is_found(&self) -> bool {
        self.at == At::Found
    }
}

impl At {
    fn after(self, octet: u8) -> Self {
        const NAME: &[u8] = b"from";
        match (self, octet) {
            (Self::BlankCr, b'\n') => Self::Done,
            (Self::Begin, b'\r') => Self::BlankCr,
            (_, b'\r') => Self::Cr,
            (_, b'\n' | 0) => Self::Begin,
            (Self::Begin | Self::Cr | Self::BlankCr, b'f' | b'F') => Self::Name(1),
            (Self::Name(count), _) if NAME[count] == octet.to_ascii_lowercase() => {
                if count + 1 == NAME.len() { Self::Colon } else { Self::Name(count + 1) }
            }
            (Self::Colon, b':') => Self::Found,
            // White space before the colon is obsolete (RFC 5322 §4.5); programs skip more than that.
            (Self::Colon, 1..=b' ' | 127) => Self::Colon,
            _ => Self::Line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_from_field_is_found_before_the_blank_line() {
        for (content, expected) in [
            ("no field\r\nFrom: a\r\n", true),
            ("no field\r\nA: b\r\nfROM \t: a\r\n\r\n", true),
            ("no field\nFrom: a", true),
            ("no field\rFrom: a", true),
            ("no field\0From: a", true),
            ("From\u{1}: a", true),
            ("no field\n\nFrom: a", true),
            ("no field\r\n\r\nFrom: a\r\n", false),
            ("no field\r\n From: a\r\n", false),
            ("From a\r\nFromage: a\r\nFro: a\r\nX-From: a\r\nFrom\r\n: a", false),
            ("", false),
        ] {
            for size in 1..=content.len().max(1) {
                let mut late = LateFrom::default();
                content.as_bytes().chunks(size).for_each(|slice| late.push(slice));
                assert_eq!(late.is_found(), expected, "{content:?} in {size}");
            }
        }
    }
}
