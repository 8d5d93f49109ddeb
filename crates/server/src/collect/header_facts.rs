//! The sender and Message-ID of a collected message, for the history, and the time of its arrival. They are read
//! from the header section, because the envelope with which the message once arrived is lost.

use posta_mail::{ReversePath, ThreadId, Timestamp, trace::parse_date};
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
    /// The time at which the last server received the message: that of the first Received field (RFC 5321 §4.4),
    /// or, in a message that was never sent, that of the Date field.
    pub(super) received: Option<Timestamp>,
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
            received: match field(header, "Received") {
                Some(trace) => trace.rsplit_once(';').and_then(|(_, time)| parse_date(time)),
                None => field(header, "Date").and_then(|time| parse_date(&time)),
            },
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

    #[test]
    fn a_message_says_when_it_arrived() {
        let received = |header: &str| {
            let facts = HeaderFacts::read(header.as_bytes());
            facts.received.map(|time| time.to_string())
        };
        let trace = "Received: from a (a; [192.0.2.1])\r\n\tby b with ESMTP id 1;\r\n\t";
        for (date, time) in [
            ("Tue, 24 Nov 2020 10:00:00 +0200", Some("2020-11-24T08:00:00Z")),
            ("Mon, 24 Nov 2020 10:00:00 +0200 (EET)", Some("2020-11-24T08:00:00Z")),
            ("24 Nov 2020 08:00 GMT", Some("2020-11-24T08:00:00Z")),
            ("yesterday", None),
            ("", None),
        ] {
            let header = format!("{trace}{date}\r\nReceived: by c; {date}\r\nDate: x\r\n\r\n");
            assert_eq!(received(&header).as_deref(), time, "{date:?}");
            let header = format!("Subject: s\r\nDate: {date}\r\n\r\n");
            assert_eq!(received(&header).as_deref(), time, "{date:?}");
        }
        assert_eq!(received("Subject: Date: 24 Nov 2020 08:00 GMT\r\n\r\n"), None);
    }
}
