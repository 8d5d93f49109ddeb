//! A report as a message (RFC 6522): `multipart/report` with a part for a person, one for a program, and
//! what it is about. mail-builder puts it together; what differs between reports is in [`crate::dsn`]
//! and [`crate::tls_report`].

use mail_builder::{
    MessageBuilder,
    headers::{content_type::ContentType, raw::Raw},
    mime::{BodyPart, MimePart},
};
use posta_mail::{Address, Timestamp, trace::date};

/// The header section of a report.
pub(crate) struct ReportHeader<'a> {
    /// The sender's name, which is no address.
    pub(crate) name: &'static str,
    /// The address to answer to.
    pub(crate) from: &'a str,
    pub(crate) to: &'a Address,
    pub(crate) subject: &'a str,
    pub(crate) time: Timestamp,
    /// The Message-ID, without the angle brackets.
    pub(crate) message_id: &'a str,
    /// What the report is about, by name.
    pub(crate) fields: Vec<(&'static str, &'a str)>,
    /// The report-type (RFC 6522 §3).
    pub(crate) kind: &'static str,
    /// What stands between the parts. mail-builder would make one of the clock, the host's name and chance.
    pub(crate) boundary: &'a str,
}

impl ReportHeader<'_> {
    /// Returns the message: this header section with `parts` below it. Values are folded and otherwise
    /// stay as they are, UTF-8 included (RFC 6532): an address in an encoded word would be none.
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
        let kind = ContentType::new("multipart/report")
            .attribute("report-type", self.kind)
            .attribute("boundary", self.boundary);
        let mut written = Vec::new();
        message.body(MimePart::new(kind, parts)).serialize(&mut written);
        written
    }
}

/// Returns a part whose octets stand as they are, and are said to be encoded so. The line end before the
/// boundary is the boundary's (RFC 2046 §5.1.1).
pub(crate) fn part<'a>(
    kind: impl Into<ContentType<'a>>,
    encoding: &'static str,
    octets: &'a [u8],
) -> MimePart<'a> {
    MimePart::new(kind, BodyPart::from(octets)).transfer_encoding(encoding)
}

/// Returns the header of a part of text for a person.
pub(crate) fn text() -> ContentType<'static> {
    ContentType::new("text/plain").attribute("charset", "utf-8")
}
