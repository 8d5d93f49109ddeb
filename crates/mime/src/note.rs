//! Notes: short messages that the server writes to a person, such as that somebody is away (RFC 3834).

use crate::{
    encode::QuotedPrintable,
    report::{part, text},
};
use mail_builder::{
    MessageBuilder,
    headers::{raw::Raw, text::Text},
};
use posta_mail::{Address, Domain, MailId, Timestamp, trace::date};

/// The maximal number of octets of a line that is not encoded.
const LINE: usize = 900;

/// The maximal number of octets that a note repeats of the references of a message.
const REFERENCES: usize = 2_000;

/// The message that a note answers.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnsweredMessage<'a> {
    /// The value of its Message-ID field.
    pub message_id: Option<&'a str>,
    /// The value of its References field.
    pub references: Option<&'a str>,
}

/// A note.
#[derive(Debug, Clone, Copy)]
pub struct Note<'a> {
    /// The name of this server.
    pub hostname: &'a Domain,
    /// The note's own id.
    pub id: MailId,
    /// The time of writing.
    pub time: Timestamp,
    /// The author's name; empty for none.
    pub name: &'static str,
    /// The author's address.
    pub from: &'a Address,
    /// The recipient.
    pub to: &'a Address,
    /// The subject.
    pub subject: &'a str,
    /// The message that it answers; none for a note of the server's own accord.
    pub answers: Option<AnsweredMessage<'a>>,
    /// The text, in lines that end in LF or CRLF.
    pub text: &'a str,
}

impl Note<'_> {
    /// Returns the note as a message: header section and body, with lines that end in CRLF.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut message = MessageBuilder::new()
            .header("From", Raw::new(format!("{} <{}>", self.name, self.from).trim().to_owned()))
            .header("To", Raw::new(format!("<{}>", self.to)))
            .header("Subject", Text::new(self.subject))
            .header("Date", Raw::new(date(self.time)))
            .header("Message-ID", Raw::new(format!("<{}@{}>", self.id, self.hostname)));
        // RFC 3834 §5: whoever answers automatically answers neither of them.
        message = message.header(
            "Auto-Submitted",
            Raw::new(if self.answers.is_some() { "auto-replied" } else { "auto-generated" }),
        );
        if let Some(AnsweredMessage { message_id: Some(message_id), references }) = self.answers {
            // RFC 3834 §3.1.2, RFC 5322 §3.6.4.
            let references = references.filter(|text| text.len() <= REFERENCES);
            let references = format!("{} {message_id}", references.unwrap_or_default());
            message = message
                .header("In-Reply-To", Raw::new(message_id.to_owned()))
                .header("References", Raw::new(references.trim().to_owned()));
        }
        let lines: Vec<_> = self.text.lines().map(str::trim_end).collect();
        let body = lines.join("\r\n") + "\r\n";
        let mut encoded = Vec::new();
        let is_plain = body.is_ascii() && lines.iter().all(|line| line.len() <= LINE);
        let encoding = if is_plain { "7bit" } else { "quoted-printable" };
        if is_plain {
            encoded = body.into_bytes();
        } else {
            let mut encoder = QuotedPrintable::default();
            encoder.push(body.as_bytes(), &mut encoded);
            encoder.finish(&mut encoded);
        }
        let mut written = Vec::new();
        message.body(part(text(), encoding, &encoded)).serialize(&mut written);
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(subject: &str, text: &str, answers: Option<AnsweredMessage<'_>>) -> String {
        let note = Note {
            hostname: &"mail.x.test".parse().unwrap(),
            id: MailId::new(Timestamp::UNIX_EPOCH, 1),
            time: Timestamp::UNIX_EPOCH,
            name: "",
            from: &"ana@x.test".parse().unwrap(),
            to: &"sue@y.test".parse().unwrap(),
            subject,
            answers,
            text,
        };
        String::from_utf8(note.write()).unwrap()
    }

    #[test]
    fn a_note_has_the_fields_of_an_answer() {
        let answers = Some(AnsweredMessage {
            message_id: Some("<2@y.test>"),
            references: Some("<1@y.test>"),
        });
        let note = written("Auto: hello", "I am away.\nAna\n", answers);
        for part in [
            "From: <ana@x.test>\r\n",
            "To: <sue@y.test>\r\n",
            "Subject: Auto: hello\r\n",
            "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n",
            "Auto-Submitted: auto-replied\r\n",
            "In-Reply-To: <2@y.test>\r\n",
            "References: <1@y.test> <2@y.test>\r\n",
            "MIME-Version: 1.0\r\n",
            "Content-Type: text/plain; charset=\"utf-8\"\r\n",
            "\r\n\r\nI am away.\r\nAna\r\n",
        ] {
            assert!(note.contains(part), "{part}: {note}");
        }
        let own = written("s", "t", None);
        assert!(
            own.contains("Auto-Submitted: auto-generated\r\n") && !own.contains("Refer"),
            "{own}"
        );
        let bare = written("s", "t", Some(AnsweredMessage::default()));
        assert!(bare.contains("auto-replied") && !bare.contains("In-Reply-To"), "{bare}");
    }

    /// Neither the subject of a stranger nor a text can add a field or a line that is too long.
    #[test]
    fn what_is_not_plain_is_encoded() {
        let note =
            written("Auto: \u{219}i\r\nBcc: x", &format!("{}\n\u{219}\n", "x".repeat(5_000)), None);
        assert!(!note.contains("\r\nBcc"), "{note}");
        assert!(note.contains("Subject: =?utf-8?") && note.is_ascii(), "{note}");
        assert!(note.contains("quoted-printable") && note.contains("\r\n=C8=99\r\n"), "{note}");
        assert!(note.lines().all(|line| line.len() <= 78), "{note}");
    }
}
