//! Conversion of a message into 7-bit form, which needs no more than ASCII in lines (RFC 6152 §3, RFC
//! 2045 §6), for a server that accepts nothing else. Recipients decode exactly the octets that were
//! sent. A message that cannot be converted safely is refused, never damaged.
//!
//! The relay converts in two passes, because the header section of a part comes before its content: a
//! [`Survey`] reads the message and decides how to encode each part, then a [`Converter`] reads it again
//! and encodes. Both take the message piece by piece, whatever its size.

mod headers;
mod utf8;
mod walk;

pub use headers::HeaderSections;

use crate::encode::{Base64, QuotedPrintable};
use utf8::Utf8;
use walk::{Event, Walker};

/// The number of parts that are examined; a message with more is not converted.
const PARTS: usize = 10_000;

/// The maximal number of octets in a line (RFC 5322 §2.1.1), not counting CRLF.
const LINE: usize = 998;

/// The reason why a message cannot be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unconvertible {
    /// A header section contains octets outside ASCII, which only SMTPUTF8 can carry, or is not in
    /// lines.
    #[error("its header section is not ASCII in lines")]
    Header,
    /// The message contains a signed part, and converting would break the signature.
    #[error("a signature would be broken")]
    Signed,
    /// A part is labelled as encoded, and is not.
    #[error("a part is not what it says it is")]
    Encoding,
    /// There are too many parts, parts nested too deeply, or a header section without an end.
    #[error("its structure is too large")]
    Structure,
}

/// The encoding to apply to a part's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartEncoding {
    Unchanged,
    QuotedPrintable,
    Base64,
}

/// The decision about a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PartPlan {
    encoding: PartEncoding,
    /// Whether the content is valid UTF-8, so that it can be labelled as such if it has no label.
    is_utf8: bool,
}

/// The decisions about all parts of a message, in order.
#[derive(Debug, Clone)]
pub struct Plan(Vec<PartPlan>);

/// The first pass: finds out how to encode each part.
#[derive(Debug, Default)]
pub struct Survey {
    walker: Walker,
    seen: AllSeen,
}

#[derive(Debug, Default)]
struct AllSeen {
    parts: Vec<PartFacts>,
    around: Lines,
    failed: Option<Unconvertible>,
}

/// The properties of a part.
#[derive(Debug, Default)]
struct PartFacts {
    is_text: bool,
    is_encoded: bool,
    in_signed: bool,
    lines: Lines,
    utf8: Utf8,
}

/// The properties of a text with regard to lines.
#[derive(Debug, Default)]
struct Lines {
    is_eight_bit: bool,
    /// Whether there is a NUL, or a CR or LF on its own.
    is_binary: bool,
    is_long: bool,
    column: usize,
    after_cr: bool,
}

impl Lines {
    fn of(text: &[u8]) -> Self {
        let mut lines = Self::default();
        lines.push(text);
        lines
    }

    fn push(&mut self, text: &[u8]) {
        self.is_eight_bit |= !text.is_ascii();
        for &octet in text {
            let is_pair = octet == b'\n' && self.after_cr;
            self.is_binary |= octet == 0 || (octet == b'\n') != is_pair || self.after_cr != is_pair;
            self.after_cr = octet == b'\r';
            self.column = if octet == b'\n' { 0 } else { self.column + 1 };
            self.is_long |= self.column > LINE + 1;
        }
    }

    /// Returns whether the text can be sent unchanged. A lone LF would begin a new line for some
    /// servers, and let an attacker end the content there. Long lines are acceptable, since all servers
    /// know them.
    fn is_plain(&self) -> bool {
        !self.is_eight_bit && !self.is_binary && !self.after_cr
    }
}

impl PartFacts {
    fn encoding(&self) -> PartEncoding {
        let binary = self.lines.is_binary || self.lines.is_long || self.lines.after_cr;
        match (self.lines.is_eight_bit || binary, self.is_text && !binary) {
            (false, _) => PartEncoding::Unchanged,
            (true, true) => PartEncoding::QuotedPrintable,
            (true, false) => PartEncoding::Base64,
        }
    }

    fn planned(&self) -> PartPlan {
        PartPlan { encoding: self.encoding(), is_utf8: self.utf8.is_valid() }
    }
}

