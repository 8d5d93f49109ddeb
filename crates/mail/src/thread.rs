//! Conversations: the grouping of messages by the references in their header sections.
//!
//! A message belongs to the conversation of the first message that it refers to: the first id in its
//! References field, otherwise in In-Reply-To (RFC 5322 §3.6.4), otherwise its own Message-ID. All
//! messages of a conversation thus get the same [`ThreadId`] without any look-up, no matter on which
//! machine they arrive. A message that refers to no other begins a conversation.

use crate::{MailId, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use xxhash_rust::xxh3::xxh3_64;

/// The name of a conversation: THREADID in RFC 8474 §5.2, threadId in RFC 8621 §3. A hash of the first
/// message id of the conversation, which never changes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(example = "0123456789abcdef")]
pub struct ThreadId(pub u64);

/// The number of octets of a field's body that are examined: the first id is at the beginning.
const LOOKED_AT: usize = 2 * limits::FIELD_NAME;

impl ThreadId {
    /// Returns the conversation of a message that refers to no other and has no Message-ID.
    #[must_use]
    pub fn alone(id: MailId) -> Self {
        Self(xxh3_64(&id.to_bytes()))
    }

    /// Returns the conversation of a message that refers to no other, given its Message-ID, `<…>`.
    #[must_use]
    pub fn of_message_id(message_id: &str) -> Option<Self> {
        first_id(message_id.as_bytes()).map(|id| Self(xxh3_64(&id)))
    }

    /// Returns the conversation of a message, given its first octets including the header section.
    /// Returns none if the header section contains no message id.
    #[must_use]
    pub fn of_message(beginning: &[u8]) -> Option<Self> {
        let mut names = Names::default();
        let mut takes = false;
        for line in beginning.split_inclusive(|&octet| octet == b'\n') {
            let is_folded = line.starts_with(b" ") || line.starts_with(b"\t");
            if line.trim_ascii().is_empty() && !is_folded {
                break;
            }
            if !is_folded {
                let colon = memchr::memchr(b':', line);
                let (name, body) = colon.map_or((line, &b""[..]), |at| line.split_at(at));
                takes = names.begin(name.trim_ascii_end());
                if takes {
                    names.push(body);
                }
            } else if takes {
                names.push(line);
            }
        }
        names.thread()
    }
}

/// Collects the message ids of a header section, field by field.
#[derive(Debug, Default)]
pub struct Names {
    references: Vec<u8>,
    in_reply_to: Vec<u8>,
    message_id: Vec<u8>,
    /// The field whose body is being read.
    current: Option<Field>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    References,
    InReplyTo,
    MessageId,
}

impl Names {
    /// Begins a field. Returns whether its body is needed. If there are several fields of the same name,
    /// the first one counts.
    pub fn begin(&mut self, name: &[u8]) -> bool {
        let of = [
            (&b"References"[..], Field::References),
            (b"In-Reply-To", Field::InReplyTo),
            (b"Message-ID", Field::MessageId),
        ];
        let field = of.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        let field = field.map(|(_, field)| field);
        self.current = field.filter(|&field| self.body(field).is_empty());
        self.current.is_some()
    }

    /// Takes a piece of the current field's body, and ignores it if that field is not needed.
    pub fn push(&mut self, piece: &[u8]) {
        let Some(field) = self.current else { return };
        let body = self.body(field);
        let room = LOOKED_AT.saturating_sub(body.len());
        body.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn body(&mut self, field: Field) -> &mut Vec<u8> {
        match field {
            Field::References => &mut self.references,
            Field::InReplyTo => &mut self.in_reply_to,
            Field::MessageId => &mut self.message_id,
        }
    }

    /// Returns the body of the Message-ID field, as far as it has been read.
    #[must_use]
    pub fn message_id(&self) -> &[u8] {
        &self.message_id
    }

    /// Returns the conversation that the fields determine; none if they contain no message id.
    #[must_use]
    pub fn thread(&self) -> Option<ThreadId> {
        let bodies = [&self.references, &self.in_reply_to, &self.message_id];
        bodies.into_iter().find_map(|body| first_id(body)).map(|id| ThreadId(xxh3_64(&id)))
    }
}

/// Returns the first `<…>` in a field's body, with white space from folding removed.
fn first_id(body: &[u8]) -> Option<Vec<u8>> {
    let start = memchr::memchr(b'<', body)?;
    let length = memchr::memchr(b'>', &body[start..])?;
    let id = &body[start + 1..start + length];
    let id: Vec<u8> = id.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
    (!id.is_empty()).then_some(id)
}

impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:016x}", self.0))
    }
}

impl fmt::Debug for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a valid [`ThreadId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a conversation is named by 16 characters of 0-9 and a-f")]
pub struct ThreadIdError;

impl FromStr for ThreadId {
    type Err = ThreadIdError;

    fn from_str(text: &str) -> Result<Self, ThreadIdError> {
        let is_hex = text.len() == 16 && text.bytes().all(|octet| octet.is_ascii_hexdigit());
        is_hex.then_some(()).ok_or(ThreadIdError)?;
        u64::from_str_radix(text, 16).map(Self).map_err(|_| ThreadIdError)
    }
}

impl TryFrom<String> for ThreadId {
    type Error = ThreadIdError;

    fn try_from(text: String) -> Result<Self, ThreadIdError> {
        text.parse()
    }
}

impl From<ThreadId> for String {
    fn from(id: ThreadId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: &str) -> Option<ThreadId> {
        ThreadId::of_message(header.as_bytes())
    }

    #[test]
    fn a_conversation_has_one_id() {
        let first = of("Message-ID: <1@x.test>\r\nSubject: s\r\n\r\n<2@x.test>\r\n").unwrap();
        for answer in [
            "message-id: <2@x.test>\r\nIn-Reply-To: Your <1@x.test> of today\r\n\r\n",
            "References: <1@x.test> <2@x.test>\r\nMessage-ID: <3@x.test>\r\n\r\n",
            "In-Reply-To: <2@x.test>\nreferences :\n\t<1@x.\n test>\n <2@x.test>\n\nx",
            "Message-ID: <1@x.test>",
        ] {
            assert_eq!(of(answer), Some(first), "{answer:?}");
        }
        for other in [
            "Message-ID: <2@x.test>\r\n\r\n",
            "Message-ID: <2@x.test>\r\n\r\nReferences: <1@x.test>\r\n",
            "X-References: <1@x.test>\r\nReferences: none\r\nMessage-ID: <2@x.test>\r\n\r\n",
        ] {
            assert_eq!(of(other), of("Message-ID: <2@x.test>"), "{other:?}");
        }
        for nothing in ["", "\r\nMessage-ID: <1@x.test>\r\n", "References: <>\r\nMessage-ID: 1"] {
            assert_eq!(of(nothing), None, "{nothing:?}");
        }
    }

    /// The hash is stored, so no update of a library may change it.
    #[test]
    fn ids_stay_as_they_are() {
        let id = of("Message-ID: <1@x.test>").unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id, ThreadId(xxh3_64(b"1@x.test")));
        assert_eq!(ThreadId::alone(MailId::from_bytes([0; 12])).to_string(), "c4998f9169c2a4f0");
        for wrong in ["", "1", "+4998f9169c2a4f0", "c4998f9169c2a4f0a"] {
            assert_eq!(wrong.parse::<ThreadId>(), Err(ThreadIdError));
        }
    }
}
