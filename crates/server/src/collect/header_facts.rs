//! The sender and Message-ID of a collected message, for the history. They are read from the header
//! section, because the envelope with which the message once arrived is lost.

use posta_mail::{ReversePath, ThreadId};
use posta_mime::header::header_section;

/// The maximal number of octets in a recorded Message-ID. Real ones are shorter.
const MESSAGE_ID: usize = 250;

/// The facts about a message that its header section contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeaderFacts {
    /// The sender, as recorded at the top of the header section by the server that received the message
    /// (RFC 5321 §4.4).
    pub(super) from: ReversePath,
    /// The value of the Message-ID field.
    pub(super) message_id: Option<String>,
    /// The conversation that the message belongs to.
    pub(super) thread: Option<ThreadId>,
}

impl HeaderFacts {
    /// Reads the facts from the beginning of a message.
    pub(super) fn read(beginning: &[u8]) -> Self {
        let header = header_section(beginning);
        let path = field(header, "Return-Path");
        let path = path.and_then(|path| path.trim_matches(['<', '>']).parse().ok());
        let is_acceptable = |id: &String| {
            id.len() <= MESSAGE_ID && id.bytes().all(|octet| octet.is_ascii_graphic())
        };
        Self {
            from: path.map_or(ReversePath::Null, ReversePath::Address),
            message_id: field(header, "Message-ID").filter(is_acceptable),
            thread: ThreadId::of_message(header),
        }
    }
}

/// Returns the value of the first field with this name, unfolded; none if there is no such field, or its
/// value is not text.
fn field(header: &[u8], name: &str) -> Option<String> {
    let mut lines = header.split(|&octet| octet == b'\n');
    let value_in = |line: &[u8]| {
        let (found, rest) = line.split_at_checked(name.len())?;
        (found.eq_ignore_ascii_case(name.as_bytes()) && rest.starts_with(b":"))
            .then(|| rest[1..].to_vec())
    };
    let mut value = lines.find_map(value_in)?;
    let folded = lines.take_while(|line| line.starts_with(b" ") || line.starts_with(b"\t"));
    folded.for_each(|line| value.extend_from_slice(line));
    let text = String::from_utf8(value).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_who_sent_it() {
        let read = |header: &str| {
            let HeaderFacts { from, message_id, .. } = HeaderFacts::read(header.as_bytes());
            (from.to_string(), message_id)
        };
        let text = "Return-Path: <s@y.test>\r\nmessage-id:\r\n <1@y.test>\r\n\r\nReturn-Path: <x@y.test>\r\n";
        assert_eq!(read(text), ("<s@y.test>".to_owned(), Some("<1@y.test>".to_owned())));
        for nothing in [
            "",
            "Subject: s\r\n\r\nReturn-Path: <x@y.test>\r\nMessage-ID: <1@y.test>\r\n",
            "Return-Path: <>\r\nMessage-ID: <1 @y.test>\r\n\r\n",
            "Return-Path: x\r\nMessage-ID: \r\n\r\n",
        ] {
            assert_eq!(read(nothing), ("<>".to_owned(), None), "{nothing:?}");
        }
    }
}
