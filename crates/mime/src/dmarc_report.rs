//! The message that carries a DMARC aggregate report (RFC 9990 §3.5.2). The server's floor `reports` writes the
//! report itself.

use crate::report::{self, ReportHeader};
use posta_mail::{Address, Domain, Timestamp};

/// The data of a message that carries a DMARC report.
#[derive(Debug, Clone, Copy)]
pub struct DmarcReportMail<'a> {
    /// The name of the reporting server.
    pub hostname: &'a Domain,
    /// The domain whose policy the report is about.
    pub domain: &'a str,
    /// The first second that the report is about.
    pub begin: Timestamp,
    /// The last second that the report is about.
    pub end: Timestamp,
    /// The time of writing.
    pub time: Timestamp,
    /// The id of the report, also used as the message's.
    pub id: &'a str,
    /// The address to reply to.
    pub from: &'a str,
    /// The address at which the domain wants to receive reports.
    pub to: &'a Address,
    /// The report, compressed with gzip.
    pub packed: &'a [u8],
}

impl DmarcReportMail<'_> {
    /// Returns the message: header section and body, with lines that end in CRLF.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let Self { hostname, domain, begin, end, id, .. } = *self;
        let day: String = begin.to_string().chars().take("2026-01-31".len()).collect();
        let words = format!(
            "This is a DMARC report: mail that {hostname} got on {day} (UTC) and that claimed to be\r\n\
             from {domain}, by source and by result."
        );
        let encoded = report::base64(self.packed);
        let (begin, end) = (begin.as_second(), end.as_second());
        let file = format!("{hostname}!{domain}!{begin}!{end}.xml.gz");
        let parts = vec![
            report::part(report::text(), "7bit", words.as_bytes()),
            report::part("application/gzip", "base64", &encoded).attachment(file),
        ];
        ReportHeader {
            name: "DMARC reports",
            from: self.from,
            to: self.to,
            subject: &format!("Report Domain: {domain} Submitter: {hostname} Report-ID: <{id}>"),
            time: self.time,
            message_id: id,
            fields: vec![("Auto-Submitted", "auto-generated")],
            kind: None,
            boundary: "report",
        }
        .write(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dmarc_report_is_a_message() {
        let mail = DmarcReportMail {
            hostname: &"mail.x.test".parse().unwrap(),
            domain: "y.test",
            begin: Timestamp::UNIX_EPOCH,
            end: Timestamp::from_second(86_399).unwrap(),
            time: Timestamp::UNIX_EPOCH,
            id: "1970-01-01.y.test@mail.x.test",
            from: "postmaster@x.test",
            to: &"dmarc@y.test".parse().unwrap(),
            packed: &[7; 10],
        };
        assert_eq!(
            String::from_utf8(mail.write()).unwrap(),
            "From: DMARC reports <postmaster@x.test>\r\nTo: <dmarc@y.test>\r\n\
             Subject: Report Domain: y.test Submitter: mail.x.test Report-ID:\r\n \
             <1970-01-01.y.test@mail.x.test>\r\n\
             Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n\
             Message-ID: <1970-01-01.y.test@mail.x.test>\r\n\
             Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/mixed; boundary=\"report\"\r\n\r\n\
             --report\r\nContent-Type: text/plain; charset=\"utf-8\"\r\n\
             Content-Transfer-Encoding: 7bit\r\n\r\n\
             This is a DMARC report: mail that mail.x.test got on 1970-01-01 (UTC) and that claimed to be\r\n\
             from y.test, by source and by result.\r\n\
             --report\r\nContent-Type: application/gzip\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment; filename=\"mail.x.test!y.test!0!86399.xml.gz\"\r\n\r\n\
             BwcHBwcHBwcHBw==\r\n--report--\r\n"
        );
    }
}
