//! The sender and Message-ID of a collected message, read from its header section for the history: the envelope with
//! which it once arrived is lost.

use posta_mail::{ReversePath, ThreadId};
use posta_mime::header::header_section;

/// The most octets of a Message-ID that is recorded: real ones are shorter.
const MESSAGE_ID: usize = 250;

/// What a message says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// Its sender, as the server that took it noted it first in its header section (RFC 5321 §4.4).
    pub(super) from: ReversePath,
    /// Its Message-ID field.
    pub(super) message_id: Option<String>,
    /// The conversation that its header section names.
    pub(super) thread: Option<ThreadId>,
}

impl Said {
    /// Reads the beginning of a message.
    pub(super) fn read(beginning: &[u8]) -> Self {
        let header = header_section(beginning);
        let path = field(header, "Return-Path");
        let path = path.and_then(|path| path.trim_matches(['<', '>']).parse().ok());
        let is_told = |id: &String| {
            id.len() <= MESSAGE_ID && id.bytes().all(|octet| octet.is_ascii_graphic())
        };
        Self {
            from: path.map_or(ReversePath::Null, ReversePath::Address),
            message_id: field(header, "Message-ID").filter(is_told),
            thread: ThreadId::of_message(header),
        }
    }
}

/// The value of the first field of a name, unfolded; none if it is not text.
fn field(header: &[u8], name: &str) -> Option<String> {
    let mut lines = header.split(|&octet| octet == b'\n');
    let is_it = |line: &[u8]| {
        let (said, rest) = line.split_at_checked(name.len())?;
        (said.eq_ignore_ascii_case(name.as_bytes()) && rest.starts_with(b":"))
            .then(|| rest[1..].to_vec())
    };
    let mut value = lines.find_map(is_it)?;
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
        let said = |header: &str| {
            let Said { from, message_id, .. } = Said::read(header.as_bytes());
            (from.to_string(), message_id)
        };
        let text = "Return-Path: <s@y.test>\r\nmessage-id:\r\n <1@y.test>\r\n\r\nReturn-Path: <x@y.test>\r\n";
        assert_eq!(said(text), ("<s@y.test>".to_owned(), Some("<1@y.test>".to_owned())));
        for nothing in [
            "",
            "Subject: s\r\n\r\nReturn-Path: <x@y.test>\r\nMessage-ID: <1@y.test>\r\n",
            "Return-Path: <>\r\nMessage-ID: <1 @y.test>\r\n\r\n",
            "Return-Path: x\r\nMessage-ID: \r\n\r\n",
        ] {
            assert_eq!(said(nothing), ("<>".to_owned(), None), "{nothing:?}");
        }
    }
}
