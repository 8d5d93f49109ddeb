//! DNS look-ups, as far as mail needs them: the servers for a domain's mail (MX), addresses, TLSA,
//! SRV and TXT records.
//!
//! Callers hold a [`Resolver`]. [`Dns`] asks name servers and validates DNSSEC; [`FixedZone`] replaces
//! it in tests and simulations, and [`NoDns`] on machines without DNS. The absence of records is an
//! answer, not an error.

mod cache;
mod client;
mod fixed_zone;
pub mod lists;
mod query_name;
mod size;

pub use client::{Dns, TrustAnchorError, Validation, trust_anchors};
pub use fixed_zone::{FixedZone, NoDns};

use std::{future::Future, net::IpAddr, pin::Pin};

/// The future that a look-up returns.
pub type PendingLookup<'a, T> = Pin<Box<dyn Future<Output = Result<T, LookupError>> + Send + 'a>>;

/// The reason why a look-up has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The name does not exist.
    #[error("the domain {0} does not exist")]
    NoDomain(String),
    /// DNS did not answer, or the answer cannot be used. Contains the name and the reason. A later
    /// look-up may succeed.
    #[error("DNS does not answer for {0}: {1}")]
    Failed(String, String),
}

/// The records of one type under a name, and whether DNSSEC proves that the domain's owner published
/// them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsAnswer<T> {
    /// The records; empty if the name has none of that type.
    pub found: Vec<T>,
    /// Whether DNSSEC proves the whole answer, including the aliases on the way ("secure" in RFC 4035
    /// §4.3).
    pub is_secure: bool,
    /// The alias, if the name is one.
    pub alias: Option<Alias>,
}

/// An alias (CNAME, RFC 1034 §3.6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The name at the end of all aliases.
    pub target: String,
    /// Whether DNSSEC proves the first alias, even if the target's own zone proves nothing.
    pub is_secure: bool,
}

impl<T> DnsAnswer<T> {
    /// Returns the answer for a name that is not an alias.
    const fn new(found: Vec<T>, is_secure: bool) -> Self {
        Self { found, is_secure, alias: None }
    }

    /// Returns an answer without records, and without proof.
    const fn none() -> Self {
        Self::new(Vec::new(), false)
    }
}

/// A TLSA record: a certificate that a server may use (RFC 6698 §2.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tlsa {
    /// The owner of the described certificate: 2, an authority; 3, the server itself.
    pub usage: u8,
    /// The described part of the certificate: 0, all of it; 1, its public key.
    pub selector: u8,
    /// The form of [`Self::data`]: 0, the part itself; 1, its SHA-256; 2, its SHA-512.
    pub matching: u8,
    /// The certificate association data.
    pub data: Vec<u8>,
}

/// A host that offers a service of a domain (SRV, RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceHost {
    /// The priority: clients try the lowest first.
    pub priority: u16,
    /// The share of the clients among hosts of the same priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host's name, in lower case; empty if the domain does not offer the service.
    pub host: String,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4 (A).
    V4,
    /// IPv6 (AAAA).
    V6,
}

/// Looks up names. A name is given without the dot at the end.
pub trait Resolver: Send + Sync + 'static {
    /// Looks up the servers that accept a domain's mail (MX), with their preferences.
    fn exchangers<'a>(&'a self, domain: &'a str) -> PendingLookup<'a, DnsAnswer<(u16, String)>>;

    /// Looks up a host's addresses, IPv6 and IPv4.
    fn addresses<'a>(&'a self, host: &'a str) -> PendingLookup<'a, DnsAnswer<IpAddr>>;

    /// Looks up a host's addresses of one family (A or AAAA).
    fn addresses_of<'a>(
        &'a self,
        host: &'a str,
        family: Family,
    ) -> PendingLookup<'a, DnsAnswer<IpAddr>>;

    /// Looks up the names of an address (PTR).
    fn names(&self, address: IpAddr) -> PendingLookup<'_, DnsAnswer<String>>;

    /// Looks up the certificates that a server may use (TLSA), under a name such as `_25._tcp.mx.example.org`.
    fn certificates<'a>(&'a self, name: &'a str) -> PendingLookup<'a, DnsAnswer<Tlsa>>;

    /// Looks up the hosts that offer a service (SRV), under a name such as `_submissions._tcp.example.org`.
    fn services<'a>(&'a self, name: &'a str) -> PendingLookup<'a, DnsAnswer<ServiceHost>>;

    /// Looks up a name's texts (TXT).
    fn texts<'a>(&'a self, name: &'a str) -> PendingLookup<'a, DnsAnswer<String>>;
}
