//! The content of BDAT chunks, whose size is told in advance (RFC 3030 §2).
//!
//! Dots have no meaning in such content, and nothing in it marks its end: only bare newlines are treated, as
//! [`DotDecoder`](posta_mail::dots::DotDecoder) treats them in the content of DATA. A CRLF may be split between two
//! chunks, so one decoder serves all chunks of a message.

use memchr::memchr2;
use posta_mail::dots::BareNewlines;

/// Takes the octets of the chunks, gives content.
#[derive(Debug, Clone)]
pub struct ChunkDecoder {
    bare_newlines: BareNewlines,
    saw_bare_newline: bool,
    held: Held,
}

/// What came just before the input and has not been passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    /// A CR: a LF makes it a line end.
    Cr,
    /// A bare newline, for which CRLF is passed on.
    Newline,
}

impl ChunkDecoder {
    /// Returns a decoder at the start of the content.
    pub(crate) const fn new(bare_newlines: BareNewlines) -> Self {
        Self { bare_newlines, saw_bare_newline: false, held: Held::Nothing }
    }

    /// Returns whether a CR or LF came alone.
    pub(crate) const fn saw_bare_newline(&self) -> bool {
        self.saw_bare_newline
    }

    /// Decodes octets from the front of `input`. Returns `None` when all of them are consumed.
    pub(crate) fn next<'i>(&mut self, input: &mut &'i [u8]) -> Option<&'i [u8]> {
        loop {
            match self.held {
                Held::Newline => {
                    self.held = Held::Nothing;
                    return Some(b"\r\n");
                }
                Held::Cr if *input.first()? == b'\n' => {
                    *input = &input[1..];
                    self.held = Held::Nothing;
                    return Some(b"\r\n");
                }
                Held::Cr => return self.finish(),
                Held::Nothing if input.is_empty() => return None,
                Held::Nothing => {
                    let content = self.run(input);
                    if !content.is_empty() {
                        return Some(content);
                    }
                }
            }
        }
    }

    /// Returns the content that stands for a CR that was held back, if there is one: no LF follows it.
    pub(crate) fn finish(&mut self) -> Option<&'static [u8]> {
        if self.held != Held::Cr {
            return None;
        }
        self.held = Held::Nothing;
        self.saw_bare_newline = true;
        Some(match self.bare_newlines {
            BareNewlines::Normalise => b"\r\n",
            BareNewlines::Note => b"\r",
        })
    }

    /// Returns the longest piece of content that can be passed on unchanged.
    fn run<'i>(&mut self, input: &mut &'i [u8]) -> &'i [u8] {
        let whole = *input;
        let mut from = 0;
        let (content, consumed) = loop {
            let Some(found) = memchr2(b'\r', b'\n', &whole[from..]) else {
                break (whole.len(), whole.len());
            };
            let at = from + found;
            match &whole[at..] {
                [b'\r', b'\n', ..] => from = at + 2,
                [b'\r'] => {
                    self.held = Held::Cr;
                    break (at, at + 1);
                }
                _ => {
                    self.saw_bare_newline = true;
                    if self.bare_newlines == BareNewlines::Normalise {
                        self.held = Held::Newline;
                        break (at, at + 1);
                    }
                    from = at + 1;
                }
            }
        };
        *input = &whole[consumed..];
        &whole[..content]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the content, and whether a newline was bare.
    fn decode(octets: &[u8], size: usize, bare_newlines: BareNewlines) -> (Vec<u8>, bool) {
        let mut decoder = ChunkDecoder::new(bare_newlines);
        let mut content = Vec::new();
        for mut piece in octets.chunks(size) {
            while let Some(decoded) = decoder.next(&mut piece) {
                content.extend_from_slice(decoded);
            }
        }
        content.extend(decoder.finish().into_iter().flatten());
        (content, decoder.saw_bare_newline())
    }

    #[test]
    fn bare_newlines_are_noted_or_become_crlf() {
        for (octets, normalised, is_bare) in [
            (&b"a\r\n.\r\nb\r\n"[..], &b"a\r\n.\r\nb\r\n"[..], false),
            (b"a\nb\rc\r\n", b"a\r\nb\r\nc\r\n", true),
            (b"\r\r\n\n", b"\r\n\r\n\r\n", true),
            (b"a\r", b"a\r\n", true),
            (b"", b"", false),
        ] {
            for size in [1, 2, 100] {
                let text = octets.escape_ascii();
                let found = decode(octets, size, BareNewlines::Normalise);
                assert_eq!(found, (normalised.to_vec(), is_bare), "{text} by {size}");
                let found = decode(octets, size, BareNewlines::Note);
                assert_eq!(found, (octets.to_vec(), is_bare), "{text} by {size}");
            }
        }
    }

    proptest! {
        #[test]
        fn splits_do_not_matter(octets in "[a.\r\n]{0,60}", size in 1usize..9, normalise: bool) {
            let bare = if normalise { BareNewlines::Normalise } else { BareNewlines::Note };
            let whole = decode(octets.as_bytes(), 100, bare);
            prop_assert_eq!(decode(octets.as_bytes(), size, bare), whole);
        }
    }
}
