//! Finding other servers: DNS, or a fixed zone in its place.

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::RData,
};
use std::{
    collections::HashMap,
    future::{Future, ready},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    time::Duration,
};

/// The future of a look-up.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, LookupError>> + Send + 'a>>;

/// How long one question to one name server may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A look-up without an answer. That there is nothing to be found is an answer: none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The name does not exist.
    #[error("the domain {0} does not exist")]
    NoDomain(String),
    /// It could not be found out now.
    #[error("DNS does not answer for {0}: {1}")]
    Failed(String, String),
}

/// Looks names up.
pub trait Resolver: Send + Sync + 'static {
    /// The servers that take a domain's mail, with their preferences; none if it names none.
    fn exchangers<'a>(&'a self, domain: &'a str) -> Pending<'a, Vec<(u16, String)>>;

    /// A host's addresses, of both families.
    fn addresses<'a>(&'a self, host: &'a str) -> Pending<'a, Vec<IpAddr>>;
}

/// DNS.
pub struct Dns(TokioResolver);

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dns")
    }
}

impl Dns {
    /// Asks these name servers, or the system's if none are named.
    ///
    /// # Errors
    /// When the system's configuration cannot be read.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, NetError> {
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let servers = servers.iter().map(name_server).collect();
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.timeout = PATIENCE;
        // Mail goes by DNS; what /etc/hosts says is for this machine's other programs.
        options.use_hosts_file = ResolveHosts::Never;
        options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
        builder.build().map(Self)
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections)
}

impl Resolver for Dns {
    fn exchangers<'a>(&'a self, domain: &'a str) -> Pending<'a, Vec<(u16, String)>> {
        Box::pin(async move {
            let lookup = match self.0.mx_lookup(absolute(domain)).await {
                Ok(lookup) => lookup,
                Err(error) => return nothing(domain, &error),
            };
            let exchangers = lookup.answers().iter().filter_map(|record| match &record.data {
                RData::MX(mx) => {
                    let name = mx.exchange.to_ascii();
                    Some((mx.preference, name.trim_end_matches('.').to_ascii_lowercase()))
                }
                _ => None,
            });
            Ok(exchangers.collect())
        })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Pending<'a, Vec<IpAddr>> {
        Box::pin(async move {
            match self.0.lookup_ip(absolute(host)).await {
                Ok(lookup) => Ok(lookup.iter().collect()),
                Err(error) => nothing(host, &error),
            }
        })
    }
}

/// With its last dot, so that no search list is tried.
fn absolute(name: &str) -> String {
    format!("{name}.")
}

fn nothing<T>(name: &str, error: &NetError) -> Result<Vec<T>, LookupError> {
    if error.is_nx_domain() {
        Err(LookupError::NoDomain(name.to_owned()))
    } else if error.is_no_records_found() {
        Ok(Vec::new())
    } else {
        Err(LookupError::Failed(name.to_owned(), error.to_string()))
    }
}

/// In place of DNS where there is none: nothing can be found out, for this reason. Mail for other
/// servers waits.
#[derive(Debug, Clone)]
pub struct NoDns(pub String);

impl Resolver for NoDns {
    fn exchangers<'a>(&'a self, domain: &'a str) -> Pending<'a, Vec<(u16, String)>> {
        Box::pin(ready(Err(LookupError::Failed(domain.to_owned(), self.0.clone()))))
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Pending<'a, Vec<IpAddr>> {
        Box::pin(ready(Err(LookupError::Failed(host.to_owned(), self.0.clone()))))
    }
}

/// A zone that does not change: for tests and simulations.
#[derive(Debug, Default, Clone)]
pub struct FixedZone {
    /// Each domain's servers.
    pub exchangers: HashMap<String, Vec<(u16, String)>>,
    /// Each host's addresses.
    pub addresses: HashMap<String, Vec<IpAddr>>,
    /// Names for which DNS fails.
    pub failing: Vec<String>,
}

impl FixedZone {
    fn look_up<T: Clone>(
        &self,
        name: &str,
        records: &HashMap<String, Vec<T>>,
    ) -> Result<Vec<T>, LookupError> {
        if self.failing.iter().any(|failing| failing == name) {
            return Err(LookupError::Failed(name.to_owned(), "SERVFAIL".to_owned()));
        }
        let exists = self.exchangers.contains_key(name) || self.addresses.contains_key(name);
        match records.get(name) {
            Some(found) => Ok(found.clone()),
            None if exists => Ok(Vec::new()),
            None => Err(LookupError::NoDomain(name.to_owned())),
        }
    }
}

impl Resolver for FixedZone {
    fn exchangers<'a>(&'a self, domain: &'a str) -> Pending<'a, Vec<(u16, String)>> {
        Box::pin(ready(self.look_up(domain, &self.exchangers)))
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Pending<'a, Vec<IpAddr>> {
        Box::pin(ready(self.look_up(host, &self.addresses)))
    }
}
