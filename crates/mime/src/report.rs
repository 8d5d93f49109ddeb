//! The common form of all reports (RFC 6522): `multipart/report` with a part for a person, a part for a
//! program, and the subject of the report. mail-builder assembles the message; [`crate::dsn`],
//! [`crate::tls_report`] and [`crate::dmarc_report`] supply what is specific to each kind of report.

use crate::encode::Base64;
use mail_builder::{
    MessageBuilder,
    headers::{content_type::ContentType, raw::Raw},
    mime::{BodyPart, MimePart},
};
use posta_mail::{Address, Timestamp, trace::date};

/// The header section of a report.
pub(crate) struct ReportHeader<'a> {
    /// The display name of the sender.
    pub(crate) name: &'static str,
    /// The address to reply to.
    pub(crate) from: &'a str,
    pub(crate) to: &'a Address,
    pub(crate) subject: &'a str,
    pub(crate) time: Timestamp,
    /// The Message-ID, without the angle brackets.
    pub(crate) message_id: &'a str,
    /// The fields that identify the subject of the report.
    pub(crate) fields: Vec<(&'static str, &'a str)>,
    /// The report-type (RFC 6522 §3); none for `multipart/mixed`.
    pub(crate) kind: Option<&'static str>,
    /// The boundary between the parts. The caller supplies one because mail-builder's own would use the
    /// clock, the host's name and randomness.
    pub(crate) boundary: &'a str,
}

impl ReportHeader<'_> {
    /// Returns the message: this header section with `parts` below it. Values are folded but not
    /// encoded, even if they contain UTF-8 (RFC 6532), because an address inside an encoded word would
    /// not be an address.
    pub(crate) fn write(self, parts: Vec<MimePart<'_>>) -> Vec<u8> {
        let mut message = MessageBuilder::new()
            .header("From", Raw::new(format!("{} <{}>", self.name, self.from)))
            .header("To", Raw::new(format!("<{}>", self.to)))
            .header("Subject", Raw::new(self.subject))
            .header("Date", Raw::new(date(self.time)))
            .header("Message-ID", Raw::new(format!("<{}>", self.message_id)));
        for (name, value) in self.fields {
            message = message.header(name, Raw::new(value));
        }
        let kind = match self.kind {
            Some(kind) => ContentType::new("multipart/report").attribute("report-type", kind),
            None => ContentType::new("multipart/mixed"),
        };
        let kind = kind.attribute("boundary", self.boundary);
        let mut written = Vec::new();
        message.body(MimePart::new(kind, parts)).serialize(&mut written);
        written
    }
}

/// Returns a part whose octets are used as they are and labelled with this encoding. The line end before
/// a boundary belongs to the boundary (RFC 2046 §5.1.1).
pub(crate) fn part<'a>(
    kind: impl Into<ContentType<'a>>,
    encoding: &'static str,
    octets: &'a [u8],
) -> MimePart<'a> {
    MimePart::new(kind, BodyPart::from(octets)).transfer_encoding(encoding)
}

/// Returns octets in base64, in lines.
pub(crate) fn base64(octets: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(octets.len() / 57 * 78 + 128);
    let mut encoder = Base64::default();
    encoder.push(octets, &mut encoded);
    encoder.finish(&mut encoded);
    encoded
}

/// Returns the content type of the part for a person.
pub(crate) fn text() -> ContentType<'static> {
    ContentType::new("text/plain").attribute("charset", "utf-8")
}
