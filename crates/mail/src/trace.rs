//! Trace fields: the header fields that a server adds above a message (RFC 5321 §4.4).
//!
//! The server adds Received to every message that it accepts, and Return-Path and Delivered-To at final
//! delivery.

use crate::{Address, ClientAddress, Domain, MailId, ReversePath, Timestamp};
use jiff::{fmt::rfc2822, tz::TimeZone};
use std::fmt::Write as _;

/// The data of a Received field: the way in which a message arrived.
#[derive(Debug, Clone)]
pub struct Received<'a> {
    /// The client's name, as given in HELO, EHLO or LHLO.
    pub hello: &'a str,
    /// The client's network location.
    pub client: ClientAddress,
    /// The name of the receiving server.
    pub by: &'a Domain,
    /// The protocol: SMTP, ESMTP, ESMTPS, … (RFC 3848).
    pub with: &'a str,
    /// The message's id.
    pub id: MailId,
    /// The recipient, if there is exactly one. Naming several would reveal them to each other, blind
    /// copies included (RFC 5321 §7.2).
    pub recipient: Option<&'a Address>,
    /// The TLS version and cipher suite, if there is TLS (RFC 8314 §4.3).
    pub tls: Option<(&'a str, &'a str)>,
    /// The time of acceptance.
    pub time: Timestamp,
}

impl Received<'_> {
    /// Returns the field, folded, with its CRLF.
    #[must_use]
    pub fn field(&self) -> String {
        let mut field = String::with_capacity(256);
        // Writing to a string cannot fail.
        let _ = write!(field, "Received: from {} ({})", self.hello, self.client);
        let _ = write!(field, "\r\n\tby {} (Posta) with {} id {}", self.by, self.with, self.id);
        push_recipient(&mut field, self.recipient);
        if let Some((version, cipher)) = self.tls {
            let _ = write!(field, "\r\n\ttls {cipher} ({version})");
        }
        let _ = write!(field, ";\r\n\t{}\r\n", date(self.time));
        field
    }
}

/// The data of the Received field of a message that a program of this machine handed over by `sendmail`. No protocol
/// brought it, so no client is named, but the user is whose program it was: nobody else may have chosen its sender.
#[derive(Debug, Clone)]
pub struct HandedOver<'a> {
    /// The number of the user.
    pub uid: u32,
    /// The name of the receiving server.
    pub by: &'a Domain,
    /// The message's id.
    pub id: MailId,
    /// The recipient, if there is exactly one.
    pub recipient: Option<&'a Address>,
    /// The time of acceptance.
    pub time: Timestamp,
}

impl HandedOver<'_> {
    /// Returns the field, folded, with its CRLF.
    #[must_use]
    pub fn field(&self) -> String {
        let Self { uid, by, id, .. } = self;
        let mut field = format!("Received: by {by} (Posta, from user {uid}) id {id}");
        push_recipient(&mut field, self.recipient);
        // Writing to a string cannot fail.
        let _ = write!(field, ";\r\n\t{}\r\n", date(self.time));
        field
    }
}

/// Appends the clause that names the recipient, if there is one.
fn push_recipient(field: &mut String, recipient: Option<&Address>) {
    // RFC 6531 §3.7.3: a recipient in UTF-8 would make the whole message require SMTPUTF8, which matters if an alias
    // forwards it elsewhere.
    if let Some(recipient) = recipient.filter(|recipient| recipient.is_ascii()) {
        // Writing to a string cannot fail.
        let _ = write!(field, "\r\n\tfor <{recipient}>");
    }
}

/// Returns the field `Return-Path: …`, which final delivery adds (RFC 5321 §4.4), with its CRLF.
#[must_use]
pub fn return_path(path: &ReversePath) -> String {
    format!("Return-Path: {path}\r\n")
}

/// Returns the field `Delivered-To: …` (RFC 9228), with its CRLF.
#[must_use]
pub fn delivered_to(recipient: &Address) -> String {
    format!("Delivered-To: {recipient}\r\n")
}

/// Returns a time as a date-time of RFC 5322 §3.3, in UTC.
///
/// ```
/// use posta_mail::{Timestamp, trace::date};
/// assert_eq!(date(Timestamp::UNIX_EPOCH), "Thu, 1 Jan 1970 00:00:00 +0000");
/// ```
#[must_use]
pub fn date(time: Timestamp) -> String {
    // Only years after 9999 have no such form, and `Timestamp` ends before them.
    rfc2822::to_string(&time.to_zoned_datetime(TimeZone::UTC)).unwrap_or_default()
}

/// Returns the time of a date-time (RFC 5322 §3.3), even if it is folded or its day of the week is wrong. Returns
/// `None` for any other text.
///
/// ```
/// use posta_mail::{Timestamp, trace::parse_date};
/// assert_eq!(parse_date("Thu, 1 Jan 1970 02:00 +0200 (EET)"), Some(Timestamp::UNIX_EPOCH));
/// ```
#[must_use]
pub fn parse_date(text: &str) -> Option<Timestamp> {
    const PARSER: rfc2822::DateTimeParser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    PARSER.parse_timestamp(&text).ok()
}

/// Returns a time in the form of an mbox's `From address time` line (RFC 4155 appendix A): in UTC, with
/// the day padded by a space, and nothing after the year. Mail programs do not recognise any other form,
/// and would treat the line as part of the message before.
///
/// ```
/// use posta_mail::{Timestamp, trace::mbox_date};
///
/// assert_eq!(mbox_date(Timestamp::UNIX_EPOCH), "Thu Jan  1 00:00:00 1970");
/// ```
#[must_use]
pub fn mbox_date(time: Timestamp) -> String {
    time.strftime("%a %b %e %H:%M:%S %Y").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn a_received_field_names_its_single_recipient() {
        let recipient: Address = "destinatar@webmail.home".parse().unwrap();
        let by = "webmail.home".parse().unwrap();
        let mut received = Received {
            hello: "pc_client",
            client: IpAddr::from([192, 0, 2, 1]).into(),
            by: &by,
            with: "SMTP",
            id: MailId::from_bytes([0; 12]),
            recipient: Some(&recipient),
            tls: None,
            time: Timestamp::UNIX_EPOCH,
        };
        assert_eq!(
            received.field(),
            "Received: from pc_client ([192.0.2.1])\r\n\
             \tby webmail.home (Posta) with SMTP id 00000000000000000000\r\n\
             \tfor <destinatar@webmail.home>;\r\n\
             \tThu, 1 Jan 1970 00:00:00 +0000\r\n"
        );
        let handed = HandedOver {
            uid: 1_000,
            by: &by,
            id: received.id,
            recipient: received.recipient,
            time: received.time,
        };
        assert_eq!(
            handed.field(),
            "Received: by webmail.home (Posta, from user 1000) id 00000000000000000000\r\n\
             \tfor <destinatar@webmail.home>;\r\n\
             \tThu, 1 Jan 1970 00:00:00 +0000\r\n"
        );
        let beyond_ascii: Address = "destinatară@webmail.home".parse().unwrap();
        received.recipient = Some(&beyond_ascii);
        assert!(received.field().is_ascii());
        received.recipient = None;
        received.client = "2001:db8::1".parse::<IpAddr>().unwrap().into();
        let field = received.field();
        received.tls = Some(("TLSv1.3", "TLS_AES_256_GCM_SHA384"));
        assert!(received.field().contains("\r\n\ttls TLS_AES_256_GCM_SHA384 (TLSv1.3);\r\n"));
        assert!(field.contains("([IPv6:2001:db8::1])") && !field.contains("for <"), "{field}");
    }
}
