//! What a domain's owner publishes in DNS, so that the domain's mail arrives and what it sends is believed.
//!
//! [`records`](record::records) says which records these are for a [`MailSetup`], and [`zone_file`] writes them as a
//! person pastes them. Nothing here asks DNS. The program's
//! `posta domain dns` prints them.

pub mod record;
pub mod zone_file;

use crate::send::trust::mta_sts::Policy;
use posta_mail::Domain;
use std::net::IpAddr;

/// What the records of a domain depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailSetup {
    /// The domain.
    pub domain: Domain,
    /// The domain that it is an alias of, if it is one.
    pub alias_of: Option<Domain>,
    /// The server's name for itself.
    pub hostname: Domain,
    /// The server's public addresses, as far as they are known: others reach it there, and its mail comes from there.
    pub addresses: Vec<IpAddr>,
    /// The server through which mail goes out, if it does not go to each domain's own.
    pub smarthost: Option<String>,
    /// The MTA-STS policy, if the server serves it, with the names of the servers.
    pub policy: Option<Policy>,
    /// The keys with which mail of the domain is signed.
    pub keys: Vec<DkimRecord>,
    /// The SHA-256 of the public key of the server's certificate.
    pub certificate_key: Option<[u8; 32]>,
    /// The same of the key that is to take its place, if one waits.
    pub next_certificate_key: Option<[u8; 32]>,
    /// What the server offers mail programs.
    pub services: Vec<MailService>,
}

/// A key that signs mail of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimRecord {
    /// The selector, which names the key within the domain.
    pub selector: String,
    /// The text of the record (RFC 6376 §3.6.1).
    pub text: String,
    /// Whether the key does not sign yet, since it waits for its record.
    pub is_waiting: bool,
    /// Whether the key no longer signs: its record stays until all mail that it signed has arrived.
    pub is_retiring: bool,
}

/// A service for mail programs, and its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailService {
    /// The service.
    pub kind: ServiceKind,
    /// The port.
    pub port: u16,
}

/// What mail programs look for under a domain (RFC 6186, RFC 8314 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    /// Submission in TLS.
    Submissions,
    /// Submission with STARTTLS.
    Submission,
    /// POP3 in TLS.
    Pop3s,
    /// POP3 with STLS.
    Pop3,
}

impl ServiceKind {
    /// All services, the preferred one of each protocol first.
    pub const ALL: [Self; 4] = [Self::Submissions, Self::Submission, Self::Pop3s, Self::Pop3];

    /// Returns the first label of its SRV record, such as `_pop3s`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Submissions => "_submissions",
            Self::Submission => "_submission",
            Self::Pop3s => "_pop3s",
            Self::Pop3 => "_pop3",
        }
    }
}

/// Returns the address at which a domain receives reports about its mail. A person reads postmaster in any case
/// (RFC 5321 §4.5.1).
#[must_use]
pub fn report_address(domain: &Domain) -> String {
    format!("postmaster@{domain}")
}
