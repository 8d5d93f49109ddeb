//! Trace fields: what a server writes above a message (RFC 5321 §4.4).

use crate::{Address, ClientAddress, Domain, MailId, ReversePath, Timestamp};
use jiff::{fmt::rfc2822, tz::TimeZone};
use std::fmt::Write as _;

/// How a message came, as a Received field tells it.
#[derive(Debug, Clone)]
pub struct Received<'a> {
    /// What the client called itself.
    pub hello: &'a str,
    /// Where its connection came from.
    pub client: ClientAddress,
    /// The receiving server.
    pub by: &'a Domain,
    /// SMTP, ESMTP, ESMTPS, … (RFC 3848).
    pub with: &'a str,
    /// The message's id.
    pub id: MailId,
    /// The recipient, if there is only one: with several, naming them would tell each of the
    /// others, blind copies included (RFC 5321 §7.2).
    pub recipient: Option<&'a Address>,
    /// The TLS version and cipher suite, if there is TLS (RFC 8314 §4.3).
    pub tls: Option<(&'a str, &'a str)>,
    /// When.
    pub time: Timestamp,
}

impl Received<'_> {
    /// The field, folded, with its CRLF.
    #[must_use]
    pub fn field(&self) -> String {
        let mut field = String::with_capacity(256);
        // Writing to a string cannot fail.
        let _ = write!(field, "Received: from {} ({})", self.hello, self.client);
        let _ = write!(field, "\r\n\tby {} (Posta) with {} id {}", self.by, self.with, self.id);
        // RFC 6531 §3.7.3: it would be what makes the message need SMTPUTF8 where an alias leads on.
        if let Some(recipient) = self.recipient.filter(|recipient| recipient.is_ascii()) {
            let _ = write!(field, "\r\n\tfor <{recipient}>");
        }
        if let Some((version, cipher)) = self.tls {
            let _ = write!(field, "\r\n\ttls {cipher} ({version})");
        }
        let _ = write!(field, ";\r\n\t{}\r\n", date(self.time));
        field
    }
}

/// `Return-Path: …`, which final delivery writes (RFC 5321 §4.4), with its CRLF.
#[must_use]
pub fn return_path(path: &ReversePath) -> String {
    format!("Return-Path: {path}\r\n")
}

/// `Delivered-To: …` (RFC 9228), with its CRLF.
#[must_use]
pub fn delivered_to(recipient: &Address) -> String {
    format!("Delivered-To: {recipient}\r\n")
}

/// A date-time as RFC 5322 §3.3 writes it, in UTC.
///
/// ```
/// use posta_mail::{Timestamp, trace::date};
/// assert_eq!(date(Timestamp::UNIX_EPOCH), "Thu, 1 Jan 1970 00:00:00 +0000");
/// ```
#[must_use]
pub fn date(time: Timestamp) -> String {
    // Only years after 9999 have no such form; `Timestamp` ends there.
    rfc2822::to_string(&time.to_zoned_datetime(TimeZone::UTC)).unwrap_or_default()
}

/// Returns a time as the line `From address time` of an mbox has it (RFC 4155 appendix A): in UTC, the
/// day padded with a blank, and nothing behind the year. Mail programs take another form for text, and
/// see no message.
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
