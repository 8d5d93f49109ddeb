//! The octets of arriving content that belong to its header section.

/// The end of a header section: the CRLF of its last line, and a blank line.
const END: &[u8] = b"\r\n\r\n";

/// Counts the octets of a header section that arrives in slices.
///
/// A body in the same slice does not count: a few hundred slow senders of short header sections would otherwise use up
/// the memory for those of all strangers. Only CRLF CRLF ends the section for certain: after a bare LF, the readers of
/// header sections go on, and what they keep has to be counted.
#[derive(Debug)]
pub(super) struct HeaderCount {
    /// The number of octets of [`END`] with which the content so far ends; all of them once the section is over.
    matched: usize,
}

impl Default for HeaderCount {
    /// The beginning of content is the beginning of a line: a CRLF there is a blank line.
    fn default() -> Self {
        Self { matched: b"\r\n".len() }
    }
}

impl HeaderCount {
    /// Returns how many octets of the next slice may belong to the header section. A caller that goes on to ask about a
    /// section that is over still keeps what arrives, so all of that counts.
    pub(super) fn count(&mut self, slice: &[u8]) -> usize {
        if self.matched == END.len() {
            return slice.len();
        }
        let mut at = 0;
        while let Some(&octet) = slice.get(at) {
            if END.get(self.matched) == Some(&octet) {
                self.matched += 1;
            } else if octet == b'\r' {
                self.matched = 1;
            } else {
                self.matched = 0;
                let rest = slice.get(at..).unwrap_or_default();
                at += memchr::memchr(b'\r', rest).unwrap_or(rest.len());
                continue;
            }
            at += 1;
            if self.matched == END.len() {
                break;
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the octets of slices until the section is over.
    fn counted(slices: &[&[u8]]) -> usize {
        let (mut count, mut octets) = (HeaderCount::default(), 0);
        for slice in slices {
            octets += count.count(slice);
            if count.matched == END.len() {
                break;
            }
        }
        octets
    }

    #[test]
    fn the_end_is_found_wherever_the_content_is_split() {
        for (header, body) in [
            ("From: a@x.test\r\nSubject: x\r\n\r\n", "Text\r\n\r\nText\r\n"),
            ("\r\n", "From: a@x.test\r\n\r\nText\r\n"),
            ("A: b\r\r\n\r\n", "\r\n"),
            ("A: b\r\n\rC\r\n\r\n", "x"),
            ("A: b\n\r\n\r\n", "x"),
            ("A: b\n\r\nB: y\n\nC: z\r\n", ""),
            ("", ""),
        ] {
            let message = [header.as_bytes(), body.as_bytes()].concat();
            for first in 0..=message.len() {
                let (start, rest) = message.split_at(first);
                for second in 0..=rest.len() {
                    let (middle, end) = rest.split_at(second);
                    let octets = counted(&[start, middle, end]);
                    assert_eq!(octets, header.len(), "{header:?} at {first} and {second} more");
                }
            }
            let single: Vec<&[u8]> = message.chunks(1).collect();
            assert_eq!(counted(&single), header.len(), "{header:?} octet by octet");
        }
    }

    #[test]
    fn what_is_kept_after_the_end_counts() {
        let mut count = HeaderCount::default();
        assert_eq!(count.count(b"A: b\r\n\r\nbody"), 8);
        assert_eq!(count.count(b"body"), 4);
    }
}
