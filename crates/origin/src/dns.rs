//! The interface to DNS: the [`Lookup`] that the checks use, and a [`Zone`] that answers in tests.

mod zone;

pub use zone::{Record, Zone, now_or_never, reverse_name};

use std::{future::Future, net::IpAddr, pin::Pin};

/// The maximal number of records in an answer. The largest sets used by mail have a few dozen.
pub const ANSWER_RECORDS: usize = 128;

/// The maximal number of octets of text in an answer. Large domains have 8 KiB of TXT records; over TCP,
/// a name server can send 64 KiB.
pub const ANSWER_OCTETS: usize = 16 * 1024;

/// The maximal number of aliases (CNAME) between a name and its records, since aliases may form a loop.
pub const ALIASES: usize = 16;

/// The future of a look-up, which returns at least one record.
pub type Query<'a, T> = Pin<Box<dyn Future<Output = Result<Vec<T>, LookupError>> + Send + 'a>>;

/// The future of a look-up that returns yes or no.
pub type Check<'a> = Pin<Box<dyn Future<Output = Result<bool, LookupError>> + Send + 'a>>;

/// The reason why a look-up returned no records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum LookupError {
    /// The name does not exist, or has no records of that type: a "void lookup" (RFC 7208 §4.6.4).
    #[error("there is no such record")]
    Nothing,
    /// DNS did not answer in time, or the answer cannot be used. A later look-up may succeed.
    #[error("DNS does not answer")]
    Temporary,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4 (A).
    V4,
    /// IPv6 (AAAA).
    V6,
}

impl Family {
    /// Returns the family of an address.
    #[must_use]
    pub const fn of(address: &IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// Looks up DNS records for the checks.
///
/// Names are in ASCII, in any case, and have no dot at their end; the same holds for names in answers.
/// They may contain any characters, since SPF macros can produce them; the answer for a name that DNS
/// cannot have is [`LookupError::Nothing`]. Aliases are followed. An answer with more than
/// [`ANSWER_RECORDS`] or [`ANSWER_OCTETS`] is [`LookupError::Temporary`]. Each look-up ends within a
/// time that the implementation chooses.
pub trait Lookup: Send + Sync {
    /// Looks up the texts of a name (TXT). The strings of one record are joined without a separator (RFC
    /// 7208 §3.3, RFC 6376 §3.6.2.2); octets that are not UTF-8 become U+FFFD.
    fn txt<'a>(&'a self, name: &'a str) -> Query<'a, String>;

    /// Looks up a host's addresses of one family.
    fn addresses<'a>(&'a self, host: &'a str, family: Family) -> Query<'a, IpAddr>;

    /// Looks up the servers that accept a domain's mail (MX), with their preferences. The null MX (RFC
    /// 7505) has an empty name.
    fn mx<'a>(&'a self, domain: &'a str) -> Query<'a, (u16, String)>;

    /// Looks up the names of an address (PTR), under `in-addr.arpa` or `ip6.arpa` (RFC 1035 §3.5, RFC 3596 §2.5).
    fn ptr(&self, address: IpAddr) -> Query<'_, String>;

    /// Looks up whether a name exists, which means that it has records of any type or names below it
    /// (RFC 8020 §2).
    fn exists<'a>(&'a self, name: &'a str) -> Check<'a>;
}
