//! The message that carries a TLS report (RFC 8460 §5.3). The server's floor `reports` writes the report
//! itself.

use crate::report::{self, ReportHeader};
use posta_mail::{Address, Domain, Timestamp};

/// The data of a message that carries a TLS report.
#[derive(Debug, Clone, Copy)]
pub struct TlsReportMail<'a> {
    /// The name of the reporting server.
    pub hostname: &'a Domain,
    /// The domain whose servers the report is about.
    pub domain: &'a str,
    /// The day that the report is about, in the form `2026-01-31`.
    pub day: &'a str,
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

impl TlsReportMail<'_> {
    /// Returns the message: header section and body, with lines that end in CRLF.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let Self { hostname, domain, day, id, .. } = *self;
        let words = format!(
            "This is a report of how {hostname} reached the mail servers of {domain} on {day}."
        );
        let encoded = report::base64(self.packed);
        let file = format!("{hostname}!{domain}!{day}.json.gz");
        let parts = vec![
            report::part(report::text(), "7bit", words.as_bytes()),
            report::part("application/tlsrpt+gzip", "base64", &encoded).attachment(file),
        ];
        ReportHeader {
            name: "TLS reports",
            from: self.from,
            to: self.to,
            subject: &format!("Report Domain: {domain} Submitter: {hostname} Report-ID: <{id}>"),
            time: self.time,
            message_id: id,
            fields: vec![
                ("TLS-Report-Domain", domain),
                ("TLS-Report-Submitter", hostname.as_str()),
                ("Auto-Submitted", "auto-generated"),
            ],
            kind: Some("tlsrpt"),
            boundary: "report",
        }
        .write(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tls_report_is_a_message() {
        let hostname = "mail.x.test".parse().unwrap();
        let to = "tls@y.test".parse().unwrap();
        let packed = [7; 100];
        let mut mail = TlsReportMail {
            hostname: &hostname,
            domain: "y.test",
            day: "1970-01-01",
            time: Timestamp::UNIX_EPOCH,
            id: "1@mail.x.test",
            from: "postmaster@x.test",
            to: &to,
            packed: &packed,
        };
        let text = String::from_utf8(mail.write()).unwrap();
        assert_eq!(
            text,
            "From: TLS reports <postmaster@x.test>\r\nTo: <tls@y.test>\r\n\
             Subject: Report Domain: y.test Submitter: mail.x.test Report-ID:\r\n <1@mail.x.test>\r\n\
             Date: Thu, 1 Jan 1970 00:00:00 +0000\r\nMessage-ID: <1@mail.x.test>\r\n\
             TLS-Report-Domain: y.test\r\nTLS-Report-Submitter: mail.x.test\r\n\
             Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=\"tlsrpt\"; boundary=\"report\"\r\n\r\n\
             --report\r\nContent-Type: text/plain; charset=\"utf-8\"\r\n\
             Content-Transfer-Encoding: 7bit\r\n\r\n\
             This is a report of how mail.x.test reached the mail servers of y.test on 1970-01-01.\r\n\
             --report\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment;\r\n filename=\"mail.x.test!y.test!1970-01-01.json.gz\"\r\n\r\n\
             BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\r\n\
             BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBw==\r\n--report--\r\n"
        );
        // The domain name is long, but the lines of a header section must not be.
        let long = format!("{}.test", ["a".repeat(60).as_str(); 3].join("."));
        mail.domain = &long;
        let text = String::from_utf8(mail.write()).unwrap();
        assert!(text.lines().all(|line| line.len() <= 998), "{text}");
    }
}
