//! SPF (RFC 7208): whether a domain permits a client to send mail in its name.
//!
//! [`check`] is the function `check_host` of RFC 7208 §4: it looks up the domain's record,
//! [parses](record) it completely, and evaluates its terms against the client's address. Includes and
//! redirects lead to further records, [macros] to names that depend on the sender. The domain's owner is
//! a stranger who decides how much work that is, so the look-ups are counted (RFC 7208 §4.6.4): at most
//! [`LOOKUPS`] terms that need any, [`VOID_LOOKUPS`] that find nothing, and [`NAMES`] servers or names
//! each.

mod evaluate;
pub mod macros;
pub mod record;

use crate::dns::Lookup;
use posta_mail::Address;
use std::{fmt, net::IpAddr};

/// The maximal number of terms in one check that need look-ups, in all records together (RFC 7208
/// §4.6.4).
pub const LOOKUPS: u32 = 10;

/// The maximal number of look-ups in one check that find nothing (RFC 7208 §4.6.4).
pub const VOID_LOOKUPS: u32 = 2;

/// The maximal number of mail servers that one term may lead to, and of the client's names that are
/// examined (RFC 7208 §4.6.4).
pub const NAMES: usize = 10;

/// The result of a check (RFC 7208 §2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpfResult {
    /// The domain has no record.
    None,
    /// The domain makes no statement about the client.
    Neutral,
    /// The client may send mail in the domain's name.
    Pass,
    /// The client may not send mail in the domain's name.
    Fail,
    /// The client probably may not send mail in the domain's name.
    SoftFail,
    /// DNS did not answer; a later check may have another result.
    TempError,
    /// The domain's records cannot be evaluated.
    PermError,
}

impl fmt::Display for SpfResult {
    /// Writes the result as in an Authentication-Results field (RFC 8601 §2.7.2).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        })
    }
}

/// The sender of a message, and the domain to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpfRequest<'a> {
    /// The client's address.
    pub address: IpAddr,
    /// The client's name in its greeting (HELO or EHLO).
    pub helo: &'a str,
    /// The sender's local-part.
    pub local_part: &'a str,
    /// The sender's domain, which is checked.
    pub domain: &'a str,
    /// The name of this host, for explanations.
    pub receiver: &'a str,
    /// The time in seconds since 1970, for explanations.
    pub time: u64,
}

impl<'a> SpfRequest<'a> {
    /// Returns a request to check the client's greeting (RFC 7208 §2.3).
    #[must_use]
    pub const fn helo(address: IpAddr, helo: &'a str, receiver: &'a str, time: u64) -> Self {
        Self { address, helo, local_part: "postmaster", domain: helo, receiver, time }
    }

    /// Returns a request to check a reverse-path; for the null path, the greeting is checked (RFC 7208
    /// §2.4).
    #[must_use]
    pub fn mail_from(self, sender: Option<&'a Address>) -> Self {
        match sender {
            Some(sender) => {
                Self { local_part: sender.local_part(), domain: sender.domain(), ..self }
            }
            None => Self { local_part: "postmaster", domain: self.helo, ..self },
        }
    }

    /// Returns the client's address. An IPv4 address in the form of an IPv6 one is converted (RFC 7208
    /// §5).
    fn address(&self) -> IpAddr {
        self.address.to_canonical()
    }
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpfOutcome {
    /// The result.
    pub result: SpfResult,
    /// The term that matched, and the domain whose record contains it. For a term of an included record,
    /// this is the `include`.
    pub matched: Option<MatchedTerm>,
    /// Why the result is [`SpfResult::PermError`] or [`SpfResult::TempError`].
    pub error: Option<SpfError>,
    /// The explanation of a fail by the domain's owner (RFC 7208 §6.2): printable ASCII from a stranger,
    /// which must be displayed as such.
    pub explanation: Option<String>,
    /// Whether the domain sends no mail at all: its own record is `v=spf1 -all` (RFC 7208 §10.1.2).
    pub sends_nothing: bool,
    /// The terms evaluated that cost look-ups, of which there may be [`LOOKUPS`].
    pub lookups: u32,
}

/// A term of a record that matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchedTerm {
    /// The domain of the record.
    pub domain: String,
    /// The term as it was written.
    pub term: String,
}

/// The reason why a check ends in an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpfError {
    /// DNS did not answer.
    #[error("DNS does not answer for {0}")]
    Temporary(String),
    /// A domain has more than one record (RFC 7208 §4.5).
    #[error("{0} has more than one SPF record")]
    SeveralRecords(String),
    /// A record cannot be parsed.
    #[error("the SPF record of {0} is wrong: {1}")]
    Syntax(String, record::SpfSyntaxError),
    /// An include or a redirect leads to a domain without a record (RFC 7208 §5.2, §6.1).
    #[error("{0} refers to {1}, which has no SPF record")]
    NoRecord(String, String),
    /// The terms need more than [`LOOKUPS`] look-ups.
    #[error("the SPF record needs more than {LOOKUPS} terms that ask DNS")]
    TooManyLookups,
    /// More than [`VOID_LOOKUPS`] look-ups found nothing.
    #[error("the SPF record asks for more than {VOID_LOOKUPS} names that do not exist")]
    TooManyVoidLookups,
    /// A domain has more than [`NAMES`] mail servers.
    #[error("{0} has more than {NAMES} mail servers")]
    TooManyServers(String),
}

impl SpfError {
    const fn result(&self) -> SpfResult {
        match self {
            Self::Temporary(_) => SpfResult::TempError,
            _ => SpfResult::PermError,
        }
    }
}

/// Checks whether a client may send mail in a domain's name.
///
/// RFC 7208 §4.6.4 requires at least 20 seconds for a check. A caller that waits no longer drops the
/// future, and treats the result as [`SpfResult::TempError`].
pub async fn check(dns: &dyn Lookup, request: &SpfRequest<'_>) -> SpfOutcome {
    evaluate::check(dns, request).await
}
