//! Delivery status notifications (RFC 3464): the reports that say what happened to a message, once in
//! words for a person and once in fields for programs.
//!
//! The server decides who gets a report about which recipients; this module writes it.

use crate::{
    header::header_section,
    report::{self, ReportHeader},
};
use mail_builder::mime::MimePart;
use posta_mail::{
    Address, Domain, EnhancedStatus, MailId, Timestamp, envelope::from_xtext, trace::date,
    visible::or_space,
};
use std::fmt::Write as _;

/// The maximal number of octets of quoted text on one line. Together with the text before it, a line
/// stays below the 998 octets of RFC 5322 §2.1.1.
const LINE: usize = 900;

/// The fate of a recipient (RFC 3464 §2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The message is in the mailbox.
    Delivered,
    /// The message was sent on to several addresses, as by a list.
    Expanded,
    /// A server accepted the message that sends no reports of success.
    Relayed,
    /// The message has not arrived yet; delivery attempts continue.
    Delayed,
    /// The message will not arrive.
    Failed,
}

impl Action {
    /// Returns the action's name in the report's `Action` field.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Expanded => "expanded",
            Self::Relayed => "relayed",
            Self::Delayed => "delayed",
            Self::Failed => "failed",
        }
    }
}

/// The part of a report that concerns one recipient.
#[derive(Debug, Clone)]
pub struct Recipient<'a> {
    /// The address of the recipient.
    pub address: &'a Address,
    /// The recipient as the sender first specified it: `type;xtext`.
    pub original: Option<&'a str>,
    /// The recipient's fate.
    pub action: Action,
    /// The reason for the fate, as a code.
    pub status: EnhancedStatus,
    /// The text that explains the fate, and its origin: the other server or this one.
    pub reason: Option<Reason<'a>>,
    /// The name of the other server, if one was contacted.
    pub host: Option<&'a str>,
    /// Whether delivery failed because the time for attempts ran out.
    pub is_given_up: bool,
}

/// The explanation of a recipient's fate, and its origin. A finding of this server is never presented as
/// the other server's answer: nobody could find it in that server's log.
#[derive(Debug, Clone, Copy)]
pub enum Reason<'a> {
    /// The other server's reply: codes and text.
    Answered(&'a str),
    /// A finding or decision of this server, in words.
    Found(&'a str),
}

/// The part of the message that a report includes (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy)]
pub enum Returned<'a> {
    /// The whole message.
    Whole(&'a [u8]),
    /// The header section. Nothing is attached if it is empty.
    Header(&'a [u8]),
}

impl<'a> Returned<'a> {
    const fn octets(self) -> &'a [u8] {
        match self {
            Self::Whole(octets) | Self::Header(octets) => octets,
        }
    }
}

/// The data of a report.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    /// The name of the server that writes the report.
    pub hostname: &'a Domain,
    /// The report's own id as a message.
    pub id: MailId,
    /// The time of writing.
    pub time: Timestamp,
    /// The postmaster's address, to which people can reply.
    pub from: &'a str,
    /// The recipient of the report: the message's reverse-path.
    pub to: &'a Address,
    /// The name that the sender gave to the envelope (ENVID), in xtext.
    pub envelope_id: Option<&'a str>,
    /// The value of the message's Message-ID field.
    pub message_id: Option<&'a str>,
    /// The time at which the message arrived at this server.
    pub arrived: Timestamp,
    /// The time until which delivery attempts continue, if they do.
    pub until: Option<Timestamp>,
    /// The recipients that the report is about, at least one.
    pub recipients: Vec<Recipient<'a>>,
    /// The part of the message to attach.
    pub returned: Returned<'a>,
}

