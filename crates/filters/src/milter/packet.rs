//! Packets of the milter protocol: a length of four octets, a letter, and the data that belong to it.

use crate::{
    changes::{FieldEdit, Occurrence},
    fields::NewField,
    verdict::reply_words,
};
use posta_mail::{EnhancedStatus, Reply, ReplyCode};

/// The maximal number of octets in a packet of a filter. The input of a connection has 64 KiB, and a packet must fit
/// in whole: a longer one is refused by its length, before the input is full and nothing more can come. Only new
/// content, which is not negotiated, would need longer packets.
pub(super) const PACKET: usize = 60 * 1024;

/// The number of octets of content in a packet for the filter: every version of libmilter accepts as many.
pub(super) const CHUNK: usize = 65_535;

/// Appends a packet; `write` appends its data.
pub(super) fn put(output: &mut Vec<u8>, letter: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let start = output.len();
    output.extend_from_slice(&[0; 4]);
    output.push(letter);
    write(output);
    // What is written is bounded: fields by `FIELD`, content by `CHUNK`, the rest by the envelope.
    let length = u32::try_from(output.len() - start - 4).unwrap_or(u32::MAX);
    output[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a text and the NUL that ends it. A NUL within it would end it early, and is left out.
pub(super) fn put_text(output: &mut Vec<u8>, text: &[u8]) {
    output.extend(text.iter().filter(|octet| **octet != 0));
    output.push(0);
}

/// A filter's packet is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it sent a packet of {0} octets; more than {PACKET} are not read")]
pub struct PacketError(u32);

/// Takes the next packet off the front of the input, once it is complete. Returns its letter and its data.
pub(super) fn take<'i>(input: &mut &'i [u8]) -> Result<Option<(u8, &'i [u8])>, PacketError> {
    let Some((length, rest)) = input.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length);
    let octets = usize::try_from(length).unwrap_or(usize::MAX);
    if octets == 0 || octets > PACKET {
        return Err(PacketError(length));
    }
    if rest.len() < octets {
        return Ok(None);
    }
    let (packet, rest) = rest.split_at(octets);
    *input = rest;
    Ok(Some((packet[0], &packet[1..])))
}

/// An answer of a filter.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MilterResponse {
    Continue,
    Accept,
    Discard,
    /// The message or the recipient is refused, with this reply.
    Refuse(Reply),
    /// No more of the body is wanted.
    Skip,
    /// The filter is still working.
    Progress,
    Modification(Modification),
}

/// A change that a filter asks for at the end of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Modification {
    /// A field at the end of the header section.
    Add(NewField),
    /// A field at a place that is counted from the top.
    Insert(NewField),
    Edit(FieldEdit),
    Quarantine(String),
    /// A change that no filter may make, in words.
    Ignored(String),
}

/// Reads a filter's answer; `None` if the packet is not an answer.
pub(super) fn response(letter: u8, data: &[u8]) -> Option<MilterResponse> {
    let modification = |it| Some(MilterResponse::Modification(it));
    match letter {
        b'c' => Some(MilterResponse::Continue),
        b'a' => Some(MilterResponse::Accept),
        b'd' => Some(MilterResponse::Discard),
        b's' => Some(MilterResponse::Skip),
        b'p' => Some(MilterResponse::Progress),
        b'r' => Some(MilterResponse::Refuse(Reply::new(550, (5, 7, 1), "Refused by a filter"))),
        b't' => {
            let words = "A filter asks to try again later";
            Some(MilterResponse::Refuse(Reply::new(451, (4, 7, 1), words)))
        }
        // Connection failure, and shutdown: the client is to be sent away.
        b'f' | b'4' => {
            let words = "A filter asks to try again later";
            Some(MilterResponse::Refuse(Reply::new(421, (4, 7, 1), words)))
        }
        b'y' => reply(data).map(MilterResponse::Refuse),
        b'h' => {
            let [name, value] = texts(data)?;
            modification(field(name, value).map_or_else(|words| words, Modification::Add))
        }
        b'i' => {
            let [name, value] = texts(data.get(4..)?)?;
            modification(field(name, value).map_or_else(|words| words, Modification::Insert))
        }
        b'm' => modification(edit(data)?),
        b'q' => {
            let [reason] = texts(data)?;
            modification(Modification::Quarantine(String::from_utf8_lossy(reason).into_owned()))
        }
        b'b' => modification(ignored("to replace the body")),
        b'+' | b'2' => modification(ignored("to add a recipient")),
        b'-' => modification(ignored("to delete a recipient")),
        b'e' => modification(ignored("to change the sender")),
        _ => None,
    }
}

fn ignored(words: &str) -> Modification {
    Modification::Ignored(words.to_owned())
}

fn field(name: &[u8], value: &[u8]) -> Result<NewField, Modification> {
    NewField::new(name, value)
        .map_err(|error| Modification::Ignored(format!("to add a field: {error}")))
}

fn edit(data: &[u8]) -> Option<Modification> {
    let (number, rest) = data.split_first_chunk::<4>()?;
    let [name, value] = texts(rest)?;
    // An empty value deletes the field. The first has the number 1; some filters count from 0.
    let number = u32::from_be_bytes(*number).max(1);
    let new = match value {
        [] => Ok(None),
        value => field(name, value).map(Some),
    };
    Some(match new {
        Ok(new) => Modification::Edit(FieldEdit {
            name: String::from_utf8_lossy(name).into_owned(),
            which: Occurrence::Nth(number),
            new,
        }),
        Err(ignored) => ignored,
    })
}

