//! Reports of what became of a message: delivery status notifications (RFC 3464), written so that a
//! person understands them, and then once more for programs.

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

/// Octets of another server's words on one line: with what stands before them it stays below the
/// 998 of RFC 5322 §2.1.1.
const LINE: usize = 900;

/// What became of a recipient (RFC 3464 §2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is in the mailbox.
    Delivered,
    /// It went to several others, as of a list.
    Expanded,
    /// Another server took it that sends no reports of success.
    Relayed,
    /// It has not arrived yet, and is tried further.
    Delayed,
    /// It will not arrive.
    Failed,
}

impl Action {
    /// As a report names it.
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

/// A recipient, as a report tells of it.
#[derive(Debug, Clone)]
pub struct Recipient<'a> {
    /// Whom it was for.
    pub address: &'a Address,
    /// Whom the sender named first: `type;xtext`.
    pub original: Option<&'a str>,
    /// What became of it.
    pub action: Action,
    /// Why.
    pub status: EnhancedStatus,
    /// The words that explain it, and whose they are: the other server's or this one's.
    pub reason: Option<Reason<'a>>,
    /// The other server that was talked to, if it came to that.
    pub host: Option<&'a str>,
    /// Whether it failed because it had been tried for so long.
    pub is_given_up: bool,
}

/// Why something became of a recipient, and who says so. What this server found itself is never told as
/// what the other one answered: neither its sender nor its postmaster would find it there.
#[derive(Debug, Clone, Copy)]
pub enum Reason<'a> {
    /// What the other server answered: codes and words.
    Answered(&'a str),
    /// What this server found or decided, in words.
    Found(&'a str),
}

/// What a report brings back of the message (RFC 3461 §4.3).
#[derive(Debug, Clone, Copy)]
pub enum Returned<'a> {
    /// The whole message.
    Whole(&'a [u8]),
    /// Its header section. Nothing is attached if there is none.
    Header(&'a [u8]),
}

impl<'a> Returned<'a> {
    const fn octets(self) -> &'a [u8] {
        match self {
            Self::Whole(octets) | Self::Header(octets) => octets,
        }
    }
}

/// A report.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    /// The server that writes it.
    pub hostname: &'a Domain,
    /// Its id as a message.
    pub id: MailId,
    /// When it is written.
    pub time: Timestamp,
    /// Whom to ask: the address of the postmaster.
    pub from: &'a str,
    /// To whom: the message's reverse-path.
    pub to: &'a Address,
    /// The sender's name for the message, in xtext.
    pub envelope_id: Option<&'a str>,
    /// The message's Message-ID field.
    pub message_id: Option<&'a str>,
    /// When the message came here.
    pub arrived: Timestamp,
    /// Until when it is tried, if it still is.
    pub until: Option<Timestamp>,
    /// Of whom it tells. At least one.
    pub recipients: Vec<Recipient<'a>>,
    /// What is attached.
    pub returned: Returned<'a>,
}