impl Report<'_> {
    /// Returns the report as a message: header section and body, with lines that end in CRLF.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let (words, status) = (self.words(), self.status());
        let header = [self.from, self.to.as_str(), self.message_id.unwrap_or_default()];
        let eight_bit = !header.into_iter().chain([&*words, &*status]).all(str::is_ascii);
        let encoding = if eight_bit { "8bit" } else { "7bit" };
        // RFC 6533 §3 defines a separate type for content that is not ASCII.
        let status_kind = match eight_bit {
            true => "message/global-delivery-status",
            false => "message/delivery-status",
        };
        let mut parts = vec![
            report::part(report::text(), encoding, words.as_bytes()),
            report::part(status_kind, encoding, status.as_bytes()),
        ];
        parts.extend(self.attachment());
        // RFC 3834 §5: Auto-Submitted keeps programs from answering.
        let mut fields = vec![("Auto-Submitted", "auto-replied")];
        if let Some(message_id) = self.message_id {
            fields.splice(..0, [("In-Reply-To", message_id), ("References", message_id)]);
        }
        ReportHeader {
            name: "Mail Delivery System",
            // RFC 3464 §2: the From address belongs to a person who runs this server, so that people can
            // reply.
            from: self.from,
            to: self.to,
            subject: self.subject(),
            time: self.time,
            message_id: &format!("{}@{}", self.id, self.hostname),
            fields,
            kind: Some("delivery-status"),
            boundary: &format!("report-{}", self.id),
        }
        .write(parts)
    }

    /// Returns the part that holds the message or its header section; none if there is nothing to
    /// attach.
    fn attachment(&self) -> Option<MimePart<'_>> {
        let message = self.returned.octets();
        if message.is_empty() {
            return None;
        }
        // RFC 6533 §4 defines separate types for content that is not ASCII.
        let (kind, encoding) = match (self.returned, message.is_ascii()) {
            (Returned::Whole(_), true) => ("message/rfc822", "7bit"),
            (Returned::Whole(_), false) if !header_section(message).is_ascii() => {
                ("message/global", "8bit")
            }
            (Returned::Whole(_), false) => ("message/rfc822", "8bit"),
            (Returned::Header(_), true) => ("text/rfc822-headers", "7bit"),
            (Returned::Header(_), false) => ("message/global-headers", "8bit"),
        };
        Some(report::part(kind, encoding, message.strip_suffix(b"\r\n").unwrap_or(message)))
    }

    /// Returns the gravest of the recipients' fates, which decides the subject.
    fn action(&self) -> Action {
        let has = |action| self.recipients.iter().any(|recipient| recipient.action == action);
        [Action::Failed, Action::Delayed].into_iter().find(|&action| has(action)).unwrap_or_else(
            || self.recipients.first().map_or(Action::Delivered, |first| first.action),
        )
    }

    fn subject(&self) -> &'static str {
        match self.action() {
            Action::Failed => "Your message was not delivered",
            Action::Delayed => "Your message is delayed",
            Action::Delivered => "Your message was delivered",
            Action::Expanded => "Your message was distributed",
            Action::Relayed => "Your message was passed on",
        }
    }

    /// Returns the text for a person: what happened, to which recipient, why, and what to do.
    fn words(&self) -> String {
        let mut text = String::new();
        for recipient in &self.recipients {
            let Recipient { address, action, .. } = recipient;
            let _ = match action {
                Action::Failed => {
                    write!(text, "Your message to <{address}> could not be delivered.\r\n")
                }
                Action::Delayed => {
                    write!(text, "Your message to <{address}> has not been delivered yet.\r\n")
                }
                Action::Delivered => {
                    write!(text, "Your message to <{address}> is in the mailbox.\r\n")
                }
                Action::Expanded => {
                    write!(
                        text,
                        "Your message to <{address}> was sent on to all of its members.\r\n"
                    )
                }
                Action::Relayed => write!(
                    text,
                    "Your message to <{address}> was accepted by another server, which sends no \
                     reports of delivery.\r\n"
                ),
            };
            self.write_reason(recipient, &mut text);
            text.push_str("\r\n");
        }
        let whom = match self.recipients.iter().any(|recipient| recipient.host.is_some()) {
            true => "the administrator of the server named above, and include this report",
            false => "the postmaster of this server, by replying to this report",
        };
        let _ = match (self.action(), self.until) {
            (Action::Failed, _) => write!(
                text,
                "No further attempts will be made. If the address is right, contact the recipient in \
                 another way,\r\nor {whom}.\r\n"
            ),
            (Action::Delayed, Some(until)) => write!(
                text,
                "You do not need to do anything: further attempts will be made until {}.\r\n",
                date(until)
            ),
            _ => write!(text, "You do not need to do anything.\r\n"),
        };
        text.push_str(match self.returned {
            Returned::Whole(b"") | Returned::Header(b"") => "",
            Returned::Whole(_) => "Your message is attached.\r\n",
            Returned::Header(_) => {
                "The header section of your message is attached, without the rest of it.\r\n"
            }
        });
        text
    }

    fn write_reason(&self, recipient: &Recipient<'_>, text: &mut String) {
        if recipient.is_given_up {
            let since = date(self.arrived);
            let _ =
                write!(text, "Delivery has been attempted since {since}, and is now given up.\r\n");
        }
        let last = if recipient.is_given_up { " last" } else { "" };
        let words = match (recipient.reason, recipient.host) {
            (Some(Reason::Answered(reply)), Some(host)) => {
                let _ = write!(text, "\r\nThe server {host}{last} answered:\r\n");
                reply
            }
            (Some(Reason::Answered(reply)), None) => {
                let _ = write!(text, "\r\nThe other server{last} answered:\r\n");
                reply
            }
            (Some(Reason::Found(words)), _) => {
                let _ = write!(text, "\r\nThe{last} reason:\r\n");
                words
            }
            (None, _) => return,
        };
        quote(words, text);
    }

    /// Returns the fields for programs (RFC 3464 §2).
    fn status(&self) -> String {
        let mut text = String::new();
        if let Some(id) = self.envelope_id.and_then(from_xtext) {
            let _ = write!(text, "Original-Envelope-Id: {id}\r\n");
        }
        let _ = write!(
            text,
            "Reporting-MTA: dns; {}\r\nArrival-Date: {}\r\n",
            self.hostname,
            date(self.arrived)
        );
        for recipient in &self.recipients {
            text.push_str("\r\n");
            if let Some((kind, address)) = recipient.original.and_then(|text| text.split_once(';'))
                && let Some(address) = from_xtext(address)
            {
                let _ = write!(text, "Original-Recipient: {kind};{address}\r\n");
            }
            let kind = if recipient.address.is_ascii() { "rfc822" } else { "utf-8" };
            let _ = write!(
                text,
                "Final-Recipient: {kind};{}\r\nAction: {}\r\nStatus: {}\r\n",
                recipient.address,
                recipient.action.name(),
                recipient.status
            );
            if let Some(host) = recipient.host {
                let _ = write!(text, "Remote-MTA: dns; {host}\r\n");
            }
            // RFC 3464 §2.3.6: the type says whose code it is.
            let (kind, words) = match recipient.reason {
                Some(Reason::Answered(reply)) => ("smtp", reply),
                Some(Reason::Found(words)) => ("x-posta", words),
                None => ("", ""),
            };
            if !kind.is_empty() {
                let lines: Vec<_> = lines(words).collect();
                let _ = write!(text, "Diagnostic-Code: {kind}; {}\r\n", lines.join("\r\n "));
            }
            let _ = write!(text, "Last-Attempt-Date: {}\r\n", date(self.time));
            if let (Action::Delayed, Some(until)) = (recipient.action, self.until) {
                let _ = write!(text, "Will-Retry-Until: {}\r\n", date(until));
            }
        }
        text
    }
}