/// Splits data into texts that NUL ends, of which there have to be as many as asked for.
fn texts<const N: usize>(data: &[u8]) -> Option<[&[u8]; N]> {
    let mut rest = data;
    let mut found = [&b""[..]; N];
    for text in &mut found {
        let end = memchr::memchr(0, rest)?;
        *text = &rest[..end];
        rest = &rest[end + 1..];
    }
    Some(found)
}

/// Reads a reply of the filter's own: `550 5.7.1 words`, of one line or several.
fn reply(data: &[u8]) -> Option<Reply> {
    let [text] = texts(data)?;
    let text = String::from_utf8_lossy(text);
    let code = text.get(..3)?.parse().ok().and_then(ReplyCode::new)?;
    if !code.is_transient() && !code.is_permanent() {
        return None;
    }
    let (mut status, mut words) = (None, Vec::new());
    for line in text.split(['\r', '\n']).filter(|line| !line.is_empty()) {
        let line = line.get(4..).unwrap_or_default();
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        match enhanced(first, code) {
            Some(found) => {
                status = Some(found);
                words.push(rest);
            }
            None => words.push(line),
        }
    }
    let words = match reply_words(&words.join(" ")) {
        empty if empty.is_empty() => "Refused by a filter".to_owned(),
        words => words,
    };
    let class = if code.is_permanent() { 5 } else { 4 };
    let status = status.unwrap_or(EnhancedStatus { class, subject: 7, detail: 1 });
    Some(Reply { code, status: Some(status), text: words.into() })
}

fn enhanced(text: &str, code: ReplyCode) -> Option<EnhancedStatus> {
    let mut parts = text.split('.');
    let mut part = || parts.next().filter(|part| part.len() <= 3)?.parse::<u16>().ok();
    let (class, subject, detail) = (part()?, part()?, part()?);
    let class = u8::try_from(class).ok().filter(|class| u16::from(*class) == code.get() / 100)?;
    parts.next().is_none().then_some(EnhancedStatus { class, subject, detail })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn packets_are_taken_whole() {
        let mut output = Vec::new();
        put(&mut output, b'O', |output| put_text(output, b"a\0b"));
        assert_eq!(output, b"\0\0\0\x04Oab\0");
        for end in 0..output.len() {
            assert_eq!(take(&mut &output[..end]), Ok(None));
        }
        let mut input = &output[..];
        assert_eq!(take(&mut input), Ok(Some((b'O', &b"ab\0"[..]))));
        assert!(input.is_empty());
        for wrong in [[0; 4], 0xf001_u32.to_be_bytes(), [0xff; 4]] {
            assert!(take(&mut &wrong[..]).is_err());
        }
    }

    #[test]
    fn replies_are_read() {
        for (data, expected) in [
            ("550 5.7.1 No\0", "550 5.7.1 No"),
            ("451 later\0", "451 4.7.1 later"),
            ("550 4.7.1 No\0", "550 5.7.1 4.7.1 No"),
            ("554-5.6.0 One\r\n554 5.6.0 Two\0", "554 5.6.0 One Two"),
            ("550\0", "550 5.7.1 Refused by a filter"),
            ("550 5.1.1 a\r\n250 ok\0", "550 5.1.1 a ok"),
        ] {
            let Some(MilterResponse::Refuse(reply)) = response(b'y', data.as_bytes()) else {
                panic!("{data:?}")
            };
            assert_eq!(reply.to_string(), expected);
        }
        for wrong in ["250 ok\0", "55\0", "550 5.7.1 no end", "x\0", "ăăă\0", "\0"] {
            assert_eq!(response(b'y', wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn modifications_are_read() {
        let modification = |letter, data: &[u8]| match response(letter, data) {
            Some(MilterResponse::Modification(modification)) => Some(modification),
            _ => None,
        };
        let made = NewField::new(b"X-A", b"v").unwrap();
        assert_eq!(modification(b'h', b"X-A\0v\0"), Some(Modification::Add(made.clone())));
        let inserted = modification(b'i', b"\0\0\0\x01X-A\0v\0");
        assert_eq!(inserted, Some(Modification::Insert(made.clone())));
        let edit =
            |which, new| Some(Modification::Edit(FieldEdit { name: "X-A".into(), which, new }));
        let nth = Occurrence::Nth;
        assert_eq!(modification(b'm', b"\0\0\0\x02X-A\0v\0"), edit(nth(2), Some(made)));
        assert_eq!(modification(b'm', b"\0\0\0\0X-A\0\0"), edit(nth(1), None));
        let quarantine = modification(b'q', b"virus\0");
        assert_eq!(quarantine, Some(Modification::Quarantine("virus".into())));
        for letter in [b'b', b'+', b'2', b'-', b'e'] {
            assert!(matches!(modification(letter, b"x\0"), Some(Modification::Ignored(_))));
        }
        assert!(matches!(modification(b'h', b"A B\0v\0"), Some(Modification::Ignored(_))));
        for (letter, wrong) in
            [(b'h', &b"X\0"[..]), (b'i', b"\0"), (b'm', b"\0\0\0\x01X"), (b'q', b"")]
        {
            assert_eq!(modification(letter, wrong), None);
        }
    }

    proptest! {
        #[test]
        fn nothing_breaks_the_parser(letter: u8, data in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = response(letter, &data);
        }
    }
}