impl Report<'_> {
    /// The report as a message: header section and body, lines ending in CRLF.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let (words, status) = (self.words(), self.status());
        let header = [self.from, self.to.as_str(), self.message_id.unwrap_or_default()];
        let eight_bit = !header.into_iter().chain([&*words, &*status]).all(str::is_ascii);
        let encoding = if eight_bit { "8bit" } else { "7bit" };
        // RFC 6533 §3 has a type of its own for what is not ASCII.
        let status_kind = match eight_bit {
            true => "message/global-delivery-status",
            false => "message/delivery-status",
        };
        let mut parts = vec![
            report::part(report::text(), encoding, words.as_bytes()),
            report::part(status_kind, encoding, status.as_bytes()),
        ];
        parts.extend(self.attachment());
        // RFC 3834 §5: Auto-Submitted, so that no program answers.
        let mut fields = vec![("Auto-Submitted", "auto-replied")];
        if let Some(message_id) = self.message_id {
            fields.splice(..0, [("In-Reply-To", message_id), ("References", message_id)]);
        }
        ReportHeader {
            name: "Mail Delivery System",
            // RFC 3464 §2: From has a person who looks after this server, so that it can be answered.
            from: self.from,
            to: self.to,
            subject: self.subject(),
            time: self.time,
            message_id: &format!("{}@{}", self.id, self.hostname),
            fields,
            kind: "delivery-status",
            boundary: &format!("report-{}", self.id),
        }
        .write(parts)
    }

    /// What comes back of the message; none if there is nothing.
    fn attachment(&self) -> Option<MimePart<'_>> {
        let message = self.returned.octets();
        if message.is_empty() {
            return None;
        }
        // RFC 6533 §4 has types of their own for what is not ASCII.
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

    /// The gravest of what it tells.
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

    /// For a person: what happened, to whom, why, and what to do.
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
                    write!(text, "Your message to <{address}> went to all who stand behind it.\r\n")
                }
                Action::Relayed => write!(
                    text,
                    "Your message to <{address}> was taken by another server, which tells no more \
                     about it.\r\n"
                ),
            };
            self.write_reason(recipient, &mut text);
            text.push_str("\r\n");
        }
        let whom = match self.recipients.iter().any(|recipient| recipient.host.is_some()) {
            true => "whoever looks after the server named above, and show this report",
            false => "the postmaster here, by an answer to this report",
        };
        let _ = match (self.action(), self.until) {
            (Action::Failed, _) => write!(
                text,
                "It will not be tried again. If the address is right, ask the recipient in another \
                 way,\r\nor {whom}.\r\n"
            ),
            (Action::Delayed, Some(until)) => write!(
                text,
                "You need not do anything: it is tried again until {}.\r\n",
                date(until)
            ),
            _ => write!(text, "You need not do anything.\r\n"),
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
            let _ = write!(text, "It was tried since {since}, which is long enough.\r\n");
        }
        let last = if recipient.is_given_up { " last" } else { "" };
        let said = match (recipient.reason, recipient.host) {
            (Some(Reason::Answered(reply)), Some(host)) => {
                let _ = write!(text, "\r\nThe server {host} answered{last}:\r\n");
                reply
            }
            (Some(Reason::Answered(reply)), None) => {
                let _ = write!(text, "\r\nThe other server answered{last}:\r\n");
                reply
            }
            (Some(Reason::Found(words)), _) => {
                let what = if recipient.is_given_up { "What was in the way" } else { "The reason" };
                let _ = write!(text, "\r\n{what}{last}:\r\n");
                words
            }
            (None, _) => return,
        };
        quote(said, text);
    }

    /// For programs (RFC 3464 §2).
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

/// Another server's words, line by line, indented.
fn quote(reply: &str, text: &mut String) {
    for line in lines(reply) {
        let _ = write!(text, "    {line}\r\n");
    }
}

/// What another server says may hold anything; in a report it is lines of text that mail can carry.
fn lines(reply: &str) -> impl Iterator<Item = String> {
    reply.lines().flat_map(pieces).map(|piece| piece.chars().map(or_space).collect())
}

/// A line in pieces of [`LINE`] octets at most.
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
    fn a_report_tells_a_person_and_a_program() {
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
        assert!(text.contains("Will-Retry-Until: ") && text.contains("You need not do anything"));
        let text = report(Action::Failed, Some("550 \u{202e}\u{9b}2J\u{feff}\u{2028}x"));
        assert!(text.contains("    550   2J  x\r\n") && text.is_ascii(), "{text}");
        let text = report(Action::Failed, Some("550 gre\u{219}it"));
        assert!(text.contains("message/global-delivery-status"), "RFC 6533 \u{a7}3");
        let text = report(Action::Failed, Some(&"\u{219}".repeat(2_000)));
        assert!(text.lines().all(|line| line.len() <= 998), "RFC 5322 \u{a7}2.1.1");
        assert_eq!(text.matches('\u{219}').count(), 4_000, "nothing is left out");
    }

    /// RFC 3464 §2.3.6: what this server found is not told as what the other one answered.
    #[test]
    fn our_own_finding_is_told_as_ours() {
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
        let part = "It was tried since Thu, 1 Jan 1970 00:00:00 +0000, which is long enough.\r\n\r\n\
                    The server mx.y.test answered last:\r\n    450 4.2.0 Later\r\n";
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