/// Appends a quoted text, line by line and indented.
fn quote(reply: &str, text: &mut String) {
    for line in lines(reply) {
        let _ = write!(text, "    {line}\r\n");
    }
}

/// Returns a quoted text as lines that mail can carry. Another server's reply may contain anything.
fn lines(reply: &str) -> impl Iterator<Item = String> {
    reply.lines().flat_map(pieces).map(|piece| piece.chars().map(or_space).collect())
}

/// Splits a line into pieces of at most [`LINE`] octets.
fn pieces(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let (piece, after) = rest?.split_at(rest?.floor_char_boundary(LINE));
        rest = Some(after).filter(|after| !after.is_empty());
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report_with(
        action: Action,
        reply: Option<&str>,
        changed: impl FnOnce(&mut Report<'_>),
    ) -> String {
        let hostname = "mail.x.test".parse().unwrap();
        let (to, bob) = ("ana@x.test".parse().unwrap(), "bob@y.test".parse().unwrap());
        let mut report = Report {
            hostname: &hostname,
            id: MailId::from_bytes([0; 12]),
            time: Timestamp::UNIX_EPOCH,
            from: "postmaster@x.test",
            to: &to,
            envelope_id: Some("a+2Bb"),
            message_id: Some("<1@x.test>"),
            arrived: Timestamp::UNIX_EPOCH,
            until: Some(Timestamp::UNIX_EPOCH),
            recipients: vec![Recipient {
                address: &bob,
                original: Some("rfc822;b+2Bx@y.test"),
                action,
                status: EnhancedStatus { class: 5, subject: 1, detail: 1 },
                reason: reply.map(Reason::Answered),
                host: Some("mx.y.test"),
                is_given_up: false,
            }],
            returned: Returned::Header(b"Subject: hello\r\n"),
        };
        changed(&mut report);
        String::from_utf8(report.write()).unwrap()
    }

    fn report(action: Action, reply: Option<&str>) -> String {
        report_with(action, reply, |_| {})
    }

    #[test]
    fn a_report_informs_a_person_and_a_program() {
        let text = report(Action::Failed, Some("550 5.1.1 No such user\nsecond \r line"));
        for part in [
            "From: Mail Delivery System <postmaster@x.test>\r\nTo: <ana@x.test>\r\nSubject: Your message was not delivered\r\n",
            "In-Reply-To: <1@x.test>\r\n",
            "Auto-Submitted: auto-replied\r\n",
            "Your message to <bob@y.test> could not be delivered.\r\n",
            "The server mx.y.test answered:\r\n    550 5.1.1 No such user\r\n    second   line\r\n",
            "\r\n\r\nOriginal-Envelope-Id: a+b\r\nReporting-MTA: dns; mail.x.test\r\n",
            "\r\n\r\nOriginal-Recipient: rfc822;b+x@y.test\r\nFinal-Recipient: rfc822;bob@y.test\r\n\
             Action: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.y.test\r\n\
             Diagnostic-Code: smtp; 550 5.1.1 No such user\r\n second   line\r\n",
            "Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 7bit\r\n\r\n\
             Subject: hello\r\n--report-00000000000000000000--\r\n",
        ] {
            assert!(text.contains(part), "{part}\n---\n{text}");
        }
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "every line ends in CRLF");
        let text = report(Action::Delayed, None);
        assert!(
            text.contains("Will-Retry-Until: ") && text.contains("You do not need to do anything")
        );
        let text = report(Action::Failed, Some("550 \u{202e}\u{9b}2J\u{feff}\u{2028}x"));
        assert!(text.contains("    550   2J  x\r\n") && text.is_ascii(), "{text}");
        let text = report(Action::Failed, Some("550 gre\u{219}it"));
        assert!(text.contains("message/global-delivery-status"), "RFC 6533 \u{a7}3");
        let text = report(Action::Failed, Some(&"\u{219}".repeat(2_000)));
        assert!(text.lines().all(|line| line.len() <= 998), "RFC 5322 \u{a7}2.1.1");
        assert_eq!(text.matches('\u{219}').count(), 4_000, "nothing is left out");
    }

    /// RFC 3464 §2.3.6: a finding of this server is not presented as the other server's answer.
    #[test]
    fn our_own_finding_is_not_ascribed_to_the_other_server() {
        let words = "The message has 9 octets, and the server takes 8 at most";
        let text = report_with(Action::Failed, None, |report| {
            report.recipients[0].reason = Some(Reason::Found(words));
        });
        for part in [
            format!("\r\nThe reason:\r\n    {words}\r\n"),
            format!("Remote-MTA: dns; mx.y.test\r\nDiagnostic-Code: x-posta; {words}\r\n"),
        ] {
            assert!(text.contains(&part), "{part}\n---\n{text}");
        }
        assert!(!text.contains("answered") && !text.contains("smtp;"), "{text}");
        let text = report_with(Action::Failed, Some("450 4.2.0 Later"), |report| {
            report.recipients[0].is_given_up = true;
        });
        let part = "Delivery has been attempted since Thu, 1 Jan 1970 00:00:00 +0000, and is now given up.\r\n\r\n\
                    The server mx.y.test last answered:\r\n    450 4.2.0 Later\r\n";
        assert!(text.contains(part), "{text}");
    }

    /// RFC 3461 §4.3.
    #[test]
    fn a_report_attaches_what_it_says() {
        let with =
            |returned| report_with(Action::Failed, None, |report| report.returned = returned);
        let text = with(Returned::Whole(b"Subject: hello\r\n\r\nbody"));
        assert!(text.contains("Your message is attached.\r\n"), "{text}");
        let part = "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\n\
                    Subject: hello\r\n\r\nbody\r\n--report-00000000000000000000--\r\n";
        assert!(text.ends_with(part), "{text}");
        for (message, kind) in [
            ("Subject: gre\u{219}it\r\n\r\nbody", "message/global"),
            ("Subject: x\r\n\r\ngre\u{219}it", "message/rfc822"),
        ] {
            let text = with(Returned::Whole(message.as_bytes()));
            let part = format!("Content-Type: {kind}\r\nContent-Transfer-Encoding: 8bit\r\n");
            assert!(text.contains(&part), "{text}");
        }
        let text = with(Returned::Header(b"Subject: hello\r\n"));
        assert!(text.contains("The header section of your message is attached,"), "{text}");
        let text = with(Returned::Header(b""));
        assert!(!text.contains("attached") && !text.contains("rfc822-headers"), "{text}");
        assert!(text.ends_with("\r\n--report-00000000000000000000--\r\n"), "{text}");
    }
}
