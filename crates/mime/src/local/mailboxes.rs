//! The places of the addresses in a list of mailboxes (RFC 5322 §3.4).

use std::ops::Range;

/// Returns the places of the addresses, or users' names, in a list: what stands in angle brackets, or is the only word of
/// its element. A semicolon separates as a comma does. Returns none if an element is anything else.
#[must_use]
pub fn mailboxes(list: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut reader = ListReader::default();
    let mut at = 0;
    while let Some(&octet) = list.get(at) {
        let end = match octet {
            b' ' | b'\t' | b'\r' | b'\n' => {
                reader.end_word();
                at + 1
            }
            b'(' => {
                reader.end_word();
                after_comment(list, at)?
            }
            b'<' => {
                reader.end_word();
                let end = after_quotable(list, at + 1, b'>')?;
                reader.brackets(list, at + 1..end - 1)?;
                end
            }
            b',' | b';' => {
                reader.end_element()?;
                at + 1
            }
            // The name of a group.
            b':' => {
                reader.end_word();
                if reader.words.is_empty() || reader.bracketed.is_some() {
                    return None;
                }
                reader.words.clear();
                at + 1
            }
            b'>' | b')' => return None,
            b'"' => reader.piece(at..after_quotable(list, at + 1, b'"')?),
            b'[' => reader.piece(at..after_quotable(list, at + 1, b']')?),
            _ => reader.piece(at..at + 1),
        };
        at = end;
    }
    reader.end_element()?;
    Some(reader.found)
}

/// The state of reading a list.
#[derive(Default)]
struct ListReader {
    found: Vec<Range<usize>>,
    /// The word that is being read.
    word: Option<Range<usize>>,
    /// The first words of the element, outside brackets: one more than an address may have.
    words: Vec<Range<usize>>,
    bracketed: Option<Range<usize>>,
}

impl ListReader {
    /// Adds a piece to the word that is being read. Returns the end of the piece.
    fn piece(&mut self, piece: Range<usize>) -> usize {
        let end = piece.end;
        match &mut self.word {
            Some(word) => word.end = end,
            None => self.word = Some(piece),
        }
        end
    }

    fn end_word(&mut self) {
        let word = self.word.take();
        if self.words.len() < 2 {
            self.words.extend(word);
        }
    }

    /// Takes what stands in angle brackets.
    fn brackets(&mut self, list: &[u8], within: Range<usize>) -> Option<()> {
        let text = &list[within.clone()];
        let start = within.start + (text.len() - text.trim_ascii_start().len());
        let end = within.end - (text.len() - text.trim_ascii_end().len());
        // RFC 5322 §4.4: a route before the address is ignored.
        let route = list[start..end.max(start)].first() == Some(&b'@');
        let skipped = if route { memchr::memchr(b':', &list[start..end])? + 1 } else { 0 };
        let place = start + skipped..end;
        if place.is_empty() || self.bracketed.is_some() {
            return None;
        }
        self.bracketed = Some(place);
        Some(())
    }

    fn end_element(&mut self) -> Option<()> {
        self.end_word();
        let words = std::mem::take(&mut self.words);
        let place = match (self.bracketed.take(), &words[..]) {
            (Some(place), _) => Some(place),
            (None, []) => None,
            (None, [only]) => Some(only.clone()),
            (None, _) => return None,
        };
        self.found.extend(place);
        Some(())
    }
}

/// Returns the place after the comment that begins here. Comments may be nested.
fn after_comment(list: &[u8], from: usize) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, from);
    while let Some(octet) = list.get(at) {
        match octet {
            b'\\' => at += 1,
            b'(' => depth += 1,
            b')' if depth == 1 => return Some(at + 1),
            b')' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Returns the place after the octet `end`, which does not count within quotation marks or after a backslash.
fn after_quotable(list: &[u8], from: usize, end: u8) -> Option<usize> {
    let (mut at, mut is_quoted) = (from, false);
    while let Some(&octet) = list.get(at) {
        match octet {
            b'\\' => at += 1,
            _ if octet == end && !is_quoted => return Some(at + 1),
            b'"' => is_quoted = !is_quoted,
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(list: &str) -> Option<Vec<&str>> {
        mailboxes(list.as_bytes()).map(|places| places.into_iter().map(|it| &list[it]).collect())
    }

    #[test]
    fn lists() {
        for (list, found) in [
            ("", Some(&[][..])),
            (" ana@x.test ", Some(&["ana@x.test"])),
            ("ana", Some(&["ana"])),
            ("root (Cron (the) \\) Daemon)", Some(&["root"])),
            ("Ana Pop <ana@x.test>, bob@y.test;eva", Some(&["ana@x.test", "bob@y.test", "eva"])),
            ("\"Pop, Ana\" < ana@x.test >", Some(&["ana@x.test"])),
            ("\"a b\"@x.test", Some(&["\"a b\"@x.test"])),
            ("<\"a>b\"@x.test>", Some(&["\"a>b\"@x.test"])),
            ("<@a.test,@b.test:ana@x.test>", Some(&["ana@x.test"])),
            ("ana@[192.0.2.1]", Some(&["ana@[192.0.2.1]"])),
            (
                "friends: ana@x.test, Bob <bob@x.test>;, eva",
                Some(&["ana@x.test", "bob@x.test", "eva"]),
            ),
            ("undisclosed-recipients:;", Some(&[])),
            (",,ana,", Some(&["ana"])),
            ("ana bob", None),
            ("ana@x.test bob@x.test", None),
            ("<ana", None),
            ("<>", None),
            ("<a@x.test> <b@x.test>", None),
            ("ana>", None),
            ("(open", None),
            ("\"open", None),
            (":", None),
            ("<@a.test>", None),
        ] {
            assert_eq!(texts(list).as_deref(), found, "{list}");
        }
    }

    proptest! {
        #[test]
        fn anything_can_be_read(list in proptest::collection::vec(
            prop_oneof![Just(b'<'), Just(b'>'), Just(b'"'), Just(b'\\'), Just(b'('), Just(b')'), Just(b'@'),
                Just(b':'), Just(b','), Just(b' '), any::<u8>()], 0..40)) {
            let places = mailboxes(&list).unwrap_or_default();
            let mut last = 0;
            for place in places {
                prop_assert!(last <= place.start && place.start < place.end && place.end <= list.len());
                last = place.end;
            }
        }
    }
}
