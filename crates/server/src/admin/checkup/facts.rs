//! What the world says of a domain and its server: gathered by [`look`](super::look), judged by
//! [`judge`](super::judge).

use super::publish::{MailSetup, ServiceKind};
use crate::{send::trust::mta_sts::Policy, sign::certificates::IssuedLine};
use posta_mail::Timestamp;
use posta_net::{
    dns::{ServiceHost, Tlsa},
    tls::summary::CertificateSummary,
};
use posta_origin::{dmarc::DmarcOutcome, iprev::IprevOutcome, spf::SpfOutcome};
use std::{collections::BTreeMap, net::IpAddr};

/// The records that a name has, none if it does not exist; or why DNS does not tell.
pub type Seen<T> = Result<Vec<T>, String>;

/// What there is to see of a domain.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What should be published.
    pub setup: MailSetup,
    /// What is known of the machine.
    pub machine: Machine,
    /// The domain's MX records.
    pub exchangers: Seen<(u16, String)>,
    /// The server itself and those that the MX records name, with the addresses of each.
    pub hosts: BTreeMap<String, HostFacts>,
    /// The names of the addresses from which mail comes, with the check whether one leads back.
    pub reverse: Vec<(IpAddr, Seen<String>, IprevOutcome)>,
    /// TXT records by their names: those of the domain, of the server, and below them.
    pub texts: BTreeMap<String, Seen<String>>,
    /// What SPF says of mail from the domain, by the address that it comes from.
    pub spf: Vec<(IpAddr, SpfOutcome)>,
    /// What SPF says of an address that nobody has: the whole record is evaluated for it.
    pub spf_of_strangers: SpfOutcome,
    /// What DMARC says of mail from the domain that nothing authenticates.
    pub dmarc: DmarcOutcome,
    /// Addresses for DMARC reports whose owners have not said that they want them (RFC 9990 §4).
    pub unwanted_reports: Vec<String>,
    /// The MTA-STS policy that others get, if DNS says that there is one, or why they get none.
    pub policy: Option<Result<Policy, String>>,
    /// The TLSA records of the server.
    pub certificates: Seen<Tlsa>,
    /// What mail programs find, by the name of the SRV record.
    pub services: BTreeMap<String, Seen<ServiceHost>>,
    /// The ports of the server, tried from here.
    pub ports: Vec<PortFacts>,
    /// A server elsewhere, and whether its port 25 answers, if one was named.
    pub outgoing: Option<(String, Result<String, String>)>,
    /// What block lists say of the addresses from which mail comes.
    pub lists: Vec<ListFacts>,
}

/// What the machine knows of itself.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The time.
    pub now: Timestamp,
    /// Who reads mail for postmaster.
    pub postmaster: Vec<String>,
    /// The server's certificate, if it can be read.
    pub certificate: Option<CertificateSummary>,
    /// The certificates that an authority issues to this server.
    pub issued: Vec<IssuedLine>,
    /// Whether something keeps the clock right; `None` if nothing tells.
    pub keeps_time: Option<bool>,
    /// By how many seconds the clock is ahead of a time server's, if one was asked and answered.
    pub ahead: Option<i64>,
}

/// The addresses of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// The addresses.
    pub addresses: Seen<IpAddr>,
    /// Whether DNSSEC proves them.
    pub is_secure: bool,
    /// The name that the host's stands for, if it is an alias.
    pub alias: Option<String>,
}

/// What should answer on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortService {
    /// Mail from other servers.
    Smtp,
    /// A service for mail programs.
    Program(ServiceKind),
    /// The MTA-STS policy.
    Https,
}

impl PortService {
    /// Returns the name of the service.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Program(kind) => kind.label().trim_start_matches('_'),
            Self::Https => "https",
        }
    }

    /// Returns whether TLS comes before the greeting.
    pub(super) const fn begins_with_tls(self) -> bool {
        matches!(self, Self::Https | Self::Program(ServiceKind::Submissions | ServiceKind::Pop3s))
    }
}

/// What came of connecting to a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFacts {
    /// The service that should answer.
    pub service: PortService,
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The greeting, of at most 512 octets and empty for HTTPS; or why nothing answered.
    pub outcome: Result<String, String>,
}

/// What a block list says of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListFacts {
    /// The list's domain.
    pub list: String,
    /// The address.
    pub address: IpAddr,
    /// Whether it is listed.
    pub outcome: Listing,
}

/// Whether an address is on a block list (RFC 5782).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// It is not.
    Absent,
    /// It is, for this reason, which may be empty: a stranger's words.
    Listed(String),
    /// The list does not tell: it does not answer at all, or not to the name servers that are asked here.
    Unknown(String),
}

impl Facts {
    /// Returns the addresses from which mail goes out: those of the machine, or those that DNS has for it.
    #[must_use]
    pub fn sending_addresses(&self) -> Vec<IpAddr> {
        sending_addresses(&self.setup, self.hosts.get(self.setup.hostname.as_str()))
    }
}

pub(super) fn sending_addresses(setup: &MailSetup, host: Option<&HostFacts>) -> Vec<IpAddr> {
    match (&setup.addresses[..], host.map(|host| &host.addresses)) {
        ([], Some(Ok(found))) => found.clone(),
        (known, _) => known.to_vec(),
    }
}
