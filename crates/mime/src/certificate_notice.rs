//! The message that warns the postmaster of certificates that cannot be renewed.

use crate::report::{self, ReportHeader};
use posta_mail::{Address, Domain, Timestamp};

/// The data of the message.
#[derive(Debug, Clone, Copy)]
pub struct CertificateNotice<'a> {
    /// The name of the server.
    pub hostname: &'a Domain,
    /// The time of writing.
    pub time: Timestamp,
    /// The Message-ID, without the angle brackets.
    pub message_id: &'a str,
    /// The address to reply to.
    pub from: &'a str,
    /// The postmaster.
    pub to: &'a Address,
    /// Each certificate, with what is wrong.
    pub problems: &'a [String],
}

impl CertificateNotice<'_> {
    /// Returns the message: header section and body, with lines that end in CRLF.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let Self { hostname, time, message_id, from, to, problems } = *self;
        let subject = match problems {
            [_] => format!("A certificate of {hostname} cannot be renewed"),
            _ => format!("{} certificates of {hostname} cannot be renewed", problems.len()),
        };
        let mut words = format!(
            "{hostname} gets its certificates from an authority by ACME. What follows fails, and is tried\r\n\
             again by itself. Without a valid certificate mail programs refuse to connect.\r\n"
        );
        for problem in problems {
            words.push_str(&format!("\r\n{problem}\r\n"));
        }
        words.push_str(
            "\r\n`posta certificate list` shows the state of all certificates, and `posta certificate renew`\r\n\
             tries again at once. This message comes once a day as long as something fails.\r\n",
        );
        let encoding = if words.is_ascii() { "7bit" } else { "8bit" };
        let parts = vec![report::part(report::text(), encoding, words.as_bytes())];
        ReportHeader {
            name: "Mail server",
            from,
            to,
            subject: &subject,
            time,
            message_id,
            fields: vec![("Auto-Submitted", "auto-generated")],
            kind: None,
            boundary: "notice",
        }
        .write(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notice_names_what_fails() {
        let written = CertificateNotice {
            hostname: &"mail.x.test".parse().unwrap(),
            time: Timestamp::UNIX_EPOCH,
            message_id: "1@mail.x.test",
            from: "postmaster@x.test",
            to: &"postmaster@x.test".parse().unwrap(),
            problems: &["mail.x.test: expires on 2027-01-31.".to_owned()],
        };
        let written = String::from_utf8(written.write()).unwrap();
        for words in [
            "Subject: A certificate of mail.x.test cannot be renewed\r\n",
            "Auto-Submitted: auto-generated\r\n",
            "\r\nmail.x.test: expires on 2027-01-31.\r\n",
        ] {
            assert!(written.contains(words), "{written}");
        }
        assert!(written.split("\r\n").all(|line| !line.contains('\n') && line.len() < 200));
    }
}
