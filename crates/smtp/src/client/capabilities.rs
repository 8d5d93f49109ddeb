//! What a server offers, and what follows for a message.

use super::Envelope;
use posta_mail::{Reply, envelope::Body};

/// What the server offers (RFC 5321 §4.1.1.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// The server's name for itself.
    pub name: String,
    /// PIPELINING.
    pub pipelining: bool,
    /// 8BITMIME.
    pub eight_bit_mime: bool,
    /// CHUNKING: content can come by BDAT, with its length (RFC 3030 §2).
    pub chunking: bool,
    /// BINARYMIME: content may have any octets (RFC 3030 §3).
    pub binary_mime: bool,
    /// SMTPUTF8.
    pub utf8: bool,
    /// STARTTLS.
    pub starttls: bool,
    /// DSN: wishes for reports are honoured or passed on (RFC 3461).
    pub dsn: bool,
    /// REQUIRETLS.
    pub require_tls: bool,
    /// DELIVERBY.
    pub deliver_by: bool,
    /// MT-PRIORITY.
    pub priority: bool,
    /// SIZE, and the limit if the server names one.
    pub size: Option<Option<u64>>,
    /// AUTH: the mechanisms, in upper case.
    pub mechanisms: Vec<String>,
    /// LIMITS (RFC 9422 §4): transactions in a session, recipients in a transaction, and domains
    /// that these may have.
    pub mail_max: Option<usize>,
    /// `RCPTMAX`.
    pub recipients_max: Option<usize>,
    /// `RCPTDOMAINMAX`.
    pub domains_max: Option<usize>,
}

impl Capabilities {
    /// Reads the lines of the reply to EHLO; the first is the server's name.
    pub(super) fn read(text: &str) -> Self {
        let mut lines = text.lines();
        let name = lines.next().and_then(|line| line.split_ascii_whitespace().next());
        let mut known = Self { name: name.unwrap_or_default().to_owned(), ..Self::default() };
        for line in lines {
            let line = line.to_ascii_uppercase();
            // Some servers still write AUTH as a draft had it, `AUTH=LOGIN`.
            let mut words = line.split(|c: char| c.is_ascii_whitespace() || c == '=');
            match words.next().unwrap_or_default() {
                "PIPELINING" => known.pipelining = true,
                "8BITMIME" => known.eight_bit_mime = true,
                "CHUNKING" => known.chunking = true,
                "BINARYMIME" => known.binary_mime = true,
                "SMTPUTF8" => known.utf8 = true,
                "STARTTLS" => known.starttls = true,
                "DSN" => known.dsn = true,
                "REQUIRETLS" => known.require_tls = true,
                "DELIVERBY" => known.deliver_by = true,
                "MT-PRIORITY" => known.priority = true,
                "SIZE" => known.size = Some(words.next().and_then(|limit| limit.parse().ok())),
                "AUTH" => known.mechanisms.extend(words.map(str::to_owned)),
                "LIMITS" => known.read_limits(line.split_ascii_whitespace().skip(1)),
                _ => {}
            }
        }
        known
    }

    /// Returns why the server cannot handle the message as it must be handled.
    pub(super) fn objection(&self, envelope: &Envelope, secured: bool) -> Option<Reply> {
        let Capabilities { utf8, require_tls, size, .. } = *self;
        let limit = size.flatten().filter(|&limit| limit > 0);
        let parameters = &envelope.parameters;
        if !utf8 && (parameters.utf8 || !envelope.is_ascii()) {
            let words = "The server takes no addresses and header fields outside ASCII";
            Some(Reply::new(553, (5, 6, 7), words))
        } else if parameters.require_tls && !(secured && require_tls) {
            // RFC 8689 §4.2.1.
            Some(Reply::new(550, (5, 7, 30), "The server does not promise to keep to TLS"))
        } else if parameters.size.zip(limit).is_some_and(|(size, limit)| size > limit) {
            let words = format!(
                "The message has {} octets, and the server takes {} at most",
                parameters.size.unwrap_or_default(),
                limit.unwrap_or_default()
            );
            Some(Reply::new(552, (5, 3, 4), words))
        } else {
            None
        }
    }

    /// Returns whether the content has to be converted to ASCII for this server.
    pub(super) fn must_convert(&self, envelope: &Envelope) -> bool {
        match envelope.parameters.body {
            Body::SevenBit => false,
            Body::EightBitMime => !self.eight_bit_mime,
            // RFC 3030 §3: it cannot go by DATA.
            Body::BinaryMime => !(self.binary_mime && self.chunking),
        }
    }

    /// A limit of 0 makes no sense, and is none (RFC 9422 §4.1).
    fn read_limits<'l>(&mut self, limits: impl Iterator<Item = &'l str>) {
        for (name, value) in limits.filter_map(|limit| limit.split_once('=')) {
            let value = value.parse().ok().filter(|&value| value > 0);
            match name {
                "MAILMAX" => self.mail_max = value,
                "RCPTMAX" => self.recipients_max = value,
                "RCPTDOMAINMAX" => self.domains_max = value,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_read() {
        let known = Capabilities::read(
            "mx.y.test at your service\nPIPELINING\nsize 1000\nAUTH PLAIN scram-sha-256\n\
             AUTH=LOGIN\nLIMITS RCPTMAX=20 MAILMAX=0 RCPTDOMAINMAX=x ODD\nCHUNKING",
        );
        assert_eq!(known.name, "mx.y.test");
        assert!(known.pipelining && known.chunking && !known.binary_mime);
        assert_eq!(known.size, Some(Some(1000)));
        assert_eq!(known.mechanisms, ["PLAIN", "SCRAM-SHA-256", "LOGIN"]);
        assert_eq!(known.recipients_max, Some(20));
        assert_eq!((known.mail_max, known.domains_max), (None, None));
        assert!(!Capabilities::read("PIPELINING").pipelining, "that is its name");
    }
}