impl Survey {
    /// Takes the next piece of the message.
    pub fn push(&mut self, octets: &[u8]) {
        let Self { walker, seen } = self;
        walker.push(octets, &mut |event| seen.see(event));
    }

    /// Ends the message. Returns the decision about each part.
    ///
    /// # Errors
    /// When the message cannot be converted.
    pub fn finish(self) -> Result<Plan, Unconvertible> {
        let Self { walker, mut seen } = self;
        let whole = walker.finish(&mut |event| seen.see(event));
        // The text before the first part and after the last one has no meaning, but is sent all the
        // same.
        if !whole || !seen.around.is_plain() {
            seen.failed.get_or_insert(Unconvertible::Structure);
        }
        let AllSeen { parts, mut failed, .. } = seen;
        for part in parts.iter().filter(|part| part.encoding() != PartEncoding::Unchanged) {
            if part.in_signed {
                failed.get_or_insert(Unconvertible::Signed);
            }
            if part.is_encoded {
                failed.get_or_insert(Unconvertible::Encoding);
            }
        }
        match failed {
            Some(failed) => Err(failed),
            None => Ok(Plan(parts.iter().map(PartFacts::planned).collect())),
        }
    }
}

impl AllSeen {
    fn see(&mut self, event: Event<'_>) {
        match event {
            Event::Header(header) => {
                if !Lines::of(header.text).is_plain() {
                    self.failed.get_or_insert(Unconvertible::Header);
                }
                if self.parts.len() >= PARTS {
                    self.failed.get_or_insert(Unconvertible::Structure);
                    return;
                }
                self.parts.push(PartFacts {
                    is_text: header.is_text,
                    is_encoded: header.is_encoded,
                    in_signed: header.in_signed,
                    lines: Lines::default(),
                    utf8: Utf8::default(),
                });
            }
            Event::Content(content) => {
                if let Some(part) = self.parts.last_mut() {
                    part.lines.push(content);
                    part.utf8.push(content);
                }
            }
            Event::Around(text) => self.around.push(text),
            Event::End => {}
        }
    }
}

/// The second pass: encodes each part as planned.
#[derive(Debug)]
pub struct Converter {
    walker: Walker,
    output: Output,
}

#[derive(Debug)]
struct Output {
    plan: Plan,
    /// The index of the current part.
    part: usize,
    encoder: Encoder,
}

#[derive(Debug)]
enum Encoder {
    None,
    QuotedPrintable(QuotedPrintable),
    Base64(Base64),
}

impl Converter {
    /// Returns a converter for the message of which `plan` was made.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let output = Output { plan, part: 0, encoder: Encoder::None };
        Self { walker: Walker::default(), output }
    }

    /// Takes the next piece, and appends its converted form.
    pub fn push(&mut self, octets: &[u8], converted: &mut Vec<u8>) {
        let Self { walker, output } = self;
        walker.push(octets, &mut |event| output.write(event, converted));
    }

    /// Ends the message.
    pub fn finish(self, converted: &mut Vec<u8>) {
        let Self { walker, mut output } = self;
        walker.finish(&mut |event| output.write(event, converted));
    }
}

