//! Resolvers that ask no name server: one with a fixed set of records, and one without any.

use super::{DnsAnswer, Family, LookupError, PendingLookup, Resolver, ServiceHost, Tlsa};
use std::{collections::HashMap, future::ready, net::IpAddr};

/// The resolver of a machine that cannot use DNS. Every look-up fails with this reason, so mail for
/// other servers waits.
#[derive(Debug, Clone)]
pub struct NoDns(pub String);

impl NoDns {
    fn failed<'a, T: Send + 'a>(&self, name: &str) -> PendingLookup<'a, DnsAnswer<T>> {
        let failed = LookupError::Failed(name.to_owned(), self.0.clone());
        Box::pin(ready(Err(failed)))
    }
}

impl Resolver for NoDns {
    fn exchangers<'a>(&'a self, domain: &'a str) -> PendingLookup<'a, DnsAnswer<(u16, String)>> {
        self.failed(domain)
    }

    fn addresses<'a>(&'a self, host: &'a str) -> PendingLookup<'a, DnsAnswer<IpAddr>> {
        self.failed(host)
    }

    fn addresses_of<'a>(
        &'a self,
        host: &'a str,
        _: Family,
    ) -> PendingLookup<'a, DnsAnswer<IpAddr>> {
        self.failed(host)
    }

    fn names(&self, address: IpAddr) -> PendingLookup<'_, DnsAnswer<String>> {
        self.failed(&address.to_string())
    }

    fn certificates<'a>(&'a self, name: &'a str) -> PendingLookup<'a, DnsAnswer<Tlsa>> {
        self.failed(name)
    }

    fn services<'a>(&'a self, name: &'a str) -> PendingLookup<'a, DnsAnswer<ServiceHost>> {
        self.failed(name)
    }

    fn texts<'a>(&'a self, name: &'a str) -> PendingLookup<'a, DnsAnswer<String>> {
        self.failed(name)
    }
}

/// A fixed set of records in place of DNS, for tests and simulations. Keys are names.
#[derive(Debug, Default, Clone)]
pub struct FixedZone {
    /// MX records: preferences and hosts.
    pub exchangers: HashMap<String, Vec<(u16, String)>>,
    /// A and AAAA records.
    pub addresses: HashMap<String, Vec<IpAddr>>,
    /// PTR records, by the address as it is written.
    pub names: HashMap<String, Vec<String>>,
    /// TLSA records.
    pub certificates: HashMap<String, Vec<Tlsa>>,
    /// SRV records.
    pub services: HashMap<String, Vec<ServiceHost>>,
    /// TXT records.
    pub texts: HashMap<String, Vec<String>>,
    /// Names whose look-ups fail.
    pub failing: Vec<String>,
    /// Whether DNSSEC proves every answer.
    pub is_secure: bool,
}

impl FixedZone {
    fn look_up<'a, T: Clone + Send + 'a>(
        &self,
        name: &str,
        records: &HashMap<String, Vec<T>>,
    ) -> PendingLookup<'a, DnsAnswer<T>> {
        let is_secure = self.is_secure;
        let exists = self.exchangers.contains_key(name) || self.addresses.contains_key(name);
        Box::pin(ready(match records.get(name) {
            _ if self.failing.iter().any(|failing| failing == name) => {
                Err(LookupError::Failed(name.to_owned(), "SERVFAIL".to_owned()))
            }
            Some(found) => Ok(DnsAnswer::new(found.clone(), is_secure)),
            None if exists => Ok(DnsAnswer::new(Vec::new(), is_secure)),
            None => Err(LookupError::NoDomain(name.to_owned())),
        }))
    }
}

impl Resolver for FixedZone {
    fn exchangers<'a>(&'a self, domain: &'a str) -> PendingLookup<'a, DnsAnswer<(u16, String)>> {
        self.look_up(domain, &self.exchangers)
    }

    fn addresses<'a>(&'a self, host: &'a str) -> PendingLookup<'a, DnsAnswer<IpAddr>> {
        self.look_up(host, &self.addresses)
    }

    fn addresses_of<'a>(
        &'a self,
        host: &'a str,
        family: Family,
    ) -> PendingLookup<'a, DnsAnswer<IpAddr>> {
        Box::pin(async move {
            let mut answer = self.look_up(host, &self.addresses).await?;
            answer.found.retain(|address| address.is_ipv4() == (family == Family::V4));
            Ok(answer)
        })
    }

    fn names(&self, address: IpAddr) -> PendingLookup<'_, DnsAnswer<String>> {
        self.look_up(&address.to_string(), &self.names)
    }

    fn certificates<'a>(&'a self, name: &'a str) -> PendingLookup<'a, DnsAnswer<Tlsa>> {
        self.look_up(name, &self.certificates)
    }

    fn services<'a>(&'a self, name: &'a str) -> PendingLookup<'a, DnsAnswer<ServiceHost>> {
        self.look_up(name, &self.services)
    }

    fn texts<'a>(&'a self, name: &'a str) -> PendingLookup<'a, DnsAnswer<String>> {
        self.look_up(name, &self.texts)
    }
}