impl Output {
    fn write(&mut self, event: Event<'_>, converted: &mut Vec<u8>) {
        match event {
            Event::Header(header) => {
                let unplanned = PartPlan { encoding: PartEncoding::Unchanged, is_utf8: false };
                let planned = self.plan.0.get(self.part).copied().unwrap_or(unplanned);
                let PartPlan { encoding, is_utf8 } = planned;
                self.part += 1;
                let label = match encoding {
                    PartEncoding::QuotedPrintable => Some("quoted-printable"),
                    PartEncoding::Base64 => Some("base64"),
                    // The parts inside are 7-bit now, so the label of the whole must change too.
                    PartEncoding::Unchanged if header.is_wide => Some("7bit"),
                    PartEncoding::Unchanged => None,
                };
                header.write(label, is_utf8, converted);
                self.encoder = match encoding {
                    PartEncoding::Unchanged => Encoder::None,
                    PartEncoding::QuotedPrintable => Encoder::QuotedPrintable(Default::default()),
                    PartEncoding::Base64 => Encoder::Base64(Default::default()),
                };
            }
            Event::Content(content) => match &mut self.encoder {
                Encoder::None => converted.extend_from_slice(content),
                Encoder::QuotedPrintable(encoder) => encoder.push(content, converted),
                Encoder::Base64(encoder) => encoder.push(content, converted),
            },
            Event::End => match std::mem::replace(&mut self.encoder, Encoder::None) {
                Encoder::None => {}
                Encoder::QuotedPrintable(encoder) => encoder.finish(converted),
                Encoder::Base64(encoder) => encoder.finish(converted),
            },
            Event::Around(text) => converted.extend_from_slice(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn convert(message: &[u8], size: usize) -> Result<Vec<u8>, Unconvertible> {
        let mut survey = Survey::default();
        message.chunks(size).for_each(|piece| survey.push(piece));
        let mut converter = Converter::new(survey.finish()?);
        let mut converted = Vec::new();
        message.chunks(size).for_each(|piece| converter.push(piece, &mut converted));
        converter.finish(&mut converted);
        Ok(converted)
    }

    fn text(message: &[u8]) -> String {
        let one = convert(message, message.len()).unwrap();
        for size in [1, 2, 7] {
            assert_eq!(convert(message, size).as_ref(), Ok(&one), "in pieces of {size}");
        }
        String::from_utf8(one).unwrap()
    }

    #[test]
    fn a_text_becomes_quoted_printable() {
        let converted = text(
            "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding:\r\n 8bit\r\nX: y\r\n\r\nb\u{103} = c \r\n\r\nend"
                .as_bytes(),
        );
        assert_eq!(
            converted,
            "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: quoted-printable\r\nX: y\r\n\r\nb=C4=83 =3D c=20\r\n\r\nend"
        );
    }

    #[test]
    fn each_part_is_treated_by_itself() {
        let converted = text(
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=\"b 1\"\r\n\
             Content-Transfer-Encoding: 8bit\r\n\r\npreamble\r\n--b 1\r\n\r\nplain\r\n--b 1 \r\n\
             Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n\u{103}\n\r\n\
             --b 1\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
             Content-Type: text/html\r\n\r\n<\u{103}>\r\n--b 1\r\nContent-Type: text/plain\r\n\
             Content-Transfer-Encoding: base64\r\n\r\neA==\r\n--b 1--\r\nepilogue\r\n"
                .as_bytes(),
        );
        assert_eq!(
            converted,
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=\"b 1\"\r\n\
             Content-Transfer-Encoding: 7bit\r\n\r\npreamble\r\n--b 1\r\n\r\nplain\r\n--b 1 \r\n\
             Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nxIMK\r\n\
             --b 1\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\n\
             Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
             <=C4=83>\r\n--b 1\r\nContent-Type: text/plain\r\n\
             Content-Transfer-Encoding: base64\r\n\r\neA==\r\n--b 1--\r\nepilogue\r\n"
        );
    }

    #[test]
    fn what_says_nothing_of_itself_is_told_of() {
        let labelled = |charset, text| {
            format!(
                "MIME-Version: 1.0\r\nContent-Type: text/plain; charset={charset}\r\n\
                 Content-Transfer-Encoding: quoted-printable\r\n\r\n{text}\r\n"
            )
        };
        let bodies =
            [("\u{103}".as_bytes(), "utf-8", "=C4=83"), (b"gr\xfcn", "unknown-8bit", "gr=FCn")];
        for (body, charset, expected) in bodies {
            let header = b"Subject: x\r\n\r\n".as_slice();
            let converted = text(&[header, body, b"\r\n"].concat());
            assert_eq!(converted, format!("Subject: x\r\n{}", labelled(charset, expected)));
            // One message has a MIME-Version field only; the other lacks that field.
            let converted = text(&[b"MIME-Version: 1.0\r\n\r\n", body, b"\r\n"].concat());
            assert_eq!(converted, labelled(charset, expected));
            let header = b"Content-Transfer-Encoding: 8bit\r\n\r\n".as_slice();
            let converted = text(&[header, body, b"\r\n"].concat());
            assert!(converted.starts_with("Content-Transfer-Encoding: quoted-printable\r\n"));
            assert!(converted.contains("MIME-Version: 1.0\r\n") && converted.contains(charset));
        }
        // Only a header section, and not even a complete one.
        let short =
            "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n";
        assert_eq!(text(short.as_bytes()), short.replace("8bit", "7bit") + "MIME-Version: 1.0\r\n");
        // A part without any label.
        let part = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
                    --b\r\n\r\n\u{103}\r\n--b--\r\n";
        assert!(text(part.as_bytes()).contains(
            "--b\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\n=C4=83\r\n--b--"
        ));
        let plain = "Subject: x\r\n\r\nonly ASCII\r\n.\r\n";
        assert_eq!(text(plain.as_bytes()), plain);
    }

    #[test]
    fn what_would_be_damaged_is_refused() {
        let signed = "MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=s\r\n\r\n\
                      --s\r\nContent-Type: text/plain\r\n\r\n\u{103}\r\n--s\r\n\
                      Content-Type: application/pgp-signature\r\n\r\nx\r\n--s--\r\n";
        let encoded =
            "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n\u{103}";
        for (message, why) in [
            (signed, Unconvertible::Signed),
            (encoded, Unconvertible::Encoding),
            ("Subject: \u{103}\r\n\r\nx", Unconvertible::Header),
            // The fault is in a place where the octets could end the content for some server.
            ("Subject: x\n.\nX: y\r\n\r\n\u{103}", Unconvertible::Header),
            (
                "Content-Type: multipart/mixed; boundary=a\r\n\r\nx\n.\n\r\n--a--\r\n",
                Unconvertible::Structure,
            ),
        ] {
            assert_eq!(convert(message.as_bytes(), 5), Err(why));
        }
        assert!(convert(signed.replace('\u{103}', "a").as_bytes(), 5).is_ok());
    }

    /// Decodes a message of one part, as a recipient does.
    fn decoded(message: &[u8]) -> Vec<u8> {
        let end = memchr::memmem::find(message, b"\r\n\r\n").unwrap();
        let (header, body) = (String::from_utf8_lossy(&message[..end]), &message[end + 4..]);
        if header.contains("base64") {
            let lines: Vec<u8> = body.iter().copied().filter(|c| !b"\r\n".contains(c)).collect();
            return base64::Engine::decode(&base64::engine::general_purpose::STANDARD, lines)
                .unwrap();
        }
        if !header.contains("quoted-printable") {
            return body.to_vec();
        }
        let mut pieces = body.split(|&octet| octet == b'=');
        let mut text = pieces.next().unwrap_or_default().to_vec();
        for piece in pieces {
            let (code, rest) = piece.split_at(2);
            if code != b"\r\n" {
                text.push(u8::from_str_radix(str::from_utf8(code).unwrap(), 16).unwrap());
            }
            text.extend_from_slice(rest);
        }
        text
    }

    proptest! {
        #[test]
        fn what_is_decoded_is_what_was_sent(
            words in prop::collection::vec(0usize..12, 0..80), is_text: bool, size in 1usize..50,
        ) {
            let long = "a".repeat(200);
            let known =
                ["\r\n", "\r\n", " ", "\t", "=", "\u{103}", "\u{219}i", ".", "b c", &long, "\n", "\0"];
            let body: String = words.into_iter().map(|word| known[word]).collect();
            let kind = if is_text { "text/plain" } else { "a/b" };
            let message = format!("Content-Type: {kind}\r\n\r\n{body}");
            let converted = convert(message.as_bytes(), size).unwrap();
            prop_assert_eq!(decoded(&converted), body.as_bytes(), "{}", text(message.as_bytes()));
        }

        #[test]
        fn nothing_outside_ascii_is_left(body: Vec<u8>, kind in 0usize..3, size in 1usize..50) {
            let header = ["", "Content-Type: a/b\r\n", "Content-Type: multipart/x; boundary=a\r\n"];
            let message = [header[kind].as_bytes(), b"\r\n", &body].concat();
            if let Ok(converted) = convert(&message, size) {
                prop_assert!(converted.is_ascii());
                for line in converted.split(|&octet| octet == b'\n') {
                    prop_assert!(line.len() <= 1_000);
                }
            }
        }
    }
}
